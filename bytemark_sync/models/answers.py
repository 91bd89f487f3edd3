"""When Bytemark did not answer a run, and how it bore the requests while a limit was known."""

from __future__ import annotations

from django.db import models

from bytemark_sync.models.runs import SyncRun


class RunOutage(models.Model):
    """A time in which Bytemark answered none of a run's processes. Kept as long as the run.

    `OrderOutcome` says why `run` has no constraint.
    """

    run = models.ForeignKey(SyncRun, models.CASCADE, db_constraint=False, related_name="outages")
    began_at = models.DateTimeField(db_index=True, help_text="When it last answered.")
    ended_at = models.DateTimeField(null=True, help_text="When it answered again; null: not before the run ended.")

    class Meta:
        db_table = "bytemark_sync_outage"

    def __str__(self) -> str:
        return f"run {self.run_id}, {self.began_at}"


class LimitedMinute(models.Model):
    """The requests of a process within a minute, and how many were refused (answers 429). Kept while a limit is known.

    The first row of all, without a source, adds up those that were deleted for their age.
    """

    run = models.ForeignKey(SyncRun, models.DO_NOTHING, null=True, db_constraint=False, related_name="limited_minutes")
    source = models.CharField(max_length=32, blank=True, help_text="Of a process: its writer, by a random name.")
    minute = models.DateTimeField()
    requests = models.PositiveBigIntegerField(help_text="All requests of the process in this minute.")
    refused = models.PositiveBigIntegerField()

    class Meta:
        db_table = "bytemark_sync_limited_minute"
        constraints = [models.UniqueConstraint(fields=["minute", "source"], name="bytemark_sync_limited_minute")]

    def __str__(self) -> str:
        return f"{self.refused} at {self.minute}"
