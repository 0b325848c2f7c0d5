"""Write down, outside the store, what the store has acknowledged: the other half of a kill test."""

import os
from collections.abc import Sequence

from papyra.exceptions import AppendError
from papyra.persistence.base import BasePersistence
from papyra.persistence.models import Record


def log_acknowledged(backend: BasePersistence, path: str) -> None:
    """Make ``backend`` add ``incarnation kind seq`` of each record to ``path`` once it is durable.

    The ledger needs no fsync: it has to survive the end of this process, not of the machine.
    """
    ledger = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    append = backend.append

    def log(records: Sequence[Record], refused: frozenset[int] = frozenset()) -> None:
        lines = [
            f"{record.incarnation} {record.kind} {record.seq}\n"
            for position, record in enumerate(records)
            if position not in refused
        ]
        os.write(ledger, "".join(lines).encode())

    async def append_and_log(records: Sequence[Record]) -> None:
        try:
            await append(records)
        except AppendError as error:
            log(records, frozenset(position for position, _ in error.refused))
            raise
        log(records)

    backend.append = append_and_log
