"""What the actors of the order desk say to each other. The names stand in the history, so they stay."""

from dataclasses import dataclass

from papyra.payloads import message


@message(name="orders.Row")
@dataclass(frozen=True, slots=True)
class Row:
    """One line of an order file as it came, nothing checked."""

    number: int
    cells: dict[str, str]


@message(name="orders.PlaceOrder")
@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """An order that reads well; whether it can be served is another matter."""

    order_id: str
    customer: str
    sku: str
    quantity: int
    card: str


@message(name="orders.Reserve")
@dataclass(frozen=True, slots=True)
class Reserve:
    """Ask the stock to set goods aside; answered with `Reserved` or `OutOfStock`."""

    order_id: str
    sku: str
    quantity: int


@message(name="orders.Reserved")
@dataclass(frozen=True, slots=True)
class Reserved:
    """The goods are set aside, at this price in cents."""

    total_cents: int


@message(name="orders.OutOfStock")
@dataclass(frozen=True, slots=True)
class OutOfStock:
    """Too few are left."""

    left: int


@message(name="orders.Charge")
@dataclass(frozen=True, slots=True)
class Charge:
    """Ask for payment; answered with `Paid` or `Declined`."""

    order_id: str
    card: str
    cents: int


@message(name="orders.Paid")
@dataclass(frozen=True, slots=True)
class Paid:
    """The money is ours."""

    receipt: str


@message(name="orders.Declined")
@dataclass(frozen=True, slots=True)
class Declined:
    """The money is not."""

    why: str


@message(name="orders.Ship")
@dataclass(frozen=True, slots=True)
class Ship:
    """Hand a paid order to the carrier."""

    order_id: str
    customer: str


@message(name="orders.Summarise")
@dataclass(frozen=True, slots=True)
class Summarise:
    """Ask the desk what became of the orders so far; answered with `Summary`."""


@message(name="orders.Summary")
@dataclass(frozen=True, slots=True)
class Summary:
    """Orders by outcome."""

    placed: int
    out_of_stock: int
    declined: int
    shipped: int
