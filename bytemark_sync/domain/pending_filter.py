"""The filter for pending orders. The admin's list, the resync and the planning of a run all use this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from bytemark_sync.domain.reasons import Reason

NEVER_TRIED = "never_tried"
"""Used in place of a reason, for orders that no run has tried yet."""
TIMES = ("first_before", "first_after", "next_after")
KNOWN = frozenset({"reason", "user", *TIMES})
REASONS = frozenset({*Reason, NEVER_TRIED})


@dataclass(frozen=True, slots=True)
class PendingFilter:
    """An order must match everything that is set. An empty filter matches every pending order.

    `reasons` are `Reason` values or `NEVER_TRIED`; an order matches any of them. `first_before` and `first_after` limit
    `OrderOutcome.first_at`. `next_after` matches if all pending orders of the user are deferred beyond that time.
    Raises ValueError for an unknown reason.
    """

    reasons: tuple[str, ...] = ()
    user: int | None = None
    first_before: datetime | None = None
    first_after: datetime | None = None
    next_after: datetime | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.reasons) - REASONS):
            raise ValueError(f"unknown reason: {', '.join(unknown)}")

    def __bool__(self) -> bool:
        return bool(self.to_json())

    def without_times(self) -> PendingFilter:
        """The same filter, with all times set to one value. So two clicks at different minutes give equal filters."""
        any_time: dict[str, Any] = dict.fromkeys((name for name in TIMES if getattr(self, name)), datetime.min)
        return replace(self, **any_time)

    def to_json(self) -> dict[str, Any]:
        """What is set, for `SyncRun.scope["filters"]`. A single reason is stored as a string, several as a list."""
        values: dict[str, Any] = {}
        if self.reasons:
            values["reason"] = self.reasons[0] if len(self.reasons) == 1 else list(self.reasons)
        if self.user is not None:
            values["user"] = self.user
        return values | {name: at.isoformat() for name in TIMES if (at := getattr(self, name))}

    @staticmethod
    def knows(values: Mapping[str, Any]) -> bool:
        """Whether this version has every filter and reason that is named."""
        return KNOWN.issuperset(values) and REASONS.issuperset(_reasons(values))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises ValueError for an unknown filter or an unreadable value."""
        if unknown := sorted(set(values) - KNOWN):
            raise ValueError(f"unknown filter: {', '.join(unknown)}")
        user = values.get("user")
        return cls(
            reasons=_reasons(values),
            user=None if user is None else int(user),
            **{name: _time(name, values[name]) for name in TIMES if name in values},
        )


NO_FILTER = PendingFilter()


def _time(name: str, value: object) -> datetime:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{name} is no ISO time") from None


def _reasons(values: Mapping[str, Any]) -> tuple[str, ...]:
    reasons = values.get("reason", ())
    return (reasons,) if isinstance(reasons, str) else tuple(reasons)
