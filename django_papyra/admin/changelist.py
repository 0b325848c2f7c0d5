"""Lists that page by key: neither OFFSET nor COUNT goes over more than ten thousand rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.utils.functional import cached_property

from django_papyra._sql.connection import lenient
from django_papyra.admin.filters import Choice
from django_papyra.admin.place import Place
from django_papyra.admin.reach import within_reach
from django_papyra.admin.times import zone_note
from django_papyra.querysets import COUNT_CAP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest
    from django.utils.functional import _StrOrPromise

    from django_papyra.querysets import RecordQuerySet

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:  # generic for the type checker alone
    _ModelAdmin = admin.ModelAdmin

BEFORE, AFTER = "before", "after"
PAGE_ROWS = 50


class KeysetChangeList(ChangeList):
    """One page of records, newest first; ``older_query`` and ``newer_query`` lead on, if anything does."""

    older_query: str | None
    newer_query: str | None
    matches: int | None
    is_first_page: bool
    is_count_cut: bool = False
    is_cut: bool  # the page ends where looking ended, and not for want of matches

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        kept: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in kept.items() if name not in {BEFORE, AFTER}}

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        del request, queryset
        return ["-at", "-id"]

    def get_results(self, request: HttpRequest) -> None:
        before, after = self._place(request, BEFORE), self._place(request, AFTER)
        rows, wanted = self._wanted(request)
        is_newest_first = after is None
        if after is not None:
            rows = rows.after(after.at, after.row_id)
        elif before is not None:
            rows = rows.before(before.at, before.row_id)
        order = ("-at", "-id") if is_newest_first else ("at", "id")
        reach = within_reach(rows.order_by(*order), wanted, is_newest_first=is_newest_first)
        with lenient(rows.db):
            found = list(reach.rows[: self.list_per_page + 1])
        page = found[: self.list_per_page]
        following = _first_place(page[::-1]) if len(found) > len(page) else reach.edge
        self.is_cut = following is not None and len(found) <= len(page)
        if is_newest_first:
            newer = None if before is None else _first_place(page) or before
            older = following
        else:
            newer = following
            older = _first_place(page) or after
            page.reverse()
        self.result_list = page
        self.older_query = None if older is None else self._query({BEFORE: str(older)})
        self.newer_query = None if newer is None else self._query({AFTER: str(newer)})
        self.is_first_page = before is None and after is None
        self.matches = self._count(request) if self._is_filtered() else None
        self._leave_the_totals_out(request)

    def _leave_the_totals_out(self, request: HttpRequest) -> None:
        """Set what the stock pages count the table for."""
        self.result_count = len(self.result_list)
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

    def _wanted(self, request: HttpRequest) -> tuple[RecordQuerySet[Any], dict[str, str]]:
        """Return the rows of the time asked for, and the values that columns shall have."""
        rows: Any = self.root_queryset
        wanted: dict[str, str] = cast("RecordAdmin", self.model_admin).search_values(self.query)
        for spec in self.filter_specs:
            if isinstance(spec, Choice):
                wanted |= spec.values()
            else:
                rows = spec.queryset(request, rows)
        return rows, wanted

    def _is_filtered(self) -> bool:
        return bool(self.query or self.get_filters_params())

    def _count(self, request: HttpRequest) -> int:
        rows, wanted = self._wanted(request)
        reach = within_reach(rows.newest_first(), wanted, is_newest_first=True)
        self.is_count_cut = reach.edge is not None
        return reach.rows.capped_count()

    def _query(self, changes: dict[str, str]) -> str:
        return self.get_query_string(changes, [name for name in (BEFORE, AFTER) if name not in changes])

    def _place(self, request: HttpRequest, name: str) -> Place | None:
        text = request.GET.get(name)
        try:
            return None if text is None else Place.parse(text)
        except ValueError as error:
            raise IncorrectLookupParameters(str(error)) from error


def _first_place(rows: Sequence[Any]) -> Place | None:
    """Return the place of the first of ``rows`` that has one: a damaged column may hold no time."""
    return next((Place.of(row) for row in rows if row.at is not None), None)


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # generic for the type checker alone
    """Numbers the pages of the first ten thousand rows, and counts no further."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNT_CAP].count())


class ReadOnlyAdmin(_ModelAdmin):
    """Nothing is added, changed or deleted here, whatever the permissions say."""

    change_list_template = "django_papyra/admin/list.html"
    list_per_page = PAGE_ROWS
    list_max_show_all = 0
    paginator = CappedPaginator
    show_full_result_count = False
    sortable_by = ()
    actions = None
    large_columns: ClassVar[Sequence[str]] = ()  # which no list reads
    help_text: _StrOrPromise = ""

    class Media:
        css: ClassVar = {"all": ("django_papyra/console.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        del request
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        del request, obj
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Refuse what is no filter of the page: it could read the whole table, or guess a hidden payload."""
        del value, request
        return lookup in {
            f"{entry}__exact" if isinstance(entry, str) else getattr(entry, "parameter_name", None)
            for entry in self.list_filter
        }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        match = request.resolver_match
        rows = super().get_queryset(request)
        is_list = match is not None and (match.url_name or "").endswith("_changelist")
        return rows.defer(*self.large_columns) if is_list else rows

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ((None, {"fields": self.get_fields(request, obj), "description": zone_note()}),)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"help_text": self.help_text, **(extra_context or {})})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        with lenient(self.get_queryset(request).db):
            return super().get_object(request, object_id, from_field)


class RecordAdmin(ReadOnlyAdmin):
    """What the lists of the three kinds share."""

    change_list_template = "django_papyra/admin/record_list.html"
    show_facets = admin.ShowFacets.NEVER
    large_columns = ("body",)
    empty_text: _StrOrPromise = ""

    def search_values(self, term: str) -> dict[str, str]:
        """Return the values that columns have in the rows that ``term`` finds."""
        del term
        return {}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        del request, kwargs
        return KeysetChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"empty_text": self.empty_text, **(extra_context or {})})
