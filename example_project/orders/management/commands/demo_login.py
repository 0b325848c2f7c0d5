"""Make the demo login, on a development machine only."""

import os

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

NAME = "demo"


class Command(BaseCommand):
    help = "Create the superuser demo with the password demo (or PAPYRA_EXAMPLE_PASSWORD); only with DEBUG."

    def handle(self, **_: object) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "the demo login exists with DEBUG only; run manage.py createsuperuser", returncode=64
            )
        password = os.environ.get("PAPYRA_EXAMPLE_PASSWORD", NAME)
        user, is_new = get_user_model().objects.get_or_create(
            username=NAME, defaults={"is_staff": True, "is_superuser": True}
        )
        if is_new:
            user.set_password(password)
            user.save()
        if not user.check_password(password):
            known = "the password that it was given before"
        elif password == NAME:
            known = f"the password {NAME}"
        else:
            known = "the password in PAPYRA_EXAMPLE_PASSWORD"
        self.stdout.write(f"Log in as {NAME} with {known}.")
