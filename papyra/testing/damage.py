"""What a store of files promises beyond the contract, as tests: damage, kills, power loss, faulty disks."""

from __future__ import annotations

from papyra.testing.promises.crashing import Crashing
from papyra.testing.promises.damaging import Damaging, Quarantining


class DamageContract(Damaging, Quarantining, Crashing):
    """Derive a ``Test…`` class and write ``file`` and ``open``.

    Needs pytest and pytest-asyncio (``pip install papyra[test]``).
    """
