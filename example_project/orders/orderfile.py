"""Read an order file, whatever is in it."""

import csv
from collections.abc import Iterator
from pathlib import Path

from orders.messages import Row

SHIPPED_FILE = Path(__file__).parent / "data" / "orders.csv"


def read_rows(path: Path) -> Iterator[Row]:
    """Yield each row as text by column name; a short row lacks its last columns, a long one has a rest."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for number, cells in enumerate(csv.DictReader(file, restkey="rest"), start=2):
            yield Row(number, {name: str(value) for name, value in cells.items() if value is not None})
