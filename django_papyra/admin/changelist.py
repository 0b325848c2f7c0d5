"""Lists that page by key: no OFFSET, and no COUNT but one that stops at ten thousand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_papyra.querysets import COUNT_CAP, RecordQuerySet

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest
    from django.utils.functional import _StrOrPromise

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:  # generic for the type checker alone
    _ModelAdmin = admin.ModelAdmin

BEFORE, AFTER = "before", "after"
PAGE_ROWS = 50
_MAX_DIGITS = 18  # of a row id


@dataclass(frozen=True, slots=True)
class Place:
    """A row's place in the list, as it stands in a page's address."""

    at: datetime
    row_id: int

    @classmethod
    def of(cls, row: Any) -> Self:
        return cls(row.at, row.pk)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``str()`` back; raises `ValueError`."""
        moment, _, number = text.rpartition("~")
        at = parse_datetime(moment)
        if at is None or not (number.isascii() and number.isdigit()) or len(number) > _MAX_DIGITS:
            raise ValueError(f"not a place in a list: {text!r}")
        return cls(at, int(number))

    def __str__(self) -> str:
        at = self.at if timezone.is_naive(self.at) else self.at.astimezone(timezone.get_fixed_timezone(0))
        return f"{at.isoformat().replace('+00:00', 'Z')}~{self.row_id}"


class KeysetChangeList(ChangeList):
    """One page of records, newest first; ``older_query`` and ``newer_query`` lead on, if anything does."""

    older_query: str | None
    newer_query: str | None
    matches: int | None

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        kept: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in kept.items() if name not in {BEFORE, AFTER}}

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        del request, queryset
        return ["-at", "-id"]

    def get_results(self, request: HttpRequest) -> None:
        before, after = self._place(request, BEFORE), self._place(request, AFTER)
        rows = cast("RecordQuerySet[Any]", self.queryset)
        if after is not None:
            found = list(rows.after(after.at, after.row_id).order_by("at", "id")[: self.list_per_page + 1])
            has_newer, has_older = len(found) > self.list_per_page, True
            page = found[: self.list_per_page][::-1]
        else:
            if before is not None:
                rows = rows.before(before.at, before.row_id)
            found = list(rows[: self.list_per_page + 1])
            has_newer, has_older = before is not None, len(found) > self.list_per_page
            page = found[: self.list_per_page]
        self.result_list = page
        self.older_query = self._query({BEFORE: str(Place.of(page[-1]))}) if page and has_older else None
        self.newer_query = self._query({AFTER: str(Place.of(page[0]))}) if page and has_newer else None
        self.matches = self._count() if self._is_filtered() else None
        self.result_count = len(page)
        self.full_result_count = self.result_count  # equal: the search form then says nothing of totals
        self.show_full_result_count = False
        self.show_admin_actions = False
        self.can_show_all = False
        self.multi_page = False
        self.paginator = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)

    @property
    def newest_query(self) -> str:
        """The address of the first page, filters kept."""
        return self._query({})

    @property
    def has_more_matches_than_counted(self) -> bool:
        return self.matches is not None and self.matches > COUNT_CAP

    def _is_filtered(self) -> bool:
        return bool(self.query or self.get_filters_params())

    def _count(self) -> int:
        return cast("RecordQuerySet[Any]", self.queryset).capped_count()

    def _query(self, changes: dict[str, str]) -> str:
        return self.get_query_string(changes, [name for name in (BEFORE, AFTER) if name not in changes])

    def _place(self, request: HttpRequest, name: str) -> Place | None:
        text = request.GET.get(name)
        try:
            return None if text is None else Place.parse(text)
        except ValueError as error:
            raise IncorrectLookupParameters(str(error)) from error


class ReadOnlyAdmin(_ModelAdmin):
    """Nothing is added, changed or deleted here, whatever the permissions say."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        del request
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        del request, obj
        return False


class RecordAdmin(ReadOnlyAdmin):
    """What the lists of the three kinds share."""

    change_list_template = "django_papyra/admin/record_list.html"
    list_per_page = PAGE_ROWS
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    actions = None
    empty_text: _StrOrPromise = ""
    help_text: _StrOrPromise = ""

    class Media:
        css: ClassVar = {"all": ("django_papyra/console.css",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        del request, kwargs
        return KeysetChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Refuse what is no filter of the page: any other lookup could read the whole table."""
        del value, request
        return lookup in {
            f"{entry}__exact" if isinstance(entry, str) else getattr(entry, "parameter_name", None)
            for entry in self.list_filter
        }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        match = request.resolver_match
        rows = super().get_queryset(request)
        is_list = match is not None and (match.url_name or "").endswith("_changelist")
        return rows.defer("body") if is_list else rows

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {"help_text": self.help_text, "empty_text": self.empty_text, **(extra_context or {})}
        return super().changelist_view(request, context)
