"""The shape of Bytemark's answers: names and JSON types of their members, in bounded memory. Never a value.

It is cheap enough for a run's millions of answers, and those of two runs can be compared. The probe's shape
(probe/shape.py) has lengths too, so that the sandbox can make answers like those.

A path names a member: `data.orders[].uuid`. `[]` stands for the entries of a list, `*` for a key that looks like data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import msgspec

from bytemark_sync.bytemark.body_errors import UNREADABLE, mend
from bytemark_sync.bytemark.names import is_name

MAX_PATHS = 200
MAX_PATH_LENGTH = 160
MAX_DEPTH = 12
MAX_ENTRIES_PER_LIST = 20
MAX_KEYS_PER_OBJECT = 60
"""An object with more keys than this is a map: all its keys are data."""

ROOT = ""
SEEN = "seen"
"""This key counts the answers with the member. The types may add up to more: one answer may have several of them."""

_TYPES: dict[type, str] = {
    dict: "object",
    list: "list",
    str: "text",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}

Members = dict[str, dict[str, int]]
"""Path -> `SEEN` and each JSON type -> the number of answers."""


@dataclass(slots=True)
class Shape:
    """The members of several answers. `is_full`: there were more than are kept, so a missing one proves nothing."""

    answers: int = 0
    is_full: bool = False
    members: Members = field(default_factory=dict)

    def add(self, path: str, types: Mapping[str, int]) -> None:
        kept = self.members.get(path)
        if kept is None:
            if len(self.members) >= MAX_PATHS:
                self.is_full = True
                return
            kept = self.members[path] = {}
        for name, count in types.items():
            kept[name] = kept.get(name, 0) + count

    def merge(self, other: Shape) -> None:
        self.answers += other.answers
        self.is_full = self.is_full or other.is_full
        for path, types in other.members.items():
            self.add(path, types)

    def to_json(self) -> dict[str, Any]:
        return {"answers": self.answers, "is_full": self.is_full, "members": self.members} if self.answers else {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Shape:
        """The shape that `to_json` wrote; empty for an empty dict or `None`."""
        shape = cls()
        if value:
            members = {path: dict(types) for path, types in value["members"].items()}
            shape.answers, shape.is_full, shape.members = value["answers"], value["is_full"], members
        return shape


def paths_of(body: bytes, token: str = "") -> dict[str, set[str]]:
    """Path -> JSON types, of one answer. Empty if the body is not JSON.

    A key that holds `token`, or is a part of it, becomes `*`.
    """
    try:
        value = msgspec.json.decode(mend(body))
    except UNREADABLE:
        return {}
    found: dict[str, set[str]] = {}
    name_of = cache(partial(_name, token=token))  # the same few keys come again with every order
    waiting: list[tuple[str, Any, int]] = [(ROOT, value, 0)]
    while waiting:
        path, value, depth = waiting.pop()
        if path not in found:
            if len(found) >= MAX_PATHS or len(path) > MAX_PATH_LENGTH:
                continue
            found[path] = set()
        found[path].add(type_of(value))
        if depth >= MAX_DEPTH:
            continue
        if isinstance(value, list):
            waiting += [(f"{path}[]", each, depth + 1) for each in value[:MAX_ENTRIES_PER_LIST]]
        elif isinstance(value, dict):
            is_map = len(value) > MAX_KEYS_PER_OBJECT
            pairs = list(value.items())[:MAX_KEYS_PER_OBJECT]
            waiting += [
                (_join(path, "*" if is_map else name_of(key)), each, depth + 1) for key, each in reversed(pairs)
            ]
    return found


def type_of(value: Any) -> str:
    """The JSON type of a decoded value, in the words of a run's shape, of Slack and of the probe."""
    return _TYPES[type(value)]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _name(key: str, token: str) -> str:
    """The key if it looks like the name of a member, else `*`. A dot would look like two members."""
    if not is_name(key) or "." in key:
        return "*"
    return "*" if token and len(key) >= 4 and (key in token or token in key) else key
