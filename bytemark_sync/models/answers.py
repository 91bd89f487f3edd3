"""When Bytemark did not answer a run, and when it refused requests."""

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
