"""What the backend's tests share: a filled portal, a sandbox before it, and the real command between the two."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bytemark_sync.sandbox import (
    ListedItem,
    ListedOrder,
    PortalOrder,
    PortalToken,
    Rider,
    Sandbox,
    SandboxControl,
    World,
)
from tests.support.harness import Finished, FreshDatabase, Portal, manage, start_manage

CONTRACT_KEYS = {
    "run_id",
    "status",
    "users",
    "users_failed",
    "orders",
    "orders_synced",
    "orders_not_found",
    "orders_without_passes",
    "orders_invalid",
    "items_created",
    "api_requests",
    "retries",
    "rate_limited",
    "tokens_renewed",
    "seconds",
    "orders_deferred",
}

Env = Mapping[str, str | None]


def listed(uuid: str, *passes: str, product: str = "product-1") -> ListedOrder:
    """An order as Bytemark lists it; without passes it gets one of its own name."""
    return ListedOrder(uuid, [ListedItem(product, list(passes) or [f"pass-{uuid}"])])


def simple_world(users: int = 3, orders: int = 2, first: int = 101) -> World:
    """Users with a token each and `orders` pending orders that are listed."""
    world = World()
    for user in range(first, first + users):
        add_user(
            world, user, [listed(f"order-{user}-{n}", f"pass-{user}-{n}a", f"pass-{user}-{n}b") for n in range(orders)]
        )
    return world


def add_user(world: World, user: int, orders: Sequence[ListedOrder], wanted: Sequence[str] | None = None) -> str:
    """Add a rider who lists `orders`, with a pending order for each uuid of `wanted` (all); the token."""
    token = f"key-{user}"
    world.riders.append(Rider(user, [token], list(orders)))
    for uuid in [order.uuid for order in orders] if wanted is None else wanted:
        world.orders.append(PortalOrder(len(world.orders) + 1, uuid, user, token))
    world.tokens.append(PortalToken(user, token))
    return token


class Scenario:
    """`sync()` runs the command as a person would; `settle()` runs it once more without faults and expects it all."""

    def __init__(self, url: str, world: World, sandbox: SandboxControl) -> None:
        self.url = url
        self.world = world
        self.sandbox = sandbox
        self.portal = Portal(url)

    def env(self, extra: Env | None = None) -> Env:
        return {"BYTEMARK_CUSTOMER_API_URL": self.sandbox.url} | dict(extra or {})

    def sync(self, *args: object, env: Env | None = None, timeout: float = 60, url: str = "") -> Finished:
        done = manage("sync_order_items", *args, database_url=url or self.url, env=self.env(env), timeout=timeout)
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    def start(self, *args: object, env: Env | None = None, url: str = "", **options: Any) -> subprocess.Popen[str]:
        return start_manage("sync_order_items", *args, database_url=url or self.url, env=self.env(env), **options)

    def settle(self) -> None:
        """Clean runs, deferred orders included, until one finds nothing to store: then all is as it must be."""
        self.sandbox.set_faults()
        self.age_heartbeats()
        created = 1
        while created:
            done = self.sync("--include-deferred", "--json")
            created = done.json["items_created"]
            self.assert_exact()

    def age_heartbeats(self) -> None:
        """Let a minute pass without a sign of life of any run."""
        before = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%d %H:%M:%S.%f")
        self.portal.execute("UPDATE bytemark_sync_run SET heartbeat_at = %s WHERE status = 'running'", before)

    def assert_exact(self) -> None:
        """Every expected row and no other; every pending order has its reason; no run is left running."""
        assert self.portal.items() == self.world.expected_items()
        assert self.portal.reasons() == self.world.expected_reasons()
        self.assert_closed()

    def assert_closed(self) -> None:
        assert [run["id"] for run in self.portal.runs() if run["status"] in ("queued", "running")] == []

    def assert_whole_orders(self) -> None:
        """Each order has all of its expected rows or none, none twice, and its record of having been stored agrees."""
        expected = Counter(item.order_id for item in self.world.expected_items())
        items = self.portal.items()
        assert len(set(items)) == len(items)
        assert set(items) <= set(self.world.expected_items())
        assert all(expected[order] == count for order, count in Counter(item.order_id for item in items).items())
        before = {order.id for order in self.world.orders if order.stored}
        stored = dict(self.portal.all("SELECT order_id, items FROM bytemark_sync_stored_order"))
        assert stored == {
            order: count for order, count in Counter(item.order_id for item in items).items() if order not in before
        }
        assert not set(stored) & set(self.portal.reasons())


MakeScenario = Callable[..., Scenario]


def make_scenario(backend: str, fresh_database: FreshDatabase, sandbox: Callable[..., Sandbox]) -> MakeScenario:
    def make(world: World, **options: Any) -> Scenario:
        made = Scenario(fresh_database(backend), world, sandbox(world, **options))
        made.portal.fill(world)
        return made

    return make
