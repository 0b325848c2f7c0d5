"""`papyra doctor run` and `papyra persistence startup-check`: the startup check as a command."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from papyra.cli.persistence import recovery_config
from papyra.cli.rendering import startup_outcome
from papyra.persistence.models import ScanDepth
from papyra.persistence.startup import PersistenceStartupConfig, PersistenceStartupMode, run_startup_check

if TYPE_CHECKING:
    from argparse import Namespace

    from papyra.cli.outcome import Outcome
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.query import ProgressCallback


def startup_config(args: Namespace) -> PersistenceStartupConfig:
    """Return what the options ask for; without ``--timeout`` a person waits, and can interrupt."""
    return PersistenceStartupConfig(
        PersistenceStartupMode(args.mode),
        recovery_config(args.recovery_mode, args.quarantine_dir),
        math.inf if args.timeout is None else args.timeout,
        ScanDepth(args.depth),
    )


async def run_doctor(
    args: Namespace, backend: PersistenceBackend, progress: ProgressCallback | None = None
) -> Outcome:
    """Check as a start would, and act as ``--mode`` says."""
    return startup_outcome(await run_startup_check(backend, startup_config(args), progress=progress))
