"""In which order a list stands: by a creation time in the orders, or by the portal's own order ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from bytemark_sync.domain.matching import normalise
from bytemark_sync.probe.evidence import Evidence, Walk

MIN_COMPARISONS = 5
"""Neighbours that must agree before an order is believed: chance gives that once in 32."""

MIN_AGREEING = 0.9
"""Share of neighbours that must agree. Two orders of the same second may stand either way."""

_CREATED = re.compile(r"creat|purchas|order(ed)?_?(at|date|time)|placed|^(time|date|timestamp)$", re.IGNORECASE)


class Direction(StrEnum):
    NEWEST_FIRST = "newest first"
    OLDEST_FIRST = "oldest first"
    NEITHER = "neither newest nor oldest first"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ListOrder:
    """`by`: what neighbours were compared by. `riders` and `pages`: how many of each were compared."""

    direction: Direction
    by: str = ""
    comparisons: int = 0
    riders: int = 0
    pages: int = 0


def find_order(seen: Evidence) -> ListOrder:
    walks = [walk for walk in seen.walks if walk.pages]
    member = _time_member(walks)
    if member:
        return _direction(walks, [_times(walk, member) for walk in walks], "a creation time in the orders")
    ids = [
        {normalise(order.uuid): float(order.id) for order in seen.riders[walk.rider].orders if order.uuid}
        for walk in walks
    ]
    ranks = [_ranks(walk.identities, own) for walk, own in zip(walks, ids, strict=True)]
    return _direction(walks, ranks, "the ids of the portal's orders")


def _direction(walks: Sequence[Walk], values: Sequence[Sequence[float]], by: str) -> ListOrder:
    pairs = [pair for own in values for pair in pairwise(own) if pair[0] != pair[1]]
    used = [walk for walk, own in zip(walks, values, strict=True) if len(own) > 1]
    falling = sum(first > second for first, second in pairs)
    share = falling / len(pairs) if pairs else 0.0
    if len(pairs) < MIN_COMPARISONS:
        found = Direction.UNKNOWN
    elif share >= MIN_AGREEING:
        found = Direction.NEWEST_FIRST
    elif share <= 1 - MIN_AGREEING:
        found = Direction.OLDEST_FIRST
    else:
        found = Direction.NEITHER
    return ListOrder(found, by, len(pairs), len(used), sum(len(walk.pages) for walk in used))


def _ranks(identities: Iterable[str], ids: Mapping[str, float]) -> list[float]:
    return [ids[key] for one in identities if (key := normalise(one)) in ids]


def _times(walk: Walk, member: str) -> list[float]:
    """The creation times of the different orders, in the order of the list."""
    found: dict[str, float] = {}
    for page in walk.pages:
        for order, raw in zip(page.listed, page.orders, strict=True):
            time = as_time(raw.get(member)) if isinstance(raw, dict) else None
            if time is not None:
                found.setdefault(order.identity, time)
    return list(found.values())


def _time_member(walks: Sequence[Walk]) -> str:
    """The member that says in every order when it was made. If there are several, the one named "created"."""
    orders = [raw for walk in walks for page in walk.pages for raw in page.orders if isinstance(raw, dict)]
    names = [
        name
        for name in (orders[0] if orders else {})
        if _CREATED.search(name) and all(as_time(raw.get(name)) is not None for raw in orders)
    ]
    return min(names, key=lambda name: ("creat" not in name.lower(), name), default="")


def as_time(value: Any) -> float | None:
    """Seconds since 1970 of an ISO 8601 text, or of a number that can be a time of this century."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        seconds = float(value) / 1000 if value > 1e11 else float(value)
        return seconds if 946_684_800 < seconds < 4_102_444_800 else None
    if not isinstance(value, str) or not 10 <= len(value) <= 40:
        return None
    try:
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
