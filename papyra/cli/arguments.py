"""The arguments of every command, apart from where its backend comes from.

`papyra` and ``manage.py papyra_*`` hand their own parser to the same ``add_*`` functions; a default that
differs there is changed with ``parser.set_defaults``. Nothing heavy is imported: ``--help`` is quick.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING, NoReturn, TypeVar

from papyra.cli.exit_codes import ExitCode
from papyra.cli.moments import read_moment, read_size, read_span
from papyra.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

STARTUP_MODES = ("ignore", "scan_only", "recover", "fail_on_anomaly")
RECOVERY_MODES = ("ignore", "repair", "quarantine")
DEPTHS = ("tail", "footers", "full")
KINDS = ("event", "audit", "dead_letter")
Value = TypeVar("Value")


class Misuse(SystemExit):
    """The arguments are wrong; argparse has said so on stderr already."""

    def __init__(self, message: str) -> None:
        super().__init__(int(ExitCode.MISUSE))
        self.message = message


class Parser(ArgumentParser):
    """Takes no abbreviations and leaves with 64; also a mixin in front of Django's parser."""

    def __init__(self, *args: object, **options: object) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", RawDescriptionHelpFormatter)
        super().__init__(*args, **options)  # type: ignore[arg-type]  # passed on as they came

    def error(self, message: str) -> NoReturn:
        """Say how the command is used and what was wrong with this use."""
        try:
            self.exit(int(ExitCode.MISUSE), f"{self.format_usage()}{self.prog}: {message}\n")
        except SystemExit as stop:
            raise Misuse(message) from stop


def _typed(read: Callable[[str], Value]) -> Callable[[str], Value]:
    def read_or_explain(text: str) -> Value:
        try:
            return read(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from error

    return read_or_explain


def _word(text: str) -> str:
    return text.lower().replace("-", "_")


def _recovery_mode(text: str) -> str:
    return "repair" if _word(text) == "rebuild" else _word(text)  # the published alias


def _whole_number(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text[:18]) < least:
            raise ArgumentTypeError(f"must be a whole number of at least {least}, not {text!r}")
        return int(text[:18])

    return read


def _seconds(text: str) -> float:
    seconds = read_span(text if text[-1:].isalpha() else f"{text}s")
    if seconds <= 0:
        raise ValueError(f"must be more than 0, not {text!r}")
    return seconds


_moment = _typed(lambda text: read_moment(text, now=SYSTEM_CLOCK.now()))


def add_store_arguments(parser: ArgumentParser) -> None:
    """Where the store is; only for commands whose backend is not configured elsewhere."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--path", metavar="PATH", help="the store's file, or its folder of segments")
    place.add_argument(
        "--store",
        metavar="URL",
        help="the store by URL: ndjson:PATH, segments:PATH or memory: "
        "(default: $PAPYRA_STORE, else ./papyra.ndjson if it exists)",
    )


def add_json_argument(parser: ArgumentParser) -> None:
    """Add ``--json``, which every command has."""
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on stdout")


def _add_depth(parser: ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--depth",
        type=_word,
        choices=DEPTHS,
        default=default,
        help="how far to look: tail, back to the last clean mark, footers, what sealed segments say of "
        "themselves, or full, every byte (default: %(default)s)",
    )


def _add_quarantine_dir(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--quarantine-dir",
        metavar="DIR",
        help="where removed bytes are put (default: beside the store, in STORE.quarantine)",
    )


def add_startup_arguments(parser: ArgumentParser, *, mode: str, depth: str, timeout: float | None) -> None:
    """Add what `papyra.cli.doctor.run_doctor` takes; no ``timeout`` is no limit."""
    parser.add_argument(
        "--mode",
        type=_word,
        choices=STARTUP_MODES,
        default=mode,
        help="the startup mode: what to do about anomalies (default: %(default)s)",
    )
    parser.add_argument(
        "--recovery-mode",
        type=_recovery_mode,
        choices=RECOVERY_MODES,
        default="repair",
        help="how --mode recover recovers (default: %(default)s)",
    )
    _add_quarantine_dir(parser)
    _add_depth(parser, depth)
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_typed(_seconds),
        default=timeout,
        help="give up after this long and call the store unproven (default: "
        + ("no limit)" if timeout is None else "%(default)g)"),
    )
    add_json_argument(parser)


def add_doctor_arguments(parser: ArgumentParser) -> None:
    """Add what a doctor takes: like a start by default, but at full depth and without a time limit."""
    add_startup_arguments(parser, mode="recover", depth="full", timeout=None)


def add_startup_check_arguments(parser: ArgumentParser) -> None:
    """Add what a startup check takes: by default it looks at the tail, and refuses any anomaly."""
    add_startup_arguments(parser, mode="fail_on_anomaly", depth="tail", timeout=30.0)


def add_scan_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.persistence.run_scan` takes."""
    _add_depth(parser, "full")
    add_json_argument(parser)


def add_recover_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.persistence.run_recover` takes."""
    parser.add_argument(
        "--mode",
        type=_recovery_mode,
        choices=RECOVERY_MODES,
        default="repair",
        help="the recovery mode: repair, quarantine (also sets the damaged original aside whole), or ignore "
        "(changes nothing) (default: %(default)s)",
    )
    _add_quarantine_dir(parser)
    _add_depth(parser, "full")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and change nothing")
    add_json_argument(parser)


def add_compact_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.persistence.run_compact` takes; with no limit the store's own retention holds."""
    parser.add_argument(
        "--max-records", metavar="N", type=_whole_number(0), help="keep the newest N of each kind"
    )
    parser.add_argument(
        "--max-age", metavar="SPAN", type=_typed(read_span), help="keep what is younger: 12h, 30d"
    )
    parser.add_argument(
        "--max-total-bytes",
        metavar="SIZE",
        type=_typed(read_size),
        help="keep the newest SIZE of each kind: 64MiB",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go and change nothing")
    add_json_argument(parser)


def add_store_inspect_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.persistence.run_inspect` takes."""
    _add_limit(parser, 1000, "look at the newest N records of each kind")
    parser.add_argument(
        "--show-metrics", action="store_true", help="add the counters of this command's own process"
    )
    add_json_argument(parser)


def add_copy_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.copying.run_copy` takes."""
    for option, dest, what in (("--from", "origin", "read"), ("--to", "target", "add to")):
        parser.add_argument(
            option,
            dest=dest,
            metavar="STORE",
            required=True,
            help=f"the store to {what}, by URL, or - for a pipe",
        )
    parser.add_argument(
        "--kind",
        dest="kinds",
        type=_word,
        choices=KINDS,
        action="append",
        help="only this kind of record; may be given again",
    )
    _add_times(parser)
    parser.add_argument(
        "--max-bytes",
        metavar="SIZE",
        type=_typed(read_size),
        help="of a target of segments: how long a segment gets (default: 50 MB)",
    )
    parser.add_argument(
        "--max-files",
        metavar="N",
        type=_whole_number(1),
        help="of a target of segments: how many of each kind stay, the newest (default: all)",
    )
    parser.add_argument(
        "--recheck", action="store_true", help="compare every record, also those that a former copy brought"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be copied and change nothing")
    add_json_argument(parser)


def add_verify_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.proving.run_verify` takes."""
    _add_quarantine_dir(parser)
    add_json_argument(parser)


def add_restore_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.proving.run_restore` takes."""
    parser.add_argument(
        "entries",
        metavar="ENTRY",
        nargs="*",
        help="what to restore, by the names that the list shows, or all; without any: the list",
    )
    _add_quarantine_dir(parser)
    parser.add_argument(
        "--export", metavar="FILE", help="write what cannot go back into the store to FILE, which is created"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be restored and change nothing"
    )
    add_json_argument(parser)


def add_events_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.inspect.run_events` takes."""
    _add_range(parser)
    parser.add_argument("--event-type", metavar="TYPE", help="only this type, such as ActorCrashed")
    _add_actor(parser, "--actor")
    _add_order(parser)


def add_audits_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.inspect.run_audits` takes."""
    _add_range(parser)
    _add_order(parser)


def add_dead_letters_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.inspect.run_dead_letters` takes."""
    _add_range(parser)
    _add_actor(parser, "--target")
    parser.add_argument("--message-type", metavar="TYPE", help="only messages of this type")
    parser.add_argument(
        "--reason", metavar="WORD", type=_word, help="only this reason, such as handler_failed"
    )
    _add_order(parser)


def add_tail_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.tail.run_tail` takes."""
    _add_limit(parser, 10, "begin with the newest N")
    parser.add_argument(
        "--kind",
        choices=("event", "audit", "dead-letter"),
        default="event",
        help="records of this kind (default: %(default)s)",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument("--system", metavar="ID", help="only this system")
    _add_actor(parser, "--actor")
    parser.add_argument("--type", metavar="TYPE", help="only this event type, or type of message")
    parser.set_defaults(since=None, until=None, reverse=False)
    add_json_argument(parser)


def add_summary_arguments(parser: ArgumentParser) -> None:
    """Add what `papyra.cli.inspect.run_summary` takes."""
    _add_range(parser, limit=10_000, what="look at the newest N records of each kind")
    add_json_argument(parser)


def _add_range(parser: ArgumentParser, *, limit: int = 100, what: str = "at most the newest N") -> None:
    _add_limit(parser, limit, what)
    _add_times(parser)
    parser.add_argument("--system", metavar="ID", help="only this system")


def _add_times(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--since",
        metavar="TIME",
        type=_moment,
        help="not before: epoch seconds, ISO 8601 (without a zone: UTC), or 15m, 2h, 3d ago",
    )
    parser.add_argument("--until", metavar="TIME", type=_moment, help="before; written like --since")


def _add_limit(parser: ArgumentParser, limit: int, what: str) -> None:
    parser.add_argument(
        "--limit", metavar="N", type=_whole_number(1), default=limit, help=f"{what} (default: %(default)s)"
    )


def _add_actor(parser: ArgumentParser, option: str) -> None:
    parser.add_argument(
        option,
        metavar="ACTOR",
        dest="actor",
        help="only this actor: /path, name, system/path, or the address system:id",
    )


def _add_order(parser: ArgumentParser) -> None:
    parser.add_argument("--reverse", action="store_true", help="newest first")
    add_json_argument(parser)
