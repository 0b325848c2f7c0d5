"""The tables. A record's truth is its ``body``; every other column follows from it, for search and show."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_papyra.querysets import (
    DeadLetterQuerySet,
    IncarnationQuerySet,
    RecordQuerySet,
)

INCARNATION_LENGTH = 64
SYSTEM_LENGTH = 100
NAME_LENGTH = 191  # times four bytes fits the oldest index limit of MariaDB
ID_LENGTH = 100
WORD_LENGTH = 32
WHY_LENGTH = 200
BODY_HELP = _("The exact line, without its newline.")


class RecordRow(models.Model):
    """What the three kinds share; the table is the kind, ``id`` is store order.

    Each ends with its ``body``, so that an engine need not pass over it to reach another column.
    """

    incarnation = models.CharField(_("incarnation"), max_length=INCARNATION_LENGTH)
    seq = models.BigIntegerField(_("sequence number"))
    system_id = models.CharField(_("system"), max_length=SYSTEM_LENGTH)
    timestamp = models.FloatField(_("timestamp"), help_text=_("UTC, in seconds since 1970"))
    at = models.DateTimeField(_("time"))
    crc = models.CharField(_("checksum"), max_length=8)
    size = models.PositiveIntegerField(_("bytes"))

    class Meta:
        abstract = True
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.incarnation}/{self.seq}"


class Event(RecordRow):
    """A fact about an actor's or the system's life."""

    event_type = models.CharField(_("type"), max_length=NAME_LENGTH)
    actor_path = models.CharField(_("actor"), max_length=NAME_LENGTH)
    actor_address = models.CharField(_("actor address"), max_length=NAME_LENGTH)
    actor_type = models.CharField(_("actor type"), max_length=NAME_LENGTH)
    reason = models.CharField(_("reason"), max_length=WORD_LENGTH)
    why = models.CharField(_("why"), max_length=WHY_LENGTH, help_text=_("The error or the reason, cut."))
    message_id = models.CharField(_("message"), max_length=ID_LENGTH)
    cause_id = models.CharField(_("caused by"), max_length=ID_LENGTH)
    root_id = models.CharField(_("first cause"), max_length=ID_LENGTH)
    trace_id = models.CharField(_("trace"), max_length=ID_LENGTH)
    body = models.TextField(_("record"), help_text=BODY_HELP)

    objects = RecordQuerySet["Event"].as_manager()

    class Meta(RecordRow.Meta):
        verbose_name = _("event")
        verbose_name_plural = _("events")
        permissions = (("view_payload", _("Can see payloads")),)
        constraints = (models.UniqueConstraint(fields=("incarnation", "seq"), name="papyra_event_identity"),)
        indexes = (
            models.Index(fields=("at", "id"), name="papyra_event_at"),
            models.Index(fields=("system_id", "at", "id"), name="papyra_event_system"),
            models.Index(fields=("event_type", "at", "id"), name="papyra_event_type"),
            models.Index(fields=("actor_path", "at", "id"), name="papyra_event_path"),
            models.Index(fields=("actor_address", "at", "id"), name="papyra_event_address"),
        )


class Audit(RecordRow):
    """A snapshot of a whole system; the counters are the accounting since its incarnation began."""

    total_actors = models.BigIntegerField(_("actors"))
    alive_actors = models.BigIntegerField(_("alive"))
    stopping_actors = models.BigIntegerField(_("stopping"))
    restarting_actors = models.BigIntegerField(_("restarting"))
    dead_letters_count = models.BigIntegerField(_("dead letters"))
    accepted = models.BigIntegerField(_("accepted"))
    handled = models.BigIntegerField(_("handled"))
    failed = models.BigIntegerField(_("failed"))
    dead = models.BigIntegerField(_("dead"))
    expired = models.BigIntegerField(_("expired"))
    pending = models.BigIntegerField(_("pending"))
    records_dropped = models.BigIntegerField(_("records dropped"))
    body = models.TextField(_("record"), help_text=BODY_HELP)

    objects = RecordQuerySet["Audit"].as_manager()

    class Meta(RecordRow.Meta):
        verbose_name = _("audit")
        verbose_name_plural = _("audits")
        constraints = (models.UniqueConstraint(fields=("incarnation", "seq"), name="papyra_audit_identity"),)
        indexes = (
            models.Index(fields=("at", "id"), name="papyra_audit_at"),
            models.Index(fields=("system_id", "at", "id"), name="papyra_audit_system"),
        )


class LetterState(models.TextChoices):
    """What became of a dead letter."""

    OPEN = "open", _("open")
    REQUESTED = "requested", _("sending")
    REDELIVERED = "redelivered", _("redelivered")
    DISCARDED = "discarded", _("discarded")
    RESOLVED = "resolved", _("resolved")


class DeadLetter(RecordRow):
    """A message that was not handled to its end; ``state`` alone does not follow from its body."""

    state = models.CharField(_("state"), max_length=16, choices=LetterState, default=LetterState.OPEN)
    target = models.CharField(_("target address"), max_length=NAME_LENGTH)
    target_path = models.CharField(_("target"), max_length=NAME_LENGTH)
    target_type = models.CharField(_("target type"), max_length=NAME_LENGTH)
    message_type = models.CharField(_("message type"), max_length=NAME_LENGTH)
    reason = models.CharField(_("reason"), max_length=WORD_LENGTH)
    why = models.CharField(_("why"), max_length=WHY_LENGTH, help_text=_("The error, cut."))
    fidelity = models.CharField(_("fidelity"), max_length=WORD_LENGTH)
    attempts = models.BigIntegerField(_("attempts"))
    count = models.BigIntegerField(_("times"))
    message_id = models.CharField(_("message"), max_length=ID_LENGTH)
    cause_id = models.CharField(_("caused by"), max_length=ID_LENGTH)
    root_id = models.CharField(_("first cause"), max_length=ID_LENGTH)
    sender_path = models.CharField(_("sender"), max_length=NAME_LENGTH)
    redelivered_from = models.CharField(_("redelivery of"), max_length=ID_LENGTH)
    trace_id = models.CharField(_("trace"), max_length=ID_LENGTH)
    body = models.TextField(_("record"), help_text=BODY_HELP)

    objects = DeadLetterQuerySet["DeadLetter"].as_manager()

    class Meta(RecordRow.Meta):
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        constraints = (models.UniqueConstraint(fields=("incarnation", "seq"), name="papyra_letter_identity"),)
        indexes = (
            models.Index(fields=("at", "id"), name="papyra_letter_at"),
            models.Index(fields=("system_id", "at", "id"), name="papyra_letter_system"),
            models.Index(fields=("state", "at", "id"), name="papyra_letter_state"),
            models.Index(fields=("reason", "at", "id"), name="papyra_letter_reason"),
            models.Index(fields=("message_type", "at", "id"), name="papyra_letter_type"),
            models.Index(fields=("target_path", "at", "id"), name="papyra_letter_path"),
            models.Index(fields=("target", "at", "id"), name="papyra_letter_target"),
        )


class IncarnationState(models.TextChoices):
    """How a run stands. ``WRITER``: a process without a system, which only retention gives a row."""

    RUNNING = "running", _("running")
    STOPPED = "stopped", _("stopped")
    LOST = "lost", _("lost")
    WRITER = "writer", _("writer")


class Incarnation(models.Model):
    """One run of one system in one process; the row follows its events, in the same transaction.

    ``node`` is what `papyra.node` needs to tell whether the process lives. ``heartbeat_at`` is empty until
    the hosting process beats: then a beat older than 15 seconds means lost. ``kept_from`` maps a kind to the
    number below which retention has removed something.
    """

    system_id = models.CharField(_("system"), max_length=SYSTEM_LENGTH)
    incarnation = models.CharField(_("incarnation"), max_length=INCARNATION_LENGTH)
    host = models.CharField(_("host"), max_length=NAME_LENGTH)
    pid = models.BigIntegerField(_("process"), null=True)
    boot_id = models.CharField(_("boot"), max_length=64)
    node = models.JSONField(_("node"), default=dict)
    started_at = models.DateTimeField(_("started"), null=True)
    heartbeat_at = models.DateTimeField(_("last heartbeat"), null=True)
    stopped_at = models.DateTimeField(_("stopped"), null=True)
    state = models.CharField(
        _("state"), max_length=16, choices=IncarnationState, default=IncarnationState.RUNNING
    )
    kept_from = models.JSONField(_("kept from"), default=dict)

    objects = IncarnationQuerySet["Incarnation"].as_manager()

    class Meta:
        default_permissions = ("view",)
        verbose_name = _("incarnation")
        verbose_name_plural = _("incarnations")
        constraints = (models.UniqueConstraint(fields=("incarnation",), name="papyra_incarnation_id"),)
        indexes = (
            models.Index(fields=("system_id", "started_at"), name="papyra_incarnation_system"),
            models.Index(fields=("state",), name="papyra_incarnation_state"),
        )

    def __str__(self) -> str:
        return f"{self.system_id} {self.incarnation}"


class QuarantinedRecord(models.Model):
    """What was taken out of a table because it could not be read, or never went in; byte for byte."""

    kind = models.CharField(_("kind"), max_length=16)
    incarnation = models.CharField(_("incarnation"), max_length=INCARNATION_LENGTH)
    seq = models.BigIntegerField(_("sequence number"), null=True)
    row_id = models.BigIntegerField(_("row"), null=True)
    reason = models.CharField(_("reason"), max_length=WORD_LENGTH)
    detail = models.TextField(_("detail"))
    found_at = models.DateTimeField(_("found"))
    size = models.PositiveIntegerField(_("bytes"))
    sha256 = models.CharField(_("SHA-256"), max_length=64)
    content = models.BinaryField(_("content"))
    columns = models.TextField(_("columns"), help_text=_("The row's other columns, as JSON."))

    class Meta:
        default_permissions = ("view",)
        verbose_name = _("quarantined record")
        verbose_name_plural = _("quarantined records")
        indexes = (models.Index(fields=("sha256", "row_id"), name="papyra_quarantine_content"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.incarnation}/{self.seq}: {self.reason}"


class StoreLock(models.Model):
    """The one row (``name`` "maintenance") under which recovery and compaction run one at a time.

    ``removals`` counts how often rows went from elsewhere than the old end, so that readers look again.
    """

    name = models.CharField(_("name"), max_length=WORD_LENGTH, unique=True)
    holder = models.TextField(_("holder"), blank=True, default="")
    expires = models.FloatField(_("expires"), default=0.0)
    removals = models.BigIntegerField(_("removals"), default=0)

    class Meta:
        default_permissions = ()
        verbose_name = _("store lock")
        verbose_name_plural = _("store locks")

    def __str__(self) -> str:
        return self.name
