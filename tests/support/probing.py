"""Probes a sandbox over real HTTP, without Django."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import PendingUser, WantedOrder
from bytemark_sync.probe.asker import MAX_REQUESTS, Asker
from bytemark_sync.probe.evidence import Evidence
from bytemark_sync.probe.judge import judge, recommended
from bytemark_sync.probe.plan import investigate
from bytemark_sync.probe.tls import look_at_tls
from bytemark_sync.probe.verdicts import Check, Verdict
from bytemark_sync.sandbox import ListedItem, ListedOrder, Sandbox, World
from tests.support.scenario import add_user

ALWAYS_NOT_SEEN = {"tls"}
PATIENT: dict[str, Any] = {"read_timeout": 15.0, "request_deadline": 20.0, "connect_timeout": 5.0}
"""On a busy machine an answer may take long, and the probe would say so."""


@dataclass
class Probed:
    seen: Evidence
    checks: dict[str, Check]
    recommended: dict[str, Any]
    waits: list[float] = field(default_factory=list)

    def verdicts(self) -> dict[str, str]:
        return {name: check.verdict.value for name, check in self.checks.items()}

    def different(self) -> set[str]:
        return {name for name, check in self.checks.items() if check.verdict == Verdict.DIFFERS}

    def unseen(self) -> set[str]:
        return {name for name, check in self.checks.items() if check.verdict == Verdict.NOT_SEEN} - ALWAYS_NOT_SEEN


def probe_url(url: str, riders: Iterable[PendingUser], ca_file: str | None = None, **more: Any) -> Probed:
    """No wait is slept through; `waits` holds their seconds."""
    settings = BytemarkSettings(url, **PATIENT | more)
    seen = Evidence(tuple(riders))
    waits: list[float] = []
    client = BytemarkClient(settings, ca_file=ca_file)
    asker = Asker(seen, client.get_answer, wait=waits.append, say=lambda _text: None)
    seen.tls = look_at_tls(url, timeout=1.0, ca_file=ca_file)
    investigate(asker, page_size=settings.page_size)
    checks = {check.name: check for check in judge(seen, settings, now=datetime.now(UTC))}
    assert len(seen.exchanges) <= MAX_REQUESTS
    return Probed(seen, checks, recommended(seen, settings), waits)


def probe_world(world: World, **options: Any) -> Probed:
    """A probe of a sandbox with this world. Never more requests than allowed, counted at the server; no secrets."""
    more = {name: options.pop(name) for name in ("page_size", "requests_per_second", "read_timeout") if name in options}
    with Sandbox(world, **options) as sandbox:
        found = probe_url(sandbox.url, riders_of(world), **more)
        assert sandbox.stats().requests == len(found.seen.exchanges) <= MAX_REQUESTS
    text = json.dumps([[one.seen, one.advice] for one in found.checks.values()])
    for rider in world.riders:
        assert not any(secret in text for secret in (*rider.tokens, *(order.uuid for order in rider.orders)))
    return found


def riders_of(world: World) -> list[PendingUser]:
    found = []
    for row in world.tokens:
        own = [order for order in world.orders if order.user_id == row.user_id]
        wanted = tuple(WantedOrder(order.id, order.order_uuid) for order in own)
        tokens = tuple(map(Token, dict.fromkeys([*(one.oauth_token for one in own[-1:]), row.token])))
        found.append(PendingUser(row.user_id, tokens, wanted))
    return found


def world_of(*lengths: int, newest_first: bool = True, long_uuids: bool = True) -> World:
    """A rider a length, with so many orders, all of them in the portal and pending."""
    world = World()
    for number, length in enumerate(lengths):
        uuids = [f"{number:08x}-0000-4000-a000-{order:012x}" for order in range(length)]
        orders = [ListedOrder(uuid, [ListedItem("product", [_pass(uuid, long_uuids)])]) for uuid in uuids]
        add_user(world, 501 + number, orders, uuids[::-1] if newest_first else uuids)
    return world


def _pass(uuid: str, long: bool) -> str:
    return f"{uuid}-{'p' * 21}" if long else f"p{uuid}"[1:].replace("-4000-", "-4111-")
