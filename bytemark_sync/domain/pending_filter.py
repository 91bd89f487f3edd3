"""Which pending orders a person has filtered for: one thing for the list, for a resync and while a run is planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from bytemark_sync.domain.reasons import Reason

NEVER_TRIED = "never_tried"
"""In place of a reason: an order that no run has left yet."""
TIMES = ("first_before", "first_after", "next_after")
KNOWN = frozenset({"reason", "user", *TIMES})


@dataclass(frozen=True, slots=True)
class PendingFilter:
    """All that is set must hold; an empty filter names every pending order. ValueError for an unknown reason.

    `reasons` are `Reason` values or `NEVER_TRIED`, any of them. `first_before` and `first_after` bound
    `OrderOutcome.first_at`. `next_after`: a user's pending orders are all deferred beyond it.
    """

    reasons: tuple[str, ...] = ()
    user: int | None = None
    first_before: datetime | None = None
    first_after: datetime | None = None
    next_after: datetime | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.reasons) - {*Reason, NEVER_TRIED}):
            raise ValueError(f"unknown reason: {', '.join(unknown)}")

    def __bool__(self) -> bool:
        return bool(self.to_json())

    def without_times(self) -> PendingFilter:
        """The same for any times: ages are counted to the minute, so a second click names others."""
        any_time: dict[str, Any] = dict.fromkeys((name for name in TIMES if getattr(self, name)), datetime.min)
        return replace(self, **any_time)

    def to_json(self) -> dict[str, Any]:
        """Only what is set, for `SyncRun.scope["filters"]`; a single reason is no list there."""
        values: dict[str, Any] = {}
        if self.reasons:
            values["reason"] = self.reasons[0] if len(self.reasons) == 1 else list(self.reasons)
        if self.user is not None:
            values["user"] = self.user
        return values | {name: at.isoformat() for name in TIMES if (at := getattr(self, name))}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """ValueError where a filter is not known, or its value cannot be read."""
        if unknown := sorted(set(values) - KNOWN):
            raise ValueError(f"unknown filter: {', '.join(unknown)}")
        reasons = values.get("reason", ())
        user = values.get("user")
        return cls(
            reasons=(reasons,) if isinstance(reasons, str) else tuple(reasons),
            user=None if user is None else int(user),
            **{name: _time(name, values[name]) for name in TIMES if name in values},
        )


NO_FILTER = PendingFilter()


def _time(name: str, value: object) -> datetime:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{name} is no ISO time") from None
