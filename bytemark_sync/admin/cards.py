"""A card of the dashboard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Card:
    title: str
    value: object
    note: object = ""
    href: str = ""
    warn: bool = False
