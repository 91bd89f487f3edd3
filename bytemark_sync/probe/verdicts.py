"""A check: what is assumed, what was seen, whether it holds, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    HOLDS = "holds"
    DIFFERS = "differs"
    NOT_SEEN = "not seen"


@dataclass(frozen=True, slots=True)
class Check:
    """`seen` and `advice` are for a person: numbers and our own words, nothing that Bytemark sent as text."""

    name: str
    verdict: Verdict
    seen: str
    advice: str = ""

    @property
    def title(self) -> str:
        return self.name.replace("_", " ")


def holds(name: str, seen: str, advice: str = "") -> Check:
    return Check(name, Verdict.HOLDS, seen, advice)


def differs(name: str, seen: str, advice: str) -> Check:
    return Check(name, Verdict.DIFFERS, seen, advice)


def not_seen(name: str, seen: str, advice: str = "") -> Check:
    return Check(name, Verdict.NOT_SEEN, seen, advice)
