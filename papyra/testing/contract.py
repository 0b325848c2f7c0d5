"""The contract that every backend keeps, as tests. A subclass says how to open the storage, and no more."""

from __future__ import annotations

from papyra.testing.promises.appending import Appending, Identifying
from papyra.testing.promises.checking import Recovering, Scanning, Starting
from papyra.testing.promises.following import Following
from papyra.testing.promises.payload import CarryingPayloads
from papyra.testing.promises.reading import Filtering, Listing, Paging
from papyra.testing.promises.retaining import Compacting, Counting, Retaining
from papyra.testing.promises.sharing import Closing, Declaring, Sharing, Waiting


class BackendContract(
    Appending,
    Identifying,
    CarryingPayloads,
    Listing,
    Filtering,
    Paging,
    Following,
    Retaining,
    Compacting,
    Counting,
    Scanning,
    Recovering,
    Starting,
    Sharing,
    Waiting,
    Closing,
    Declaring,
):
    """Derive a ``Test…`` class, write ``open`` and declare what differs; tests read through a second opening.

    Needs pytest, pytest-asyncio and hypothesis (``pip install papyra[test]``).
    """
