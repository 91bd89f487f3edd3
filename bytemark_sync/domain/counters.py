"""The results of a run: the counts of the summary, the JSON line and the run's row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime

from bytemark_sync.domain.matching import LeftOrder
from bytemark_sync.domain.reasons import Reason


def many(count: int, noun: str, plural: str = "") -> str:
    """`1 user`, `2,000 users`; `plural` where it takes more than an s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def done_of(done: int, total: int, noun: str) -> str:
    """`5 of 12 users`, or `5 users` where the total is not known (0)."""
    return f"{done:,} of {many(total, noun)}" if total else many(done, noun)


@dataclass(slots=True)
class Counts:
    """The columns of the same names in `bytemark_sync_run`."""

    users: int = 0
    users_failed: int = 0
    orders: int = 0
    orders_synced: int = 0
    orders_not_found: int = 0
    orders_without_passes: int = 0
    orders_invalid: int = 0
    items_created: int = 0
    api_requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    tokens_renewed: int = 0

    def add(self, other: Counts) -> None:
        for each in fields(Counts):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @classmethod
    def of(cls, row: object) -> Counts:
        """Those that a run's row has."""
        return cls(**{each.name: getattr(row, each.name) for each in fields(cls)})

    def as_dict(self) -> dict[str, int]:
        return asdict(self)

    def count_left(self, reasons: Iterable[Reason]) -> None:
        """Orders left for a reason of their own; those of a failed user are told by `users_failed`."""
        for reason in reasons:
            if name := reason.record.count:
                setattr(self, name, getattr(self, name) + 1)


@dataclass(slots=True)
class Found:
    """An audit's findings by kind, repaired ones included, and the number of repaired ones."""

    kinds: dict[str, int] = field(default_factory=dict)
    repaired: int = 0

    @property
    def total(self) -> int:
        return sum(self.kinds.values())


@dataclass(slots=True)
class Flushed:
    """What one flush has written: its counts, and the orders that it left, with their users, as they are on record."""

    counts: Counts = field(default_factory=Counts)
    left: list[tuple[int, LeftOrder]] = field(default_factory=list)

    def add(self, other: Flushed) -> None:
        self.counts.add(other.counts)
        self.left += other.left


@dataclass(slots=True)
class ReasonGroup:
    """Orders left for one reason, with an example that a person can look up."""

    orders: int = 0
    users: int = 0
    example_user: int = 0
    example_detail: str = ""


@dataclass(slots=True)
class Totals:
    """A whole run, or a batch of one."""

    counts: Counts = field(default_factory=Counts)
    orders_deferred: int = 0
    reasons: dict[Reason, ReasonGroup] = field(default_factory=dict)
    interrupted: bool = False
    """A signal or a person stopped the run before every user was done."""
    unreached: bool = False
    """The batch ran out of time, or its machine is not answered. The users that are left go to another batch."""
    held: bool = False
    """It had to wait for Bytemark, so that handing back without progress costs the batch no try."""
    is_cut_off: bool = False
    """Bytemark answers the run's other processes, but not this one."""
    unanswered_since: datetime | None = None
    """The work was given up, because Bytemark has not answered since then."""

    def add(self, flushed: Flushed) -> None:
        """Count it, and group the reasons of what was left; a user's orders are all in one flush."""
        self.counts.add(flushed.counts)
        seen = set()
        for user_id, left in flushed.left:
            group = self.reasons.setdefault(left.reason, ReasonGroup(example_user=user_id, example_detail=left.detail))
            group.orders += 1
            if (left.reason, user_id) not in seen:
                seen.add((left.reason, user_id))
                group.users += 1
