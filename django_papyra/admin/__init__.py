"""The operator's pages in the admin: read-only lists and details over what is on record."""

from __future__ import annotations

from django.contrib import admin

from django_papyra.admin.incarnations import IncarnationAdmin, QuarantinedRecordAdmin
from django_papyra.admin.records import AuditAdmin, DeadLetterAdmin, EventAdmin
from django_papyra.models import Audit, DeadLetter, Event, Incarnation, QuarantinedRecord

admin.site.register(Event, EventAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Audit, AuditAdmin)
admin.site.register(Incarnation, IncarnationAdmin)
admin.site.register(QuarantinedRecord, QuarantinedRecordAdmin)
