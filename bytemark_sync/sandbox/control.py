"""Controls a sandbox over HTTP, whichever process it runs in."""

from __future__ import annotations

from typing import TypeVar
from urllib.request import ProxyHandler, Request, build_opener

import msgspec

from bytemark_sync.sandbox.accounts import Lifetime, TokenState, parse_lifetimes
from bytemark_sync.sandbox.faults import FaultRule, parse_faults
from bytemark_sync.sandbox.limits import Limit, parse_limit
from bytemark_sync.sandbox.request_counts import Seen, SeenLogin, Stats
from bytemark_sync.sandbox.world import World

T = TypeVar("T")


class SandboxControl:
    """`url` is the sandbox's base URL, as in `BYTEMARK_CUSTOMER_API_URL`."""

    def __init__(self, url: str = "") -> None:
        self.url = url
        self._opener = build_opener(ProxyHandler({}))  # a proxy named by the environment cannot reach a loopback port

    def stats(self) -> Stats:
        return msgspec.json.decode(self._ask("stats"), type=Stats)

    def requests(self) -> list[Seen]:
        """The last 20,000 requests for orders, oldest first."""
        return msgspec.json.decode(self._ask("requests"), type=list[Seen])

    def logins(self) -> list[SeenLogin]:
        """The last 20,000 requests for a login, oldest first."""
        return msgspec.json.decode(self._ask("logins"), type=list[SeenLogin])

    def tokens(self) -> dict[str, TokenState]:
        """Every token that there is or was, by `request_counts.fingerprint`, and whether it works now."""
        return msgspec.json.decode(self._ask("tokens"), type=dict[str, TokenState])

    def end_tokens(self, *user_ids: int) -> None:
        """The tokens of these riders, or of all, open nothing any more."""
        self._ask("end_tokens", msgspec.json.encode(user_ids or None))

    def set_lifetimes(self, *lifetimes: Lifetime | str) -> None:
        """Replace how long tokens live, those that are there too. Of several the first that is of a token holds."""
        parsed = [one for life in lifetimes for one in (parse_lifetimes(life) if isinstance(life, str) else [life])]
        self._ask("lifetimes", msgspec.json.encode(parsed))

    def set_faults(self, *rules: FaultRule | str) -> None:
        """Replace the rules in force. Without any rule every answer is good."""
        parsed = [one for rule in rules for one in (parse_faults(rule) if isinstance(rule, str) else [rule])]
        self._ask("faults", msgspec.json.encode(parsed))

    def set_limit(self, limit: Limit | str | None) -> None:
        """Replace the limit on all requests; None or an empty text takes it away. Its counts begin anew."""
        self._ask("limit", msgspec.json.encode(parse_limit(limit) if isinstance(limit, str) else limit))

    def set_world(self, world: World, *, keep_tokens: bool = False) -> None:
        """Replace riders and what is listed. `keep_tokens`: what logins have given stays, and what has ended."""
        self._ask("world?keep_tokens=1" if keep_tokens else "world", msgspec.json.encode(world))

    def reset(self) -> None:
        """Set the counts to zero, remove all faults, the limit and the lifetimes. The world and its tokens stay."""
        self._ask("reset", b"{}")

    def _ask(self, what: str, body: bytes | None = None) -> bytes:
        request = Request(f"{self.url}/_sandbox/{what}", data=body)  # noqa: S310 - our own loopback URL
        with self._opener.open(request, timeout=30) as response:
            return bytes(response.read())
