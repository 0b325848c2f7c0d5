"""The tables: the migrations make what the models say, take it back, and suit every engine that will come."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connections, models
from django.test.utils import override_settings

from django_papyra.backend import DjangoPersistence
from papyra.persistence.threads import run_sync
from papyra.testing.records import event, numbers

if TYPE_CHECKING:
    from pathlib import Path

TABLES = {"event", "audit", "deadletter", "incarnation", "quarantinedrecord", "storelock"}


@pytest.mark.django_db
@pytest.mark.parametrize("auto_field", ["AutoField", "BigAutoField", "SmallAutoField"])
def test_the_migrations_are_complete_whatever_the_project_counts_with(auto_field: str) -> None:
    with override_settings(DEFAULT_AUTO_FIELD=f"django.db.models.{auto_field}"):
        call_command("makemigrations", "django_papyra", check_changes=True, dry_run=True, stdout=StringIO())


def test_the_tables_go_and_come_back(scratch: Path) -> None:
    def tables() -> set[str]:
        return {name for name in connections["scratch"].introspection.table_names() if "papyra" in name}

    expected = {f"django_papyra_{name}" for name in TABLES}
    assert tables() == expected
    call_command("migrate", "django_papyra", "zero", database="scratch", verbosity=0)
    assert tables() == set()
    call_command("migrate", "django_papyra", database="scratch", verbosity=0)
    assert tables() == expected
    backend = DjangoPersistence("scratch")
    run_sync(backend.append([event(1)]))
    assert numbers(run_sync(backend.list_events())) == [1]
    run_sync(backend.aclose())
    assert scratch.exists()


@pytest.mark.parametrize(
    "model", list(apps.get_app_config("django_papyra").get_models()), ids=lambda model: model.__name__
)
def test_the_schema_suits_every_engine(model: type[models.Model]) -> None:
    meta = model._meta  # noqa: SLF001  # Django's public name for it
    names = [index.name for index in meta.indexes] + [constraint.name for constraint in meta.constraints]
    assert all(name.startswith("papyra_") and len(name) <= 30 for name in names)
    assert len(names) == len(set(names))
    assert isinstance(meta.pk, models.BigAutoField)
    indexed = {name for index in meta.indexes for name in index.fields}
    for field in meta.concrete_fields:
        if isinstance(field, models.CharField):
            assert field.max_length is not None
            assert field.max_length <= (191 if field.name in indexed else 200)
    assert not any(index.condition for index in meta.indexes)
    assert set(meta.default_permissions) <= {"view"}
