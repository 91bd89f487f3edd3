"""A search in every test run, the same in each; `make faults` makes longer ones, each another (docs/faults.md)."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from django.db import connections
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test

from bytemark_sync.sandbox import Sandbox, World
from tests.search.machine import Search

pytestmark = pytest.mark.django_db(transaction=True)

SEED = os.environ.get("SEARCH_SEED", "")
STEPS = int(os.environ.get("SEARCH_STEPS", 2000))
STEPS_AN_EXAMPLE = 40


@pytest.fixture
def ground(sandbox: Callable[..., Sandbox], settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.BYTEMARK_BACKOFF_BASE = settings.BYTEMARK_BACKOFF_CAP = 0.001
    settings.BYTEMARK_MAX_ATTEMPTS = 2
    settings.SYNC_RETENTION_DAYS = 36_500
    Search.sandbox = sandbox(World())
    settings.BYTEMARK_CUSTOMER_API_URL = Search.sandbox.url
    context = ssl.create_default_context()  # costs more than all the rest of a client
    monkeypatch.setattr(ssl, "create_default_context", lambda **_options: context)
    monkeypatch.setitem(connections["default"].settings_dict, "CONN_MAX_AGE", None)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(0 if SEED else 900)
def test_every_promise_holds_whatever_happens_in_whatever_order(ground: None) -> None:
    machine = hypothesis.seed(int(SEED))(Search) if SEED else Search
    if SEED:
        print(f"Again: make faults LANE=search SEED={SEED} STEPS={STEPS}")
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=STEPS // STEPS_AN_EXAMPLE,
            stateful_step_count=STEPS_AN_EXAMPLE,
            derandomize=not SEED,
            database=None,
            deadline=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
            # A long list of moves takes minutes to shorten, which a search from a seed has.
            phases=[Phase.generate, *([Phase.shrink] if SEED else [])],
        ),
    )
