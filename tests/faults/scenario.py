"""What a scenario consists of. `plan` draws it from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bytemark_sync.sandbox import FaultRule, Lifetime, Limit, World

PATIENCE = 20.0
"""Seconds of `BYTEMARK_OUTAGE_PATIENCE` where a limited API must fail nobody: none is kept out for so long."""


@dataclass(frozen=True)
class Actor:
    """Somebody who starts a run: `door` is command (a fork of a warm process), process (a new one) or enqueue."""

    door: str
    args: tuple[str, ...] = ()
    at: float = 0.0
    signal: str = ""
    signal_after: float = 0.0


@dataclass(frozen=True)
class Chaos:
    """One thing that befalls the machines at `at` seconds."""

    kind: str
    at: float
    value: float = 0.0


@dataclass(frozen=True)
class Renewal:
    """Tokens that expire, and logins that renew them."""

    lifetimes: tuple[Lifetime, ...]
    rules: tuple[FaultRule, ...]
    """Of logins; the scenario's own rules have them too."""
    keeps_older: bool
    with_secret: bool
    ends_before_the_clean_run: bool = False
    acts: tuple[Chaos, ...] = ()


@dataclass(frozen=True)
class Scenario:
    seed: int
    lane: str
    kind: str
    users: int
    orders_per_user: int
    listed: tuple[int, int]
    trouble: float
    rules: tuple[FaultRule, ...]
    broken_users: tuple[int, ...]
    """Users whose every request fails in a way that is tried again (kind `exact` alone)."""
    envelope: str
    rejection: FaultRule
    latency: float
    settings: dict[str, Any]
    actors: tuple[Actor, ...]
    chaos: tuple[Chaos, ...] = ()
    clusters: int = 0
    limit: Limit | None = None
    """It stays for the clean runs."""
    refused_users: tuple[int, ...] = ()
    """Users whose first request fails them (kind `exact` alone)."""
    is_blameless: bool = False
    """Nothing that Bytemark does here may fail a user."""
    renewal: Renewal | None = None

    def world(self) -> World:
        accounts = self.renewal is not None
        return World.sample(self.users, self.orders_per_user, self.listed, self.seed, self.trouble, accounts)

    def words(self) -> str:
        actors = ", ".join(
            " ".join([actor.door, *actor.args])
            + (f" SIG{actor.signal}@{actor.signal_after:.2f}" if actor.signal else "")
            for actor in self.actors
        )
        parts = [f"{self.lane} {self.kind}: {self.users} users", actors, " ".join(rule.kind for rule in self.rules)]
        if self.renewal:
            parts.append("renewal")
        if self.limit:
            parts.append("limit of " + ("a quota" if self.limit.quota else f"{self.limit.rate:.0f}/s"))
        parts.append(" ".join(f"{one.kind}@{one.at:.2f}" for one in self.chaos))
        return "; ".join(part for part in parts if part)
