"""The tree of commands as a table; the code of one is imported when it runs, by the name that stands here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from papyra import __version__
from papyra.cli import arguments
from papyra.cli.arguments import Parser

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable

EXIT_CODES = """\
exit codes:
  0    ok                      64   misuse, or no such store
  1    a start is refused      69   the store is unreachable, locked, or could not be checked in time
  2    damage found or left    70   a fault of papyra
                               130  interrupted
"""


class Command(NamedTuple):
    """One command: the words that call it, its line of help, its arguments, and ``module:function``."""

    name: str
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    run: str
    examples: tuple[str, ...]
    about: str = ""
    source: str = "papyra.cli.source"
    """The module whose ``choose_source`` finds what the command works on."""

    @property
    def has_one_store(self) -> bool:
        """Whether ``--path``, ``--store`` or the environment say on which store."""
        return self.source == "papyra.cli.source"


COPY = Command(
    "copy",
    "copy a store into another; done again, it goes on",
    arguments.add_copy_arguments,
    "papyra.cli.copying:run_copy",
    (
        "papyra copy --from ndjson:papyra.ndjson --to ndjson:/backup/papyra.ndjson",
        "papyra copy --from ndjson:papyra.ndjson --to - --kind dead-letter",
        "papyra copy --from - --to ndjson:papyra.ndjson",
    ),
    "Every record keeps its identity, and is read back. - is a pipe of plain record lines.",
    "papyra.cli.ends",
)

GROUPS = {
    "doctor": "the startup check as a command",
    "persistence": "look after a store",
    "inspect": "read the history",
}

COMMANDS = (
    COPY,
    Command(
        "doctor run",
        "check as a start would, and repair",
        arguments.add_doctor_arguments,
        "papyra.cli.doctor:run_doctor",
        ("papyra doctor run --path ./papyra.ndjson", "papyra doctor run --mode scan_only --json"),
        "By default it does what a start does: scan, repair what can be repaired, and prove it by a\n"
        "second scan; removed bytes lie in quarantine first. Modes scan_only and fail_on_anomaly only look.",
    ),
    Command(
        "persistence scan",
        "look for anomalies; changes nothing, safe beside a running system",
        arguments.add_scan_arguments,
        "papyra.cli.persistence:run_scan",
        ("papyra persistence scan --path ./papyra.ndjson", "papyra persistence scan --depth tail --json"),
    ),
    Command(
        "persistence verify",
        "prove what a store holds: every byte, every record, what is lost and where it lies",
        arguments.add_verify_arguments,
        "papyra.cli.proving:run_verify",
        ("papyra persistence verify --path ./papyra.ndjson",),
        "The thorough check: a scan at full depth, then each record is read and decoded, and set against\n"
        "loss notes and quarantine. Equal histories have equal fingerprints, in whatever store they lie.",
    ),
    Command(
        "persistence restore",
        "list what lies in quarantine, and put back what can go back",
        arguments.add_restore_arguments,
        "papyra.cli.proving:run_restore",
        (
            "papyra persistence restore --path ./papyra.ndjson",
            "papyra persistence restore all --export ./rest.bin",
        ),
        "Without an entry it lists them. A record goes back under its own identity where that is missing;\n"
        "nothing is ever taken out of quarantine, so that it can be done again.",
    ),
    Command(
        "persistence recover",
        "repair; what is removed lies in quarantine first",
        arguments.add_recover_arguments,
        "papyra.cli.persistence:run_recover",
        ("papyra persistence recover --dry-run", "papyra persistence recover --mode quarantine"),
    ),
    Command(
        "persistence compact",
        "remove for good what retention no longer keeps",
        arguments.add_compact_arguments,
        "papyra.cli.persistence:run_compact",
        (
            "papyra persistence compact --max-age 30d --dry-run",
            "papyra persistence compact --max-records 100000",
        ),
        "The limits hold for each kind of record by itself; the newest are kept.",
    ),
    Command(
        "persistence inspect",
        "say how much the store holds, and of what",
        arguments.add_store_inspect_arguments,
        "papyra.cli.persistence:run_inspect",
        ("papyra persistence inspect --path ./papyra.ndjson",),
    ),
    Command(
        "persistence startup-check",
        "say whether a start would be refused",
        arguments.add_startup_check_arguments,
        "papyra.cli.doctor:run_doctor",
        ("papyra persistence startup-check --path ./papyra.ndjson && run-my-service",),
        "The startup check with the strict defaults: it looks at the tail and refuses any anomaly.",
    ),
    Command(
        "inspect events",
        "list facts about actors' lives",
        arguments.add_events_arguments,
        "papyra.cli.inspect:run_events",
        (
            "papyra inspect events --since 15m --event-type ActorCrashed",
            "papyra inspect events --actor /desk --json",
        ),
    ),
    Command(
        "inspect audits",
        "list snapshots of a whole system",
        arguments.add_audits_arguments,
        "papyra.cli.inspect:run_audits",
        ("papyra inspect audits --limit 5 --reverse",),
    ),
    Command(
        "inspect dead-letters",
        "list messages that were not handled to their end",
        arguments.add_dead_letters_arguments,
        "papyra.cli.inspect:run_dead_letters",
        ("papyra inspect dead-letters --target orders/desk --reason handler_failed",),
    ),
    Command(
        "inspect tail",
        "show the newest records and, with --follow, those that come",
        arguments.add_tail_arguments,
        "papyra.cli.tail:run_tail",
        ("papyra inspect tail --follow", "papyra inspect tail --kind dead-letter --follow --json"),
        "Followed, each record is a line of its own, with --json an object; Ctrl-C is the normal end (0).",
    ),
    Command(
        "inspect summary",
        "who ran, why actors stopped, which messages died, where the others went",
        arguments.add_summary_arguments,
        "papyra.cli.inspect:run_summary",
        ("papyra inspect summary --since 2026-11-25T03:00:00Z --until 2026-11-25T04:00:00Z",),
    ),
)


def build_parser() -> Parser:
    """Return the parser of `papyra`; parsed arguments carry ``command``, or the ``parser`` that lacks one."""
    listed = "\n".join(f"  {command.name:<28} {command.help}" for command in COMMANDS)
    parser = Parser(
        prog="papyra",
        description="Look after the history that papyra keeps of its actors.",
        epilog=f"commands:\n{listed}\n\n{EXIT_CODES}",
    )
    parser.add_argument("--version", action="version", version=f"papyra {__version__}")
    parser.set_defaults(command=None, parser=parser)
    kinds = parser.add_subparsers(
        metavar="COMMAND", help="one of the commands below; each has --help", parser_class=Parser
    )
    for command in COMMANDS:
        if " " not in command.name:
            _add_command(kinds.add_parser, command)
    for group, about in GROUPS.items():
        branch = kinds.add_parser(group, description=f"{about[:1].upper()}{about[1:]}.")
        branch.set_defaults(parser=branch)
        leaves = branch.add_subparsers(metavar="COMMAND", parser_class=Parser)
        for command in COMMANDS:
            if command.name.startswith(f"{group} "):
                _add_command(leaves.add_parser, command)
    return parser


def _add_command(add_parser: Callable[..., ArgumentParser], command: Command) -> None:
    about = f"{command.help[:1].upper()}{command.help[1:]}."
    parser = add_parser(
        command.name.rpartition(" ")[2],
        help=command.help,
        description=f"{about}\n{command.about}" if command.about else about,
        epilog="\n".join(["examples:", *(f"  {example}" for example in command.examples)]),
    )
    if command.has_one_store:
        arguments.add_store_arguments(parser)
    command.add_arguments(parser)
    parser.set_defaults(command=command, parser=parser)
