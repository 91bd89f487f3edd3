"""The store of the pace is away: the last pace holds, divided by the live processes, and work never stops."""

from __future__ import annotations

import threading
import time

import pytest

from bytemark_sync.bytemark.gate import Gate
from bytemark_sync.bytemark.pace_state import Report
from bytemark_sync.runs import pace_keeper
from bytemark_sync.runs.pace_keeper import PaceKeeper
from bytemark_sync.storage.pace_store import RedisPace
from tests.support.servers import Redis

RATE = 40.0


@pytest.mark.server
def test_a_store_that_is_away_stops_nobody_and_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pace_keeper, "AWAY_SECONDS", 0.2)
    with Redis() as redis:
        store = RedisPace(redis.url)
        store.exchange(Report("other", wanted=50), RATE)
        gate = Gate(threading.Event(), is_shared=True)
        keeper = PaceKeeper(gate, RATE, dry_run=False, store=store)
        keeper.tick()
        assert gate.has_lease
        redis.kill()
        passed, seconds = _work(gate, keeper, 2.0)
        assert 0 < passed <= RATE / 2 * seconds + RATE
        assert "The shared pace cannot be asked for" in caplog.text
        redis.start()
        until = time.monotonic() + 30
        while not store.state()[0].holders and time.monotonic() < until:
            _work(gate, keeper, 0.1)
        assert len(store.state()[0].holders) == 1
        assert _work(gate, keeper, 0.5)[0] > 0


def _work(gate: Gate, keeper: PaceKeeper, at_least: float) -> tuple[int, float]:
    """Requests let through to two threads, and in how many seconds."""
    passed, over = [], threading.Event()

    def ask() -> None:
        while not over.is_set() and gate.enter() is not None:
            passed.append(1)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    while time.monotonic() < began + at_least or any(thread.is_alive() for thread in threads):
        keeper.tick()
        time.sleep(0.01)
        if time.monotonic() >= began + at_least:
            over.set()
    return len(passed), time.monotonic() - began
