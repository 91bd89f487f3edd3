"""Heartbeats and the watchdog's turns: a thread in every worker of a cluster.

A scheduled task would wait behind the batches of a long run, which is when the watchdog is needed. A thread does not
wait. The workers of all machines take turns through rows in the database, so each turn is taken once.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import connections
from django.utils import timezone
from django_q.signals import post_execute_in_worker, pre_execute

from bytemark_sync.models import ClusterBeat
from bytemark_sync.queue import handing_back, watchdog
from bytemark_sync.queue.locks import CLOCK_SKEW, take_turn
from bytemark_sync.queue.supervisor import Hearing, end_guard

logger = logging.getLogger(__name__)
_hearing = Hearing()

BEAT = 15.0
"""Seconds between two heartbeats of a cluster."""
SILENCE_EVERY = 2 * 3600.0
"""Seconds without the hourly check for silence after which a worker checks. A broken schedule stops the hourly one."""


def start(check_silence: Callable[[], object]) -> None:
    """Called in each new worker process. `check_silence` is the hourly check, for when its schedule is broken."""
    pre_execute.connect(_hearing.begin)
    post_execute_in_worker.connect(handing_back.hand_back)
    post_execute_in_worker.connect(_hearing.end)
    threading.Thread(target=_run, args=(os.getppid(), check_silence), name="heartbeat", daemon=True).start()


def watch_every() -> float:
    """Seconds between two turns of the watchdog. Dead work is found within twice the heartbeat limit."""
    return float(min(30.0, max(0.5, settings.SYNC_HEARTBEAT_LIMIT / 8)))


def _run(cluster: int, check_silence: Callable[[], object]) -> None:
    """Run until the cluster's process, the worker's parent, is gone."""
    name = f"{socket.gethostname()}:{cluster}"
    look = _Step("The watchdog failed", lambda: _turn(name, check_silence))
    listen = _Step("The broker cannot be asked for waiting tasks", _listen)
    while os.getppid() == cluster:
        look()
        listen()
        connections.close_all()
        time.sleep(min(BEAT * 2 / 3, watch_every()))


class _Step:
    """One turn. It survives a missing database or broker, and logs each such problem once."""

    def __init__(self, failure: str, work: Callable[[], None]) -> None:
        self._failure, self._work, self._trouble = failure, work, ""

    def __call__(self) -> None:
        try:
            self._work()
            self._trouble = ""
        except Exception as error:  # noqa: BLE001 - every broker has its own classes
            if self._trouble != type(error).__name__:
                self._trouble = type(error).__name__
                logger.warning("%s (%s). It will be tried again.", self._failure, self._trouble)


def _turn(cluster: str, check_silence: Callable[[], object]) -> None:
    """What needs only the database. So without the broker the heartbeats and the watchdog still go on."""
    beat(cluster)
    if take_turn("watch", watch_every()):
        watchdog.watch()
    if take_turn("silence", SILENCE_EVERY):
        check_silence()


def _listen() -> None:
    if _hearing.is_lost():
        end_guard()


def beat(cluster: str) -> None:
    """Renew the cluster's row when it is due. Delete rows of clusters that have been gone for a day."""
    now = timezone.now()
    workers = int(settings.Q_CLUSTER["workers"])
    mine = ClusterBeat.objects.filter(name=cluster)
    if mine.filter(heartbeat_at__range=(now - timedelta(seconds=BEAT), now + CLOCK_SKEW)).exists():
        return
    if not mine.update(heartbeat_at=now, workers=workers):
        ClusterBeat.objects.get_or_create(name=cluster, defaults={"workers": workers})
        ClusterBeat.objects.filter(heartbeat_at__lt=now - timedelta(days=1)).delete()
