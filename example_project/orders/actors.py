"""The workers: intake reads rows, the desk serves orders with stock, payments and a carrier that fails."""

from collections.abc import Mapping

from orders.messages import (
    Charge,
    Declined,
    OutOfStock,
    Paid,
    PlaceOrder,
    Reserve,
    Reserved,
    Row,
    Ship,
    Summarise,
    Summary,
)
from papyra import Actor, ActorRef, Strategy, SupervisionPolicy


class BadRow(ValueError):
    """A row of the order file that is not an order; the text says why."""


class GatewayDown(ConnectionError):
    """The card network does not answer."""


class CarrierDown(ConnectionError):
    """The carrier's service hung up."""


class Intake(Actor):
    """Turns rows into orders. A bad row fails here, and only here; its letter keeps the row for a retry."""

    def __init__(self, desk: ActorRef) -> None:
        self.desk = desk
        self.seen: set[str] = set()

    async def receive(self, message: object) -> object:
        match message:
            case Row():
                order = read_row(message)
                if order.order_id in self.seen:
                    raise BadRow(f"row {message.number}: order {order.order_id} came before")
                self.seen.add(order.order_id)
                await self.desk.tell(order)
                return order.order_id
            case Summarise():  # after every row told before, and so after every order that came of them
                return await self.desk.ask(message, timeout=30)
            case _:
                raise TypeError(f"the intake takes rows, not {type(message).__name__}")


def read_row(row: Row) -> PlaceOrder:
    """Return the order in ``row``; raises `BadRow`."""
    cells = {name: value.strip() for name, value in row.cells.items()}
    missing = [name for name in ("order_id", "customer", "sku", "quantity", "card") if not cells.get(name)]
    if missing:
        raise BadRow(f"row {row.number}: no {' and no '.join(missing)}")
    try:
        quantity = int(cells["quantity"])
    except ValueError as error:
        raise BadRow(f"row {row.number}: quantity {cells['quantity']!r} is not a whole number") from error
    if not 0 < quantity <= 1000:
        raise BadRow(f"row {row.number}: quantity {quantity} is not between 1 and 1000")
    return PlaceOrder(cells["order_id"], cells["customer"], cells["sku"], quantity, cells["card"])


class Desk(Actor):
    """Serves one order at a time: reserve, charge, hand over to the carrier."""

    def __init__(self, stock: ActorRef, payments: ActorRef, shipping: ActorRef) -> None:
        self.stock = stock
        self.payments = payments
        self.shipping = shipping
        self.placed = self.out_of_stock = self.declined = self.shipped = 0

    async def receive(self, message: object) -> object:
        match message:
            case PlaceOrder():
                return await self.serve(message)
            case Summarise():
                return Summary(self.placed, self.out_of_stock, self.declined, self.shipped)
            case _:
                raise TypeError(f"the desk serves orders, not {type(message).__name__}")

    async def serve(self, order: PlaceOrder) -> str:
        self.placed += 1
        reserved = await self.stock.ask(Reserve(order.order_id, order.sku, order.quantity), timeout=5)
        if isinstance(reserved, OutOfStock):
            self.out_of_stock += 1
            return "out of stock"
        charged = await self.payments.ask(Charge(order.order_id, order.card, reserved.total_cents), timeout=5)
        if isinstance(charged, Declined):
            self.declined += 1
            return "declined"
        # Plainly told: a carrier that is down must not hold up the desk; what it misses becomes a letter.
        self.shipping.tell(Ship(order.order_id, order.customer))
        self.shipped += 1
        return "shipped"


class Stock(Actor):
    """What is on the shelf, and its price in cents."""

    def __init__(self, shelf: Mapping[str, tuple[int, int]]) -> None:
        self.left = {sku: count for sku, (count, _) in shelf.items()}
        self.price = {sku: cents for sku, (_, cents) in shelf.items()}

    async def receive(self, message: object) -> object:
        match message:
            case Reserve():
                left = self.left.get(message.sku, 0)
                if left < message.quantity:
                    return OutOfStock(left)
                self.left[message.sku] = left - message.quantity
                return Reserved(message.quantity * self.price[message.sku])
            case _:
                raise TypeError(f"the stock reserves, it does not {type(message).__name__}")


class Payments(Actor):
    """Owns the connection to the card network; when that escalates, payments start anew with a new one."""

    gateway: ActorRef

    async def on_start(self) -> None:
        self.gateway = self.context.spawn_child(
            Gateway, name="gateway", policy=SupervisionPolicy(Strategy.ESCALATE)
        )

    async def receive(self, message: object) -> object:
        match message:
            case Charge():
                try:
                    return await self.gateway.ask(message, timeout=2)
                except GatewayDown as error:
                    return Declined(str(error))
            case _:
                raise TypeError(f"payments charge, they do not {type(message).__name__}")


class Gateway(Actor):
    """Speaks to the card network, which one kind of card breaks."""

    async def receive(self, message: object) -> object:
        match message:
            case Charge(card=card) if card.endswith("0000"):
                raise GatewayDown(f"the card network hung up over card ••••{card[-4:]}")
            case Charge(card=card) if card.endswith("13"):
                return Declined("the bank says no")
            case Charge():
                return Paid(f"receipt-{message.order_id}")
            case _:
                raise TypeError(f"the gateway charges, it does not {type(message).__name__}")


class Shipping(Actor):
    """A carrier that hangs up at every ninth parcel; after three restarts its supervisor gives up on it."""

    FAILS_EVERY = 9

    def __init__(self) -> None:
        self.parcels = 0

    async def receive(self, message: object) -> object:
        match message:
            case Ship():
                self.parcels += 1
                if self.parcels % self.FAILS_EVERY == 0:
                    raise CarrierDown(f"the carrier hung up over order {message.order_id}")
                return "on its way"
            case _:
                raise TypeError(f"shipping ships, it does not {type(message).__name__}")
