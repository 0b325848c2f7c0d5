"""The app: registers its checks, and touches neither database nor store."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.core.signals import setting_changed
from django.utils.translation import gettext_lazy as _


class PapyraConfig(AppConfig):
    """``INSTALLED_APPS += ["django_papyra"]``."""

    name = "django_papyra"
    label = "django_papyra"
    verbose_name = _("Papyra")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks, and the receiver that drops the backend when a test changes its settings."""
        from django_papyra import checks, runtime  # noqa: PLC0415  # models can be imported from here on

        register(checks.check_settings, checks.TAG)
        register(checks.check_database, Tags.database)
        register(checks.check_deployment, checks.TAG, deploy=True)
        setting_changed.connect(runtime.drop_backend, dispatch_uid="django_papyra.drop_backend")
