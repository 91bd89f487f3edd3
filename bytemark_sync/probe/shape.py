"""The shape of JSON values put together: members, types, lengths, counts. Never a value.

It is for the few answers of a probe, and has all that is needed to make others like them. A run keeps less of far more
answers (bytemark/shape.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from bytemark_sync.probe.list_order import as_time
from bytemark_sync.probe.reading import number_type

MAX_MEMBERS = 100
"""The most members of one object that are kept. An object with more is a map, and its keys are data."""

MAX_DEPTH = 12

_RFC_4122 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


class Shape(msgspec.Struct, omit_defaults=True):
    """What was seen in one place. `seen` counts values; `types` counts them by type.

    `shortest` and `longest`: characters of texts, entries of lists.
    """

    seen: int = 0
    types: dict[str, int] = {}
    shortest: int = -1
    longest: int = -1
    members: dict[str, Shape] = {}
    entries: Shape | None = None

    def take(self, value: Any, name_of: Callable[[str], str], depth: int = 0) -> None:
        """Add one value. `name_of` gives the name under which a member is kept."""
        self.seen += 1
        kind = detailed_type(value)
        self.types[kind] = self.types.get(kind, 0) + 1
        if isinstance(value, str | list):
            self.shortest = len(value) if self.shortest < 0 else min(self.shortest, len(value))
            self.longest = max(self.longest, len(value))
        if depth >= MAX_DEPTH:
            return
        if isinstance(value, list):
            for entry in value:
                self.entries = self.entries or Shape()
                self.entries.take(entry, name_of, depth + 1)
        elif isinstance(value, dict):
            for member, inner in value.items():
                name = name_of(member)
                if name in self.members or len(self.members) < MAX_MEMBERS:
                    self.members.setdefault(name, Shape()).take(inner, name_of, depth + 1)

    def paths(self, prefix: str = "") -> Iterator[tuple[str, Shape]]:
        """Every place inside with its name, such as `order_items[].product.uuid`."""
        for name, inner in self.members.items():
            here = f"{prefix}.{name}" if prefix else name
            yield here, inner
            yield from inner.paths(here)
        if self.entries is not None:
            yield from self.entries.paths(f"{prefix}[]")

    @property
    def words(self) -> str:
        return " or ".join(sorted(self.types))


def detailed_type(value: Any) -> str:
    """The JSON type; of a text also whether it is a uuid or a time."""
    if isinstance(value, str):
        return "uuid" if is_rfc_4122(value) else "time" if as_time(value) is not None else "text"
    return number_type(value)


def is_rfc_4122(text: str) -> bool:
    return _RFC_4122.fullmatch(text) is not None
