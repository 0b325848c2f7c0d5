"""The order form at the root, the admin beside it."""

from django.contrib import admin
from django.urls import path

from orders import views

urlpatterns = [
    path("", views.order_form, name="order-form"),
    path("admin/", admin.site.urls),
]
