"""One search: Bytemark's stand-in, the settings that it needs, and hypothesis."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis
import pytest
from django.db import connections
from django.test import override_settings
from hypothesis import HealthCheck, Phase
from hypothesis.internal.conjecture.engine import ConjectureRunner
from hypothesis.stateful import run_state_machine_as_test

from bytemark_sync.sandbox import Sandbox, World
from tests.search.machine import Search

STEPS_PER_EXAMPLE = 40


def search(steps: int, seed: int | None = None) -> None:
    """Make `steps` steps on the database of the settings; AssertionError tells what is broken, and the steps to it.

    Without a seed the same steps each time, and the first that break a promise are told as they are: to shorten a long
    list takes minutes.
    """
    with environment(), pytest.MonkeyPatch.context() as patch:
        # Five of six examples would be the one before them with a single move repeated.
        patch.setattr(ConjectureRunner, "generate_mutations_from", lambda _runner, _data: None)
        run_state_machine_as_test(
            Search if seed is None else hypothesis.seed(seed)(Search),
            settings=hypothesis.settings(
                max_examples=max(1, steps // STEPS_PER_EXAMPLE),
                stateful_step_count=STEPS_PER_EXAMPLE,
                derandomize=seed is None,
                database=None,
                deadline=None,
                print_blob=False,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate] if seed is None else [Phase.generate, Phase.shrink],
            ),
        )


@contextmanager
def environment() -> Iterator[None]:
    """What a `Search` needs around it; a printed example can be played again within it."""
    with (
        Sandbox(World()) as sandbox,
        pytest.MonkeyPatch.context() as patch,
        override_settings(
            BYTEMARK_CUSTOMER_API_URL=sandbox.url,
            BYTEMARK_ACCOUNT_API_URL=sandbox.url,
            BYTEMARK_CLIENT_ID="search",
            BYTEMARK_BACKOFF_BASE=0.001,
            BYTEMARK_BACKOFF_CAP=0.001,
            BYTEMARK_MAX_ATTEMPTS=2,
            BYTEMARK_WORKERS=1,
            BYTEMARK_PAGE_SIZE=1,
            SYNC_RETENTION_DAYS=36_500,
            DEBUG=False,
        ),
    ):
        Search.sandbox = sandbox
        patch.setitem(connections["default"].settings_dict, "CONN_MAX_AGE", None)
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
