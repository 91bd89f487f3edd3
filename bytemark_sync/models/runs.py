"""The product's own tables: runs, their batches, and what became of each order."""

from __future__ import annotations

from typing import Any, assert_never

from django.db import models
from django.utils import timezone

from bytemark_sync.domain.counters import many
from bytemark_sync.domain.reasons import reason_choices
from bytemark_sync.domain.run_kinds import AuditRecord, KindRecord, SyncRecord
from bytemark_sync.models.portal import Order


class RunKind(models.TextChoices):
    """What a run does. The label is the word that people read."""

    SYNC = "sync", "run"
    AUDIT = "audit", "audit"

    @property
    def record(self) -> KindRecord:
        """What is told of such runs."""
        match self:
            case RunKind.SYNC:
                return SyncRecord()
            case RunKind.AUDIT:
                return AuditRecord()
            case unknown:
                assert_never(unknown)


class Trigger(models.TextChoices):
    """Where the request for a run came from, whatever its kind."""

    COMMAND = "command", "command"
    SCHEDULE = "schedule", "schedule"
    ADMIN = "admin", "admin"


class RunStatus(models.TextChoices):
    """States only move forward: queued, running, one of the five ends (docs/contract.md#queue)."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


ALIVE = (RunStatus.QUEUED, RunStatus.RUNNING)


class BatchStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    GIVEN_UP = "given_up", "given up"


class SyncRun(models.Model):
    """One run, wherever it was requested. Its counts grow in the transactions that store the items."""

    kind = models.CharField(max_length=16, choices=RunKind.choices, default=RunKind.SYNC)
    trigger = models.CharField(max_length=16, choices=Trigger.choices)
    requested_by = models.CharField(max_length=150, blank=True, help_text="The person who asked for it, if one did.")
    scope = models.JSONField(
        default=dict, help_text="What was asked for (domain/run_scope.py). Empty: all that is due."
    )
    whole = models.BooleanField(default=False, help_text="Asked for all that was due. /healthz looks at these runs.")
    status = models.CharField(max_length=16, choices=RunStatus.choices, default=RunStatus.QUEUED, db_index=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    due_at = models.DateTimeField(null=True, unique=True, help_text="When a scheduled run was due. One run each time.")
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    planned_at = models.DateTimeField(null=True, help_text="When planning ended. Null: it has not ended yet.")
    planner_at = models.DateTimeField(
        null=True,
        help_text="When planning was last queued or gave a sign of life. Null: it has yet to be queued. (heartbeat_at"
        " does not show it, because batches renew that too.)",
    )
    planned_user_id = models.BigIntegerField(null=True, help_text="Planning has passed this user and goes on after it.")
    planning_tries = models.PositiveSmallIntegerField(default=0, help_text="Restarts of planning since it last got on.")
    stop_requested = models.BooleanField(default=False)
    stopped_by = models.CharField(max_length=150, blank=True, help_text="The person who asked it to stop, if one did.")
    host = models.CharField(max_length=255, blank=True)
    pid = models.BigIntegerField(null=True, help_text="The process that works the run. Null for a queued run.")
    pid_space = models.CharField(max_length=100, blank=True, help_text="Boot and PID namespace in which pid is valid.")

    users_planned = models.PositiveBigIntegerField(default=0)
    users = models.PositiveBigIntegerField(default=0)
    users_failed = models.PositiveBigIntegerField(default=0)
    orders = models.PositiveBigIntegerField(default=0)
    orders_synced = models.PositiveBigIntegerField(default=0)
    orders_not_found = models.PositiveBigIntegerField(default=0)
    orders_without_passes = models.PositiveBigIntegerField(default=0)
    orders_invalid = models.PositiveBigIntegerField(default=0)
    orders_deferred = models.PositiveBigIntegerField(default=0)
    items_created = models.PositiveBigIntegerField(default=0)
    api_requests = models.PositiveBigIntegerField(default=0)
    retries = models.PositiveBigIntegerField(default=0)
    rate_limited = models.PositiveBigIntegerField(default=0, help_text="Answers 429.")
    tokens_renewed = models.PositiveBigIntegerField(default=0, help_text="By logins that gave a token.")
    logins_stopped = models.TextField(blank=True, help_text="Why it logs nobody in any more; empty: it does.")

    writes = models.PositiveBigIntegerField(default=0, help_text="Transactions written by its own process.")
    answers = models.JSONField(default=dict, help_text="Number of requests by kind of answer.")
    latency = models.JSONField(default=dict, help_text="Seconds that requests took: Histogram of bytemark/stats.py.")
    shape = models.JSONField(default=dict, help_text="Names and types of the answers' members: bytemark/shape.py.")
    drift = models.JSONField(default=dict, help_text="How the shape differs from that of an earlier run.")
    answered_at = models.DateTimeField(null=True, help_text="When Bytemark last answered a process of this run.")
    silent_since = models.DateTimeField(
        null=True, help_text="In an outage: since when Bytemark has answered no process of this run."
    )
    gave_up_at = models.DateTimeField(null=True, help_text="When it gave up because Bytemark did not answer.")
    error = models.TextField(blank=True, help_text="Why the run could not go on.")
    slack = models.CharField(max_length=255, blank=True, help_text="What became of the message to Slack.")

    class Meta:
        db_table = "bytemark_sync_run"
        verbose_name = "run"
        ordering = ["-id"]
        permissions = [("resync", "Can resync users"), ("schedule", "Can set when the daily run is due")]
        indexes = [
            models.Index(fields=["whole", "status"], name="bytemark_sync_run_whole"),
            models.Index(fields=["slack"], name="bytemark_sync_run_slack"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._state.adding:
            self.whole = self.kind_record.is_whole_job(self.scope)
        super().save(*args, **kwargs)

    @property
    def kind_record(self) -> KindRecord:
        """What is told of it. A run of a kind that only a newer version knows is told as a sync."""
        return (RunKind(self.kind) if self.kind in RunKind.values else RunKind.SYNC).record


class SyncBatch(models.Model):
    """A queued part of a run, with the users that it still has to do. Storing a user's result removes the user here."""

    run = models.ForeignKey(SyncRun, models.CASCADE, related_name="batches")
    number = models.PositiveIntegerField()
    user_ids = models.JSONField(default=list)
    status = models.CharField(max_length=16, choices=BatchStatus.choices, default=BatchStatus.QUEUED)
    tries = models.PositiveSmallIntegerField(default=0, help_text="How often it was queued again.")
    worker = models.CharField(max_length=64, blank=True, help_text="Random mark of the worker that has claimed it.")
    queued_at = models.DateTimeField(null=True, help_text="When it was queued. Null: it has yet to be queued.")
    heartbeat_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, help_text="Why its last try broke off.")
    writes = models.PositiveBigIntegerField(default=0, help_text="Transactions written by its workers.")
    bookmarks = models.JSONField(
        default=dict, help_text="User id -> how far the user's list is read (runs/bookmarks.py)."
    )
    answers = models.JSONField(default=dict)
    latency = models.JSONField(default=dict)
    shape = models.JSONField(default=dict)

    class Meta:
        db_table = "bytemark_sync_batch"
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="bytemark_sync_batch_number")]
        indexes = [
            models.Index(fields=["status", "heartbeat_at"], name="bytemark_sync_batch_alive"),
            models.Index(fields=["run", "status"], name="bytemark_sync_batch_run"),
        ]

    def __str__(self) -> str:
        return f"run {self.run_id}, batch {self.number}"


class OrderOutcome(models.Model):
    """Why an order is still pending. One row an order; it is deleted when the order is stored.

    Here and below, `run` has no constraint in the database. With one, each insert would share-lock the run's row, and
    every flush updates that row afterwards. Parallel workers would deadlock (27 times in 50 flushes on MariaDB:
    docs/decisions/0006-no-constraint-to-the-run.md).
    """

    order = models.OneToOneField(
        Order, models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="outcome"
    )
    user_id = models.BigIntegerField(db_index=True)
    reason = models.CharField(max_length=16, choices=reason_choices)
    detail = models.CharField(max_length=500, blank=True)
    attempts = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField(default=timezone.now)
    last_at = models.DateTimeField(default=timezone.now)
    next_at = models.DateTimeField(null=True, help_text="Deferred until then. Null: the next run takes it.")
    deferred_days = models.PositiveSmallIntegerField(
        default=0, help_text="Days of the last deferral; the next doubles them."
    )
    last_run = models.ForeignKey(SyncRun, models.SET_NULL, null=True, db_constraint=False, related_name="outcomes")
    tokens = models.CharField(
        max_length=32,
        blank=True,
        help_text="Keyed fingerprint of the user's tokens. It shows whether they have changed.",
    )

    class Meta:
        db_table = "bytemark_sync_outcome"
        indexes = [
            models.Index(fields=["reason", "last_at"], name="bytemark_sync_outcome_reason"),
            models.Index(fields=["first_at"], name="bytemark_sync_outcome_first"),
        ]

    def __str__(self) -> str:
        return f"order {self.order_id}: {self.get_reason_display()}"


class OrderAttempt(models.Model):
    """The history of an order: one row for each run that left it pending. Old rows are deleted."""

    order = models.ForeignKey(Order, models.DO_NOTHING, db_constraint=False, related_name="attempts")
    run = models.ForeignKey(
        SyncRun, models.SET_NULL, null=True, db_constraint=False, db_index=False, related_name="attempts"
    )
    at = models.DateTimeField(default=timezone.now, db_index=True)
    reason = models.CharField(max_length=16, choices=reason_choices)
    detail = models.CharField(max_length=500, blank=True)

    class Meta:
        db_table = "bytemark_sync_attempt"
        verbose_name = "attempt"
        indexes = [
            models.Index(fields=["run", "reason"], name="bytemark_sync_attempt_run"),
            models.Index(fields=["reason"], name="bytemark_sync_attempt_reason"),
        ]

    def __str__(self) -> str:
        return f"order {self.order_id}: {self.get_reason_display()}"


class StoredOrder(models.Model):
    """When, by which run and with how many items an order was stored. Written together with its items."""

    order = models.OneToOneField(Order, models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="stored")
    run = models.ForeignKey(SyncRun, models.SET_NULL, null=True, db_constraint=False, related_name="stored_orders")
    user_id = models.BigIntegerField(db_index=True)
    stored_at = models.DateTimeField(default=timezone.now, db_index=True)
    items = models.PositiveIntegerField()

    class Meta:
        db_table = "bytemark_sync_stored_order"

    def __str__(self) -> str:
        return f"order {self.order_id}: {many(self.items, 'item')}"
