"""The order form."""

import secrets

from django import forms

from orders.messages import PlaceOrder
from orders.system import SHELF


class OrderForm(forms.Form):
    """One order, checked before any actor hears of it."""

    customer = forms.CharField(max_length=80)
    sku = forms.ChoiceField(label="Goods", choices=[(sku, sku) for sku in SHELF])
    quantity = forms.IntegerField(min_value=1, max_value=1000, initial=1)
    card = forms.RegexField(r"^[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{4}$", initial="4111-1111-1111-1111")

    def order(self) -> PlaceOrder:
        """Return the order that was entered, under a number of its own."""
        data = self.cleaned_data
        return PlaceOrder(
            f"web-{secrets.token_hex(4)}", data["customer"], data["sku"], data["quantity"], data["card"]
        )
