"""Hands tasks back that only a newer version of the product can work.

While clusters of two versions work one queue, the older one may be given a task whose name or arguments it does not
know. django-q2 would record a failure and drop the task
(docs/decisions/0017-two-versions-side-by-side.md).
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connections
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.signing import SignedPackage

logger = logging.getLogger(__name__)

OURS = "bytemark_sync."
PAUSE_SECONDS = 5.0
"""How long such a task is kept, so that clusters do not throw it to and fro."""
MAX_AGE = timedelta(days=1)
"""A task that nobody has known for so long fails, as django-q2 has it."""
_OF_THE_TRY = frozenset({"ack_id", "cluster", "result", "success", "stopped"})
"""What django-q2 has added to the task while it was here."""
_told: set[str] = set()
"""Tasks that this process has written into its log."""


def hand_back(func: Callable[..., Any] | None, task: dict[str, Any], **_signal: Any) -> None:
    """django-q2's `post_execute_in_worker`: put a task of a newer version into the broker once more, after a pause.

    The worker does not wait meanwhile, but it does not end before either.
    """
    if task["success"] or not _is_of_newer(func, task) or timezone.now() - task["started"] > MAX_AGE:
        return
    if task["id"] not in _told:
        _told.add(task["id"])
        logger.warning("%s: this version does not know the task; it is handed back for a newer one", task["name"])
    package = {name: value for name, value in task.items() if name not in _OF_THE_TRY}
    threading.Timer(PAUSE_SECONDS, _put, (package,)).start()
    # django-q2 takes the old delivery out of the broker, and keeps no result.
    task.update(success=True, save=False, result="handed back for a newer version")


def _put(package: dict[str, Any]) -> None:
    try:
        get_broker().enqueue(SignedPackage.dumps(package))
    except Exception as error:  # noqa: BLE001 - every broker has its own classes
        logger.error("%s could not be handed back (%s)", package["name"], type(error).__name__)
    finally:
        connections.close_all()


def _is_of_newer(func: Callable[..., Any] | None, task: dict[str, Any]) -> bool:
    """Whether the task is the product's, and its name or its arguments are unknown here."""
    if not str(task["func"]).startswith(OURS):
        return False
    if func is None:
        return True
    try:
        inspect.signature(func).bind(*task["args"], **task["kwargs"])
    except TypeError:
        return True
    return False
