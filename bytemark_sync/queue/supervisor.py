"""A cluster that survives the death of any of its processes.

django-q2's guard replaces a worker that dies. But a worker that is killed while it waits for a task keeps the queue's
lock. The other workers then wait for ever, in a cluster that looks alive. A guard that is killed leaves its workers
behind, and a pusher that still takes tasks which nobody works. So here all processes of a cluster die with their
parent. A worker that no task reaches any more ends the guard. A guard that ended without being asked is replaced by a
new one.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
from typing import Any

from django.conf import settings
from django_q.brokers import get_broker
from django_q.cluster import Cluster

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_AGAIN_AFTER = 1.0


def run() -> None:
    """Work the queue until SIGTERM or Ctrl-C. Batches under way are finished first."""
    _children_die_with_their_parent()
    while True:
        cluster = Cluster()
        cluster.start()
        cluster.sentinel.join()
        if cluster.has_stopped:
            return
        logger.error("The cluster's guard process has died (exit %s). A new one is started.", cluster.sentinel.exitcode)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # otherwise the dead cluster's handler would swallow the signal
        time.sleep(_AGAIN_AFTER)


def _children_die_with_their_parent() -> None:
    """Have the kernel send SIGKILL when the parent dies. Only Linux can do this.

    Also make a process group of its own. A SIGTERM for the whole group would end the guard while it holds a lock that
    the cluster needs to stop, and the cluster would hang.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)

    def child() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setpgid(0, 0)

    os.register_at_fork(after_in_child=child)


class Hearing:
    """Tells a worker whether tasks still reach it."""

    def __init__(self) -> None:
        self._busy = False
        self._deaf_since: float | None = None

    def begin(self, **_signal: Any) -> None:
        """django-q2's `pre_execute`."""
        self._busy, self._deaf_since = True, None

    def end(self, **_signal: Any) -> None:
        """django-q2's `post_execute_in_worker`."""
        self._busy = False

    def is_lost(self) -> bool:
        """Whether tasks have waited in the broker for long while this worker was idle. Raises what brokers raise."""
        if self._busy or not get_broker().queue_size():
            self._deaf_since = None
            return False
        self._deaf_since = self._deaf_since or time.monotonic()
        return time.monotonic() - self._deaf_since > patience()


def patience() -> float:
    """Seconds. In a healthy cluster an idle worker takes a waiting task at once."""
    return float(max(5.0, min(60.0, settings.SYNC_HEARTBEAT_LIMIT / 4)))


def end_guard() -> None:
    """Kill this worker's guard and with it the whole cluster. `run` starts a new one."""
    logger.error("Tasks are waiting, but the workers receive none. The cluster is restarted.")
    os.kill(os.getppid(), signal.SIGKILL)
