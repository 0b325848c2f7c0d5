"""Who works at the order desk; `PAPYRA["SYSTEM"]` names `populate`."""

from functools import partial

from orders.actors import Desk, Intake, Payments, Shipping, Stock
from papyra import ActorSystem, Strategy, SupervisionPolicy

SHELF = {
    "TEA-ASSAM-250": (60, 890),
    "TEA-SENCHA-100": (45, 1250),
    "COFFEE-ETH-1KG": (30, 2190),
    "COFFEE-COL-250": (80, 740),
    "MUG-BLUE": (25, 1190),
    "KETTLE-1L": (12, 4990),
    "FILTER-100": (200, 390),
}


async def populate(system: ActorSystem) -> None:
    """Spawn the desk and those it works with."""
    stock = system.spawn(partial(Stock, SHELF), name="stock")
    payments = system.spawn(Payments, name="payments", policy=SupervisionPolicy(Strategy.RESTART, 20, 60))
    shipping = system.spawn(Shipping, name="shipping", policy=SupervisionPolicy(Strategy.RESTART, 3, 600))
    desk = system.spawn(partial(Desk, stock, payments, shipping), name="desk")
    system.spawn(partial(Intake, desk), name="intake", policy=SupervisionPolicy(Strategy.RESTART, 100, 60))
