"""What the search plays on: riders of every kind, emptied tables, and a pool without threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.bytemark.gate import Gate
from bytemark_sync.bytemark.outage import Outage
from bytemark_sync.domain.matching import UserResult
from bytemark_sync.fetch.pool import FetchPool
from bytemark_sync.queue import schedules
from bytemark_sync.runs import engine, outage_watch
from bytemark_sync.sandbox import ListedItem, ListedOrder, PortalOrder, PortalToken, Rider, World
from tests.search.clock import Clock, Waits
from tests.support.tables import all_tables

LISTS = {
    "as asked": (),
    "fewer": ("clamp:size=1",),
    "fewer, no total_count": ("clamp:size=1", "total_count:form=absent"),
    "fewer, no signal": ("clamp:size=1", "no_pagination"),
}
"""How Bytemark lists orders: pages of one order, though three are asked for, with fewer signals of more."""
KINDS = (
    *("listed", "two orders", "long list", "no passes", "not listed", "malformed", "rejected", "no token"),
    *("expired", "no token yet"),
)
"""All but the rejected and those with no token have an account that the portal knows."""


def world_of(kinds: list[str]) -> World:
    """A rider a kind, with the user ids 1, 2, 3 ..."""
    world = World()
    for user_id, kind in enumerate(kinds, 1):
        token = "" if kind in ("no token", "no token yet") else f"key-{user_id}"
        rider, row = Rider(user_id, [f"key-{user_id}"]), PortalToken(user_id, token)
        if kind in ("rejected", "expired"):
            rider.tokens = [f"another-{user_id}"]
        if kind not in ("rejected", "no token"):
            rider.email = row.email = f"rider-{user_id}@x"
            rider.password = row.password = f"word-{user_id}"
        world.riders.append(rider)
        world.tokens.append(row)
        add_order(world, user_id, token, kind)
        for _ in range({"two orders": 1, "no passes": 1, "long list": 4}.get(kind, 0)):
            add_order(world, user_id, token, "listed")
    return world


def add_order(world: World, user_id: int, token: str, kind: str) -> PortalOrder:
    """One more pending order of the rider."""
    number = len(world.orders) + 1
    uuid = f"order-{number}"
    passes = [] if kind == "no passes" else [f"pass-{number}-{each}" for each in "ab"]
    if kind != "not listed":
        defect = "passes_text" if kind == "malformed" else ""
        world.riders[user_id - 1].orders.append(ListedOrder(uuid, [ListedItem("product", passes)], defect))
    order = PortalOrder(number, uuid, user_id, token)
    world.orders.append(order)
    return order


def empty_tables() -> None:
    for model in all_tables():
        model._base_manager.all()._raw_delete("default")
    schedules.create_schedules()


def by_clock(patch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Whoever waits for an outage's end, for the pace or for a pause waits by the search's clock."""

    def now() -> float:
        return clock.monotonic

    def outage(patience: float, **more: Any) -> Outage:
        return Outage(patience, now, **more)

    def gate(stop: threading.Event, *, is_shared: bool = False) -> Gate:
        return Gate(Waits(stop, clock), is_shared=is_shared, clock=now)

    def client(settings: BytemarkSettings, *, stop: threading.Event, **more: Any) -> BytemarkClient:
        return BytemarkClient(settings, stop=Waits(stop, clock), **more)

    patch.setattr(outage_watch, "Outage", outage)
    patch.setattr(engine, "Gate", gate)
    patch.setattr(engine, "BytemarkClient", client)


def no_threads(clock: Clock) -> type[FetchPool]:
    """As if the system lent no thread, whose moments nobody can repeat: the caller takes the turns."""

    class NoThreads(FetchPool):
        def _grow(self) -> None:
            pass

        def next(self, timeout: float) -> UserResult | None:
            if self._turns.empty() and self._results.empty():  # all wait for another process
                clock.advance(timeout)
                timeout = 0
            return super().next(timeout)

    return NoThreads
