"""What an audit found when it compared stored items with Bytemark's list."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from bytemark_sync.domain.comparison import FINDING_CHOICES
from bytemark_sync.models.portal import Order
from bytemark_sync.models.runs import SyncRun


class AuditFinding(models.Model):
    """One thing that is wrong with a stored order. Kept as long as its run.

    `OrderOutcome` says why `run` has no constraint.
    """

    run = models.ForeignKey(SyncRun, models.CASCADE, db_constraint=False, related_name="findings")
    order = models.ForeignKey(Order, models.DO_NOTHING, db_constraint=False, related_name="findings")
    user_id = models.BigIntegerField(db_index=True)
    kind = models.CharField(max_length=24, choices=FINDING_CHOICES)
    pass_uuid = models.CharField(max_length=255, blank=True)
    detail = models.CharField(max_length=600)
    repaired = models.BooleanField(default=False, help_text="The missing pass has been stored since.")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "bytemark_sync_audit_finding"
        indexes = [models.Index(fields=["run", "kind"], name="bytemark_sync_finding_kind")]

    def __str__(self) -> str:
        return f"order {self.order_id}: {self.get_kind_display()}"
