"""The product's own tables: runs, their batches, and what became of each order."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

from bytemark_sync.domain.counters import many
from bytemark_sync.domain.reasons import reason_choices
from bytemark_sync.domain.run_scope import Scope
from bytemark_sync.models.portal import Order


class RunKind(models.TextChoices):
    """What a run does. The label is the word that people read."""

    SYNC = "sync", "run"
    AUDIT = "audit", "audit"


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
    requested_by = models.CharField(max_length=150, blank=True, help_text="Who asked for it, where a person did.")
    scope = models.JSONField(default=dict, help_text="users, orders, limit, include_deferred; empty: all that are due.")
    whole = models.BooleanField(default=False, help_text="It took all that was due, and so speaks for the whole job.")
    status = models.CharField(max_length=16, choices=RunStatus.choices, default=RunStatus.QUEUED, db_index=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    due_at = models.DateTimeField(null=True, unique=True, help_text="When a scheduled run was due; one run a due time.")
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    planned_at = models.DateTimeField(null=True, help_text="When the last batch was planned; null: still planning.")
    planner_at = models.DateTimeField(
        null=True,
        help_text="When planning was handed to the broker, or gave a sign of life (batches keep heartbeat_at young"
        " without it); null: the broker has yet to take it.",
    )
    planned_user_id = models.BigIntegerField(null=True, help_text="Planned up to this user; where planning goes on.")
    planning_tries = models.PositiveSmallIntegerField(default=0, help_text="How often planning began again in vain.")
    stop_requested = models.BooleanField(default=False)
    stopped_by = models.CharField(max_length=150, blank=True, help_text="Who asked it to stop, where a person did.")
    host = models.CharField(max_length=255, blank=True)
    pid = models.BigIntegerField(null=True, help_text="Of a run that one process works by itself.")
    pid_space = models.CharField(max_length=100, blank=True, help_text="Boot and PID namespace that pid belongs to.")

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

    writes = models.PositiveBigIntegerField(default=0, help_text="Transactions that its own process has written.")
    answers = models.JSONField(default=dict, help_text="Requests by kind of answer.")
    latency = models.JSONField(default=dict, help_text="Histogram of seconds a request, see bytemark.latency.")
    shape = models.JSONField(default=dict, help_text="Names and types of the answers' members, see bytemark.shape.")
    drift = models.JSONField(default=dict, help_text="How the shape has changed, and since which run.")
    answered_at = models.DateTimeField(null=True, help_text="When Bytemark last answered one of its processes.")
    silent_since = models.DateTimeField(
        null=True, help_text="Since when Bytemark has answered none of them, in an outage; null: it answers."
    )
    gave_up_at = models.DateTimeField(null=True, help_text="When it gave up, for Bytemark did not answer any more.")
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
            self.whole = self.kind == RunKind.SYNC and Scope.from_json(self.scope).is_everything
        super().save(*args, **kwargs)


class SyncBatch(models.Model):
    """A queued part of a run, with the users that it still has to do. Storing a user's result removes the user here."""

    run = models.ForeignKey(SyncRun, models.CASCADE, related_name="batches")
    number = models.PositiveIntegerField()
    user_ids = models.JSONField(default=list)
    status = models.CharField(max_length=16, choices=BatchStatus.choices, default=BatchStatus.QUEUED)
    tries = models.PositiveSmallIntegerField(default=0, help_text="How often it was queued again.")
    worker = models.CharField(max_length=64, blank=True, help_text="Claim of the worker that has it.")
    queued_at = models.DateTimeField(null=True, help_text="When it was handed to the broker; null: it waits its turn.")
    heartbeat_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, help_text="Why it last broke off.")
    writes = models.PositiveBigIntegerField(default=0, help_text="Transactions that its workers have written.")
    bookmarks = models.JSONField(
        default=dict, help_text="Users who are under way between two tries: user id -> see bookmarks.py."
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
    next_at = models.DateTimeField(null=True, help_text="Deferred until then; null: the next run tries it.")
    deferred_days = models.PositiveSmallIntegerField(default=0, help_text="The last wait; the next one is twice that.")
    last_run = models.ForeignKey(SyncRun, models.SET_NULL, null=True, db_constraint=False, related_name="outcomes")
    tokens = models.CharField(
        max_length=32, blank=True, help_text="Keyed fingerprint of the user's current tokens; tells a changed token."
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
