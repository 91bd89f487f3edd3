"""The queue worked inside the test's process: the real broker rows, the real tasks, a sandbox over real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bytemark_sync.models import Order, OrderToken
from bytemark_sync.sandbox import Sandbox, World
from tests.support.queue import Queue


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def serve(sandbox: Callable[..., Sandbox], settings: Any) -> Callable[..., Sandbox]:
    """`serve(world)`: the world in the portal's tables and behind the API's URL."""
    settings.BYTEMARK_BACKOFF_BASE, settings.BYTEMARK_BACKOFF_CAP = 0.005, 0.05
    settings.BYTEMARK_WORKERS = 4
    settings.SYNC_BATCH_USERS = 3

    def start(world: World, **options: Any) -> Sandbox:
        world.fill_portal()
        box = sandbox(world, **options)
        settings.BYTEMARK_CUSTOMER_API_URL = box.url
        return box

    return start


@pytest.fixture
def users(settings: Any) -> list[int]:
    """Ten users with two pending orders each, and no API behind them."""
    settings.BYTEMARK_CUSTOMER_API_URL = "http://127.0.0.1:9"
    settings.SYNC_BATCH_USERS = 3
    for user_id in range(1, 11):
        OrderToken.objects.create(user_id=user_id, token=f"made-up-{user_id}")
        for part in "ab":
            Order.objects.create(order_uuid=f"{part}-{user_id}", user_id=user_id, amount="0", oauth_token="t")
    return list(range(1, 11))
