"""`papyra persistence …`, apart from parsing and printing: one use case each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.cli.listing import inspection_outcome
from papyra.cli.rendering import compaction_outcome, recovery_outcome, recovery_plan_outcome, scan_outcome
from papyra.persistence.inspection import inspect
from papyra.persistence.models import PersistenceRecoveryConfig, PersistenceRecoveryMode, ScanDepth
from papyra.persistence.retention import RetentionPolicy

if TYPE_CHECKING:
    from argparse import Namespace

    from papyra.cli.outcome import Outcome
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.query import ProgressCallback


def recovery_config(mode: str, quarantine_dir: str | None) -> PersistenceRecoveryConfig:
    """Return what ``--mode`` or ``--recovery-mode`` and ``--quarantine-dir`` ask for."""
    return PersistenceRecoveryConfig(PersistenceRecoveryMode(mode), quarantine_dir)


async def run_scan(
    args: Namespace, backend: PersistenceBackend, progress: ProgressCallback | None = None
) -> Outcome:
    """Look at every byte, or at the tail; changes nothing."""
    return scan_outcome(await backend.scan(ScanDepth(args.depth), progress=progress))


async def run_recover(
    args: Namespace, backend: PersistenceBackend, progress: ProgressCallback | None = None
) -> Outcome:
    """Recover and prove it by a second scan; with ``dry_run`` say what would be done."""
    config, depth = recovery_config(args.mode, args.quarantine_dir), ScanDepth(args.depth)
    if args.dry_run:
        return recovery_plan_outcome(await backend.scan(depth, progress=progress), config.mode)
    report = await backend.recover(config, depth=depth, progress=progress)
    return recovery_outcome(report, await backend.scan(depth, progress=progress), config)


async def run_compact(
    args: Namespace, backend: PersistenceBackend, progress: ProgressCallback | None = None
) -> Outcome:
    """Make retention physical, then look whether damage is left."""
    asked = RetentionPolicy(args.max_records, args.max_age, args.max_total_bytes)
    policy = backend.retention if asked.is_unlimited else asked
    report = await backend.compact(policy, dry_run=args.dry_run, progress=progress)
    return compaction_outcome(report, await backend.scan(ScanDepth.FULL, progress=progress), policy)


async def run_inspect(
    args: Namespace, backend: PersistenceBackend, progress: ProgressCallback | None = None
) -> Outcome:
    """Count what the store holds and divide up its newest records."""
    del progress
    report = await inspect(backend, args.limit)
    return inspection_outcome(report, backend.metrics.snapshot() if args.show_metrics else None)
