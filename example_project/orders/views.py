"""One page: place an order; an actor serves it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

import django_papyra
from orders.forms import OrderForm
from papyra.exceptions import PapyraError


def order_form(request: HttpRequest) -> HttpResponse:
    """Show the form; a good order is told to the desk, and the page does not wait for it to be served."""
    form = OrderForm(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return render(request, "orders/order_form.html", {"form": form})
    order = form.order()
    try:
        django_papyra.tell("/desk", order)
    except PapyraError as error:
        messages.error(request, f"The order was not placed: {error}")
        return render(request, "orders/order_form.html", {"form": form}, status=503)
    messages.success(request, f"Order {order.order_id} was handed to the desk.")
    return redirect("order-form")
