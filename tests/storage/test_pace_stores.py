"""The store of the pace, in a database and in Redis: what holds of both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis as Client

from bytemark_sync.bytemark.pace_state import Report
from bytemark_sync.models import SharedPace
from bytemark_sync.storage.pace_store import ROW, DatabasePace, PaceStore, pace_store
from tests.support.children import spawn
from tests.support.harness import BACKENDS, FreshDatabase, places
from tests.support.servers import ROOT, Redis, clean_environment

RATE = 200.0
PROCESSES = 3
RACE = f"""
import multiprocessing, sys, time
import django
django.setup()
from bytemark_sync.bytemark.pace_state import Report
from bytemark_sync.storage.pace_store import StoreBusy, pace_store

def race(number):
    line.wait(60)
    store, generation, permits, began = pace_store(), 0, 0, time.time()
    while time.time() < began + 1:
        try:
            lease = store.exchange(Report(f"racer {{number}}", generation=generation, wanted=400), {RATE})
        except StoreBusy:
            continue
        generation = lease.generation
        permits += lease.permits
    ended.put((permits, began, time.time()))

processes = multiprocessing.get_context("fork")  # each would need a second of a processor to set Django up
line, ended = processes.Barrier({PROCESSES}), processes.Queue()
racers = [processes.Process(target=race, args=(number,), daemon=True) for number in range({PROCESSES})]
for racer in racers:
    racer.start()
for _ in racers:
    print(*ended.get(timeout=60))
for racer in racers:
    racer.join()
    assert racer.exitcode == 0
"""


@pytest.mark.parametrize("backend", [*BACKENDS, "redis"])
def test_processes_that_race_never_lease_more_than_the_pace(
    backend: str, fresh_database: FreshDatabase, request: pytest.FixtureRequest
) -> None:
    redis: Redis | None = request.getfixturevalue("redis_server") if backend == "redis" else None
    url = fresh_database("sqlite" if redis else backend)
    env = {"DEBUG": "1", "DJANGO_SETTINGS_MODULE": "project.settings", **places(url)}
    env |= {"REDIS_URL": redis.url} if redis else {}
    race = spawn([sys.executable, "-c", RACE], env=clean_environment(env), cwd=ROOT, stdout=subprocess.PIPE)
    ended = [line.split() for line in race.communicate(timeout=120)[0].splitlines()]
    assert (race.returncode, len(ended)) == (0, PROCESSES)
    seconds = max(float(end) for _, _, end in ended) - min(float(begin) for _, begin, _ in ended)
    permits = [int(each) for each, _, _ in ended]
    assert 0 < sum(permits) <= RATE * (seconds + 1.0)


Spoil = Callable[[str], object]


@pytest.fixture(params=["database", pytest.param("redis", marks=pytest.mark.server)])
def stored(request: pytest.FixtureRequest, settings: Any) -> tuple[PaceStore, Spoil]:
    """An empty store, and what replaces the text of its state."""
    if request.param == "database":
        return (
            DatabasePace(),
            lambda text: SharedPace.objects.update_or_create(pk=ROW, defaults={"state": json.loads(text)}),
        )
    redis: Redis = request.getfixturevalue("redis_server")
    settings.REDIS_URL = redis.url
    client, key = Client.from_url(redis.url), f"{settings.Q_CLUSTER['name']}:pace"
    client.delete(key)
    return pace_store(), lambda text: client.set(key, text)


@pytest.fixture
def store(stored: tuple[PaceStore, Spoil]) -> PaceStore:
    return stored[0]


@pytest.mark.django_db
def test_retry_after_of_one_process_holds_another(store: PaceStore) -> None:
    store.exchange(Report("one", pause=7.0), None)
    assert 5.0 < store.exchange(Report("two"), None).pause <= 7.0


@pytest.mark.django_db
def test_what_one_has_learnt_is_the_pace_of_another(store: PaceStore) -> None:
    store.exchange(Report("one", refused=3, counted=20, counted_seconds=1.0, had=20.0, pause=1.0), None)
    assert store.exchange(Report("two"), None).rate == 20.0
    assert store.exchange(Report("three"), 5.0).rate == 5.0


@pytest.mark.django_db
def test_without_a_limit_nothing_is_kept(store: PaceStore) -> None:
    assert store.exchange(Report("one", good=3, counted=3), None).rate is None
    state, now = store.state()
    assert (state.rate, dict(state.holders), now > 1.6e9) == (None, {}, True)


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["[1]", '"text"', '{"rate": -3, "holders": 5}', '{"rate": 5, "leased_until": "x"}'])
def test_a_malformed_state_is_replaced_by_what_is_learnt(stored: tuple[PaceStore, Spoil], text: str) -> None:
    store, spoil = stored
    spoil(text)
    assert store.exchange(Report("one", wanted=9), None).rate is None
    store.exchange(Report("one", refused=3, counted=20, counted_seconds=1.0, had=20.0, pause=1.0), None)
    assert store.exchange(Report("two"), None).rate == 20.0


@pytest.mark.server
def test_what_is_no_json_in_redis_is_no_state(redis_server: Redis, settings: Any) -> None:
    settings.REDIS_URL = redis_server.url
    Client.from_url(redis_server.url).set(f"{settings.Q_CLUSTER['name']}:pace", b"\xff{")
    assert pace_store().exchange(Report("one", wanted=9), None).rate is None
