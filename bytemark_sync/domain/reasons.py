"""The reasons why an order is still pending (docs/contract.md#storing).

Each reason has one record, which holds everything that depends on it. CONTRIBUTING.md says how to add a reason.
No Django here: the client and the matching use this module too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from functools import cache
from typing import Literal, assert_never

RETRIED = "retried automatically at growing intervals (up to 30 days)"
SWITCH_ON = (
    "Switch renewal on: with BYTEMARK_ACCOUNT_API_URL and BYTEMARK_CLIENT_ID set, the next run logs in for the rider."
)
NOT_RENEWED = (
    "A login gave no token that works, or none could be made: the order's detail says why, and the rider's page has "
    "the last login. A resync tries one at once. If renewal was switched on only after the last try, wait for the next "
    "run: it logs in."
)


class AuditMeaning(Enum):
    """What an audit can report about a stored order whose passes could not be read from Bytemark."""

    LISTED_EMPTY = auto()  # Bytemark lists the order without passes: each stored pass is reported as unknown to it
    NOT_LISTED = auto()  # the order itself is reported as not listed
    NOT_COMPARED = auto()  # there is nothing to compare with: only passes that are stored twice are reported


@dataclass(frozen=True, slots=True)
class ReasonRecord:
    """What a reason is called, and what follows from it."""

    label: str
    """Shown in the summary and in Slack."""
    badge: str
    """Shown in the admin; short."""
    colour: Literal["warning", "danger"]
    meaning: str
    todo: str
    """What a person can do about it."""
    audit: AuditMeaning
    todo_renewing: str = ""
    """The same where tokens are renewed by a login, if that changes it."""
    count: Literal["orders_not_found", "orders_without_passes", "orders_invalid"] | None = None
    """The run's counter that counts such orders. None: they are counted by reason only."""
    is_deferred: bool = False
    """Scheduled runs wait 1, 2, 4, ... days before they try the order again."""
    fails_user: bool = False
    """The user counts as failed. If False, only the order does."""
    needs_token: bool = False
    """Only a different token for the user helps. A changed token also ends a deferral."""
    shows_detail: bool = False
    """There are several possible causes, and the order's detail names the one. The log and Slack show an example."""

    def todo_where(self, *, renews: bool) -> str:
        """What a person can do. `renews`: tokens are renewed by a login."""
        return self.todo_renewing if renews and self.todo_renewing else self.todo


class Reason(StrEnum):
    """The values are stored, and fixed by the contract."""

    NOT_FOUND = "not_found"
    NO_PASSES = "no_passes"
    MALFORMED = "malformed"
    TOKEN_REJECTED = "token_rejected"
    NO_TOKEN = "no_token"
    API_ERROR = "api_error"

    @property
    def record(self) -> ReasonRecord:
        return _record(self)


@cache
def _record(reason: Reason) -> ReasonRecord:
    """Made when asked for, not on import: mypy's Django plugin starts Django first, and mypy could not name a field or
    a reason that is missing here if that failed."""
    match reason:
        case Reason.NOT_FOUND:
            return ReasonRecord(
                label="not listed by Bytemark",
                badge="not found",
                colour="warning",
                meaning="Bytemark answered, but this order is not in its list of the rider's orders.",
                todo="Look the order up in Bytemark's console: it may belong to another account, or it was never "
                f"placed. Until then it is {RETRIED}.",
                audit=AuditMeaning.NOT_LISTED,
                count="orders_not_found",
                is_deferred=True,
            )
        case Reason.NO_PASSES:
            return ReasonRecord(
                label="listed without passes",
                badge="no passes",
                colour="warning",
                meaning="Bytemark lists the order, but without passes.",
                todo=f"Wait: Bytemark may still be issuing them. The order is {RETRIED}. "
                "If it stays like this for days, ask Bytemark.",
                audit=AuditMeaning.LISTED_EMPTY,
                count="orders_without_passes",
                is_deferred=True,
            )
        case Reason.MALFORMED:
            return ReasonRecord(
                label="malformed or refused",
                badge="malformed",
                colour="danger",
                meaning="Bytemark lists the order in a form that cannot be read, or the portal's database refuses it.",
                todo="Show the detail to a developer: it names the field of Bytemark's answer, or the "
                "database's error.",
                audit=AuditMeaning.NOT_COMPARED,
                count="orders_invalid",
                shows_detail=True,
            )
        case Reason.TOKEN_REJECTED:
            return ReasonRecord(
                label="token rejected",
                badge="token rejected",
                colour="danger",
                meaning="Bytemark rejected every token of this rider.",
                todo="Riders never sign in to Bytemark: the portal logs in for them, and only where "
                f"bytemark_tokens.token is empty. {SWITCH_ON} Or have whoever runs the portal empty that column for "
                "this rider: the portal then logs in anew, and the new login is picked up automatically by the next "
                "run.",
                todo_renewing=NOT_RENEWED,
                audit=AuditMeaning.NOT_COMPARED,
                is_deferred=True,
                fails_user=True,
                needs_token=True,
            )
        case Reason.NO_TOKEN:
            return ReasonRecord(
                label="no token",
                badge="no token",
                colour="danger",
                meaning="The portal holds no token for this rider.",
                todo="The portal logs in for riders whose bytemark_tokens.token is empty, and the new login is "
                "picked up automatically by the next run. If the token is still missing after a day, tell whoever runs "
                f"the portal. {SWITCH_ON}",
                todo_renewing=NOT_RENEWED,
                audit=AuditMeaning.NOT_COMPARED,
                fails_user=True,
                needs_token=True,
            )
        case Reason.API_ERROR:
            return ReasonRecord(
                label="API error",
                badge="API error",
                colour="danger",
                meaning="Bytemark could not be reached, or answered with errors, until the attempts were used up.",
                todo="If many riders have it, Bytemark is in trouble: wait. The next run tries again. For one rider "
                "alone, resync.",
                audit=AuditMeaning.NOT_COMPARED,
                fails_user=True,
            )
        case unknown:
            assert_never(unknown)


@cache
def user_failures() -> frozenset[Reason]:
    return frozenset(reason for reason in Reason if reason.record.fails_user)


@cache
def deferred_reasons() -> frozenset[Reason]:
    return frozenset(reason for reason in Reason if reason.record.is_deferred)


@cache
def token_reasons() -> tuple[Reason, ...]:
    return tuple(reason for reason in Reason if reason.record.needs_token)


def reason_choices() -> list[tuple[str, str]]:
    """Choices for columns that hold a reason. Migrations refer to this function, so a new reason needs no migration."""
    return [(reason.value, reason.record.label) for reason in Reason]
