"""In what the shape of Bytemark's answers differs from the shape in an earlier run (docs/contract.md#drift)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bytemark_sync.bytemark.shape import ROOT, SEEN, Shape

MIN_ANSWERS = 10
"""A member, or a type, must have been expected in so many answers before its absence means something."""
MIN_ANSWERS_OF_RARE = 100
"""The same for what fewer than `NEARLY_ALL` answers have. One rider's answers resemble each other."""
NEARLY_ALL = 0.9

_LISTS_END = "pagination.next"
"""This member is null or false where a list ends. So these two types are no change."""


@dataclass(frozen=True, slots=True)
class Change:
    """A member whose JSON types differ. `was` is empty for a new member, `is_now` for one that is gone."""

    path: str
    was: tuple[str, ...]
    is_now: tuple[str, ...]

    @property
    def word(self) -> str:
        return "new" if not self.was else "gone" if not self.is_now else "another type"

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "was": list(self.was), "is": list(self.is_now)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Change:
        return cls(value["path"], tuple(value["was"]), tuple(value["is"]))


def is_comparable(shape: Shape) -> bool:
    return shape.answers >= MIN_ANSWERS


def compare(before: Shape, now: Shape) -> list[Change]:
    """What is new, gone or of another type, by path. Of an object that comes or goes, its members are not named."""
    changes: list[Change] = []
    for path in sorted({*before.members, *now.members}):
        was, is_now = before.members.get(path), now.members.get(path)
        if was is None or is_now is None:
            if _came(before, now, path) if was is None else _came(now, before, path):
                changes.append(Change(path, _types(was), _types(is_now)))
        elif _has_new_type(was, is_now, set() if not path.endswith(_LISTS_END) else {"null", "boolean"}):
            changes.append(Change(path, _types(was), _types(is_now)))
    return changes


def _came(absent: Shape, present: Shape, path: str) -> bool:
    """Whether `absent` would have the path if its answers were like those of `present`.

    Lists and maps may be empty, so a missing entry means nothing. Nor does anything that a full shape lacks.
    """
    if absent.is_full or path == ROOT or path.endswith(("[]", "*")):
        return False
    parent = _parent(path)
    return _expected(present.members[path][SEEN], _objects(present, parent), _objects(absent, parent))


def _has_new_type(was: dict[str, int], is_now: dict[str, int], but: set[str]) -> bool:
    """Whether there is a new type other than those in `but`. A type that is gone may just be rare now."""
    return any(_expected(is_now[name], is_now[SEEN], was[SEEN]) for name in is_now.keys() - was.keys() - but)


def _expected(count: int, answers: int, other_answers: int) -> bool:
    """Whether something that `count` of `answers` have must be expected in `other_answers`."""
    if not answers or count < MIN_ANSWERS:
        return False
    share = min(1.0, count / answers)
    return share * other_answers >= (MIN_ANSWERS if share >= NEARLY_ALL else MIN_ANSWERS_OF_RARE)


def _parent(path: str) -> str:
    """The object that a member belongs to."""
    return path.rpartition(".")[0]


def _objects(shape: Shape, path: str) -> int:
    """The number of answers in which the path is an object."""
    return shape.members.get(path, {}).get("object", 0)


def _types(types: dict[str, int] | None) -> tuple[str, ...]:
    return tuple(sorted(name for name in types if name != SEEN)) if types else ()
