"""A row's place in a list, as it stands in a page's address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Self

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_papyra.querysets import instant

if TYPE_CHECKING:
    from datetime import datetime

_MAX_DIGITS = 18  # of a row id


@dataclass(frozen=True, slots=True)
class Place:
    """``at`` is as the table's column has it: naive without ``USE_TZ``."""

    at: datetime
    row_id: int

    @classmethod
    def of(cls, row: Any) -> Self:
        return cls(row.at, row.pk)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``str()`` back; raises `ValueError`."""
        moment, _, number = text.rpartition("~")
        at = parse_datetime(moment)
        if at is None or not (number.isascii() and number.isdigit()) or len(number) > _MAX_DIGITS:
            raise ValueError(f"not a place in a list: {text!r}")
        if timezone.is_naive(at) is not timezone.is_naive(instant(0.0)):
            raise ValueError(f"a place of a project with another USE_TZ: {text!r}")
        try:
            return cls(at if timezone.is_naive(at) else at.astimezone(UTC), int(number))
        except OverflowError as error:
            raise ValueError(f"beyond the calendar: {text!r}") from error

    def __str__(self) -> str:
        return f"{self.at.isoformat().replace('+00:00', 'Z')}~{self.row_id}"
