"""The scope of a run: everything that is due, or only some users and orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from bytemark_sync.domain.pending_filter import NO_FILTER, PendingFilter


@dataclass(frozen=True, slots=True)
class Scope:
    """`users` and `orders` narrow each other. `filters` are the admin's list filters; planning evaluates them.

    Deferral does not apply to users, orders and filters that somebody names: they are to be tried now.
    """

    users: tuple[int, ...] = ()
    orders: tuple[str, ...] = ()
    filters: PendingFilter = NO_FILTER
    limit: int | None = None
    include_deferred: bool = False

    @property
    def tries_deferred(self) -> bool:
        return bool(self.include_deferred or self.users or self.orders or self.filters)

    @property
    def is_everything(self) -> bool:
        """Whether a sync takes everything that is due, so that its result is that of the whole job."""
        return not (self.users or self.orders or self.filters or self.limit)

    def to_json(self) -> dict[str, Any]:
        """Only what is set, for `SyncRun.scope`."""
        values = {
            "users": list(self.users),
            "orders": list(self.orders),
            "filters": self.filters.to_json(),
            "limit": self.limit,
            "include_deferred": self.include_deferred,
        }
        return {name: value for name, value in values.items() if value not in ([], {}, None, False)}

    @classmethod
    def knows(cls, values: Mapping[str, Any]) -> bool:
        """Whether this version has everything that the scope names. Otherwise it would work more than was asked for."""
        return _has(cls, values) and PendingFilter.knows(values.get("filters", {}))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Scope:
        return cls(
            users=tuple(values.get("users", ())),
            orders=tuple(values.get("orders", ())),
            filters=PendingFilter.from_json(values.get("filters", {})),
            limit=values.get("limit"),
            include_deferred=bool(values.get("include_deferred", False)),
        )


@dataclass(frozen=True, slots=True)
class AuditScope:
    """What an audit looks at: stored orders of these users, or these orders (None: all), stored since `since`.

    `repair` is part of it, so that a queued audit repairs if that was asked for.
    """

    users: tuple[int, ...] = ()
    order_ids: tuple[int, ...] | None = None
    since: datetime | None = None
    repair: bool = False

    @property
    def tries_deferred(self) -> bool:
        """Users whom somebody names are logged in at once, although their last login was refused."""
        return bool(self.users)

    def to_json(self) -> dict[str, Any]:
        """Only what is set, for `SyncRun.scope`."""
        values: dict[str, Any] = {}
        if self.users:
            values["users"] = list(self.users)
        if self.order_ids is not None:
            values["order_ids"] = list(self.order_ids)
        if self.since is not None:
            values["since"] = self.since.isoformat()
        if self.repair:
            values["repair"] = True
        return values

    @classmethod
    def knows(cls, values: Mapping[str, Any]) -> bool:
        """As `Scope.knows`."""
        return _has(cls, values)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AuditScope:
        ids, since = values.get("order_ids"), values.get("since")
        return cls(
            users=tuple(values.get("users", ())),
            order_ids=None if ids is None else tuple(ids),
            since=None if since is None else datetime.fromisoformat(since),
            repair=bool(values.get("repair", False)),
        )


def _has(scope: type[Scope | AuditScope], values: Mapping[str, Any]) -> bool:
    return {field.name for field in fields(scope)}.issuperset(values)
