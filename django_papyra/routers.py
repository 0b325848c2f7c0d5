"""Send papyra's tables to the database that ``PAPYRA["OPTIONS"]["using"]`` names, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_papyra.conf import database_alias

if TYPE_CHECKING:
    from django.db.models import Model

APP_LABEL = "django_papyra"


class PapyraRouter:
    """Goes into ``DATABASE_ROUTERS``; says nothing about other apps' models."""

    def db_for_read(self, model: type[Model], **hints: object) -> str | None:
        """Return the alias for papyra's models."""
        del hints
        return database_alias() if model._meta.app_label == APP_LABEL else None  # noqa: SLF001

    def db_for_write(self, model: type[Model], **hints: object) -> str | None:
        """Return the alias for papyra's models."""
        return self.db_for_read(model, **hints)

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool | None:
        """Allow papyra's migrations in its own database only."""
        del hints
        return db == database_alias() if app_label == APP_LABEL else None
