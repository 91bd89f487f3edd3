"""Where the shared pace is kept: in Redis where it is the broker, else in one row of the database.

The rule is `bytemark.pace.exchange`. Here the state is read, and replaced only if nobody else has replaced it
meanwhile. The clock is the store's, so that machines whose clocks differ agree.
"""

from __future__ import annotations

import json
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from django.conf import settings
from django.db import IntegrityError, connection
from django.db.models import FloatField, Func, Value
from django.utils import timezone

from bytemark_sync.bytemark.pace import exchange
from bytemark_sync.bytemark.pace_state import Lease, PaceState, Report
from bytemark_sync.models import SharedPace

if TYPE_CHECKING:
    from redis.commands.core import Script

MAX_TRIES = 3
"""How often an exchange is tried where others replace the state at the same moment."""
TIMEOUT_SECONDS = 0.5
ROW = 1

READ = "return {redis.call('TIME'), redis.call('GET', KEYS[1])}"
REPLACE = """
local found = redis.call('GET', KEYS[1])
if (found or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class StoreBusy(Exception):
    """Others have replaced the state each time. The old lease holds until the next exchange."""


class PaceStore(Protocol):
    def exchange(self, report: Report, most: float | None) -> Lease:
        """Give a report and get a lease. `most`: the fixed limit.

        Raises `StoreBusy`, and what the store raises.
        """
        ...

    def state(self) -> tuple[PaceState, float]:
        """The state, and the store's time (seconds since 1970)."""
        ...


def is_of_redis(error: Exception) -> bool:
    """Whether Redis has raised it. Its classes are imported only where it is used."""
    return type(error).__module__.startswith("redis")


def pace_store() -> PaceStore:
    return _redis_pace(settings.REDIS_URL) if settings.REDIS_URL else DatabasePace()


@cache
def _redis_pace(url: str) -> RedisPace:
    """One for all batches of a process, with its connections."""
    return RedisPace(url)


class DatabasePace:
    """In the row of `SharedPace`. One SELECT, and one conditional UPDATE where something has changed."""

    def exchange(self, report: Report, most: float | None) -> Lease:
        for _ in range(MAX_TRIES):
            version, known, now = self._read()
            state, lease = exchange(PaceState.from_json(known), report, now, most)
            if state.to_json() == known or (not known and state == PaceState()):
                return lease
            if self._replace(version, state.to_json()):
                return lease
        raise StoreBusy

    def state(self) -> tuple[PaceState, float]:
        _, known, now = self._read()
        return PaceState.from_json(known), now

    def _read(self) -> tuple[int | None, dict[str, Any], float]:
        """Version (None without a row), state and the time."""
        row = SharedPace.objects.filter(pk=ROW).annotate(now=_now()).values_list("version", "state", "now").first()
        if row is None:
            return None, {}, time.time()
        return row[0], row[1], float(row[2])

    def _replace(self, version: int | None, state: dict[str, Any]) -> bool:
        if version is None:
            try:
                SharedPace.objects.create(pk=ROW, version=1, state=state)
            except IntegrityError:
                return False
            return True
        row = SharedPace.objects.filter(pk=ROW, version=version)
        return row.update(version=version + 1, state=state, written_at=timezone.now()) == 1


def _now() -> Func | Value:
    if connection.vendor == "mysql":
        return Func(template="UNIX_TIMESTAMP(NOW(6))", output_field=FloatField())
    return Value(time.time(), output_field=FloatField())


class RedisPace:
    """In one key. Each step is a script, which Redis runs as a whole."""

    def __init__(self, url: str) -> None:
        from redis import Redis  # costs 100 ms that a process without Redis does not need

        client = Redis.from_url(url)
        client.connection_pool.connection_kwargs.update(
            socket_connect_timeout=TIMEOUT_SECONDS, socket_timeout=TIMEOUT_SECONDS
        )
        self._key = f"{settings.Q_CLUSTER['name']}:pace"
        self._read: Script = client.register_script(READ)
        self._replace: Script = client.register_script(REPLACE)

    def exchange(self, report: Report, most: float | None) -> Lease:
        for _ in range(MAX_TRIES):
            text, now = self._found()
            known = _state(text)
            state, lease = exchange(known, report, now, most)
            if state == known:
                return lease
            if self._replace(keys=[self._key], args=[text, json.dumps(state.to_json())]):
                return lease
        raise StoreBusy

    def state(self) -> tuple[PaceState, float]:
        text, now = self._found()
        return _state(text), now

    def _found(self) -> tuple[bytes, float]:
        (seconds, micros), text = self._read(keys=[self._key])
        return text or b"", int(seconds) + int(micros) / 1e6


def _state(text: bytes) -> PaceState:
    try:
        return PaceState.from_json(json.loads(text or b"{}"))
    except ValueError:
        return PaceState()
