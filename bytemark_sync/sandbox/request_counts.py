"""Counts of the requests that the sandbox got. Tokens are counted by fingerprint and never kept."""

from __future__ import annotations

from collections import deque
from hashlib import sha256

import msgspec

KEPT_REQUESTS = 20_000
KEPT_SECONDS = 3_600


def fingerprint(token: str) -> str:
    """12 hexadecimal digits that tell tokens apart without showing them."""
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()[:12]


class Seen(msgspec.Struct):
    """One request. `fault` names the rules that applied to it. `token` is a fingerprint, empty if none was sent."""

    user_id: int | None
    token: str
    page: int
    per_page: int
    status: int
    fault: str
    at: float


class SeenLogin(msgspec.Struct):
    """One request for a login. `outcome`: `granted` where it gave a token, else the reason of its refusal, or empty.

    `user_id` is that of the e-mail's account. `token` is the fingerprint of what was given. `secret`: whether a client
    secret was sent; `authorization`: whether a header of that name was, which no login needs.
    """

    user_id: int | None
    client_id: str
    secret: bool
    authorization: bool
    outcome: str
    token: str
    status: int
    fault: str
    at: float


class LimitCounts(msgspec.Struct):
    """What the limiter did. `by_second`: Unix second -> [let through, refused], of the last hour with requests."""

    allowed: int = 0
    refused: int = 0
    by_second: dict[str, list[int]] = {}

    def add(self, allowed: bool, wall: float) -> None:
        self.allowed += allowed
        self.refused += not allowed
        second = str(int(wall))
        if second not in self.by_second:
            self.by_second[second] = [0, 0]
            if len(self.by_second) > KEPT_SECONDS:
                del self.by_second[next(iter(self.by_second))]
        self.by_second[second][not allowed] += 1


class LoginCounts(msgspec.Struct):
    """`users`: requests for a login, by the account's user. `granted`: those that gave the user a token, even where
    the answer was cut off on its way. `refused`: by reason."""

    requests: int = 0
    concurrent: int = 0
    max_concurrent: int = 0
    users: dict[str, int] = {}
    granted: dict[str, int] = {}
    refused: dict[str, int] = {}
    statuses: dict[str, int] = {}
    faults: dict[str, int] = {}


class Stats(msgspec.Struct):
    """Counts since the start or the last reset, of requests for orders; `logins` has those of the others.

    `max_concurrent`: the most under way at once. `connections`: requests of both kinds that began a new connection.
    `first_at`, `last_at`: Unix time of the first and the last request. `limit` counts both kinds, while there is one.
    """

    requests: int = 0
    connections: int = 0
    concurrent: int = 0
    max_concurrent: int = 0
    paths: dict[str, int] = {}
    users: dict[str, int] = {}
    tokens: dict[str, int] = {}
    pages: dict[str, int] = {}
    statuses: dict[str, int] = {}
    faults: dict[str, int] = {}
    elsewhere: int = 0
    elsewhere_with_authorization: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    logins: LoginCounts = msgspec.field(default_factory=LoginCounts)
    limit: LimitCounts = msgspec.field(default_factory=LimitCounts)


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


class RequestCounts:
    def __init__(self) -> None:
        self.stats = Stats()
        self.seen: deque[Seen] = deque(maxlen=KEPT_REQUESTS)
        self.seen_logins: deque[SeenLogin] = deque(maxlen=KEPT_REQUESTS)

    def reset(self) -> None:
        """Forget everything except requests under way."""
        logins = LoginCounts(concurrent=self.stats.logins.concurrent)
        self.stats = Stats(concurrent=self.stats.concurrent, logins=logins)
        self.seen.clear()
        self.seen_logins.clear()

    def begin(self, new_connection: bool) -> None:
        self.stats.connections += new_connection
        self.stats.concurrent += 1
        self.stats.max_concurrent = max(self.stats.max_concurrent, self.stats.concurrent)

    def end(self) -> None:
        self.stats.concurrent -= 1

    def begin_login(self, new_connection: bool) -> None:
        self.stats.connections += new_connection
        logins = self.stats.logins
        logins.concurrent += 1
        logins.max_concurrent = max(logins.max_concurrent, logins.concurrent)

    def end_login(self) -> None:
        self.stats.logins.concurrent -= 1

    def add_login(self, seen: SeenLogin) -> None:
        logins = self.stats.logins
        logins.requests += 1
        _count(logins.statuses, str(seen.status))
        if seen.user_id is not None:
            _count(logins.users, str(seen.user_id))
            if seen.outcome == "granted":
                _count(logins.granted, str(seen.user_id))
        if seen.outcome not in ("", "granted"):
            _count(logins.refused, seen.outcome)
        for name in seen.fault.split():
            _count(logins.faults, name)
        self.seen_logins.append(seen)

    def add_elsewhere(self, path: str, with_authorization: bool) -> None:
        """A request to any other path, where nobody should come."""
        _count(self.stats.paths, path)
        self.stats.elsewhere += 1
        self.stats.elsewhere_with_authorization += with_authorization

    def add(self, path: str, seen: Seen) -> None:
        stats = self.stats
        stats.requests += 1
        stats.first_at = stats.first_at or seen.at
        stats.last_at = seen.at
        _count(stats.paths, path)
        _count(stats.pages, str(seen.page))
        _count(stats.statuses, str(seen.status))
        if seen.token:
            _count(stats.tokens, seen.token)
        if seen.user_id is not None:
            _count(stats.users, str(seen.user_id))
        for name in seen.fault.split():
            _count(stats.faults, name)
        self.seen.append(seen)
