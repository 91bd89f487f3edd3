"""Why an order is still pending (docs/contract.md#storing). Free of Django: the client and the matching use it too."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    NOT_FOUND = "not_found"
    NO_PASSES = "no_passes"
    MALFORMED = "malformed"
    TOKEN_REJECTED = "token_rejected"
    NO_TOKEN = "no_token"
    API_ERROR = "api_error"


REASON_LABELS = {
    Reason.NOT_FOUND: "not listed by Bytemark",
    Reason.NO_PASSES: "listed without passes",
    Reason.MALFORMED: "malformed or refused",
    Reason.TOKEN_REJECTED: "token rejected",
    Reason.NO_TOKEN: "no token",
    Reason.API_ERROR: "API error",
}
REASON_CHOICES = [(reason.value, label) for reason, label in REASON_LABELS.items()]

USER_FAILURES = frozenset({Reason.TOKEN_REJECTED, Reason.NO_TOKEN, Reason.API_ERROR})
"""Reasons that make the whole user count as failed; the others are one order's own."""

DEFERRED = frozenset({Reason.NOT_FOUND, Reason.NO_PASSES, Reason.TOKEN_REJECTED})
"""Reasons after which scheduled runs wait 1, 2, 4, ... days before the next try."""
