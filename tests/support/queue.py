"""The queue worked inside the test's process: the real broker rows, the real tasks."""

from __future__ import annotations

import pydoc
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django_q.models import OrmQ

from bytemark_sync import tasks
from bytemark_sync.domain.pending_filter import PendingFilter
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import Order, OrderItem, OrderOutcome, SyncBatch, SyncRun, Trigger
from bytemark_sync.queue.requests import request_run
from bytemark_sync.sandbox import ExpectedItem


class Queue:
    """django-q2's database broker, worked by hand: one task at a time, in whatever order the test wants."""

    def tasks(self) -> list[tuple[str, tuple[Any, ...]]]:
        """Function name and arguments of what waits, in the order in which it was handed over."""
        return [(row.func().rpartition(".")[2], tuple(row.args())) for row in OrmQ.objects.order_by("pk")]

    def lose(self) -> None:
        """What a broker that restarts without memory does."""
        OrmQ.objects.all().delete()

    def work(self, *, most: int = 1000, shuffle: bool = False, twice: bool = False) -> int:
        """Work up to `most` tasks until none waits; how many it were."""
        for done in range(most):
            waiting = list(OrmQ.objects.order_by("pk"))
            if not waiting:
                return done
            row = random.choice(waiting) if shuffle else waiting[0]
            row.delete()
            for _ in range(2 if twice else 1):
                pydoc.locate(row.func())(*row.args(), **row.kwargs())  # type: ignore[operator]
        return most


def items() -> list[ExpectedItem]:
    """What is stored, as `World.expected_items` has it."""
    fields = ("order_id", "order_uuid", "oauth_token", "product_uuid", "pass_uuid")
    return sorted(ExpectedItem(*row) for row in OrderItem.objects.values_list(*fields))


def planned(run: SyncRun | None) -> list[int]:
    assert run is not None
    tasks.plan_run(run.pk)
    batches = SyncBatch.objects.filter(run=run).order_by("number").values_list("user_ids", flat=True)
    return [user_id for batch in batches for user_id in batch]


def ask(*, filters: Mapping[str, Any] | None = None, **wanted: Any) -> SyncRun:
    trigger = wanted.pop("trigger", Trigger.COMMAND)
    run = request_run(trigger=trigger, filters=PendingFilter.from_json(filters or {}), **wanted).run
    assert run is not None
    return run


def outcome(user_id: int, reason: Reason, *, days: int = 0, waits: bool = False) -> None:
    now = timezone.now()
    for order in Order.objects.filter(user_id=user_id):
        OrderOutcome.objects.create(
            order=order,
            user_id=user_id,
            reason=reason,
            first_at=now - timedelta(days=days),
            next_at=now + timedelta(days=1) if waits else None,
        )
