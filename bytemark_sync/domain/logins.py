"""What became of a user's login, as a fetch tells it to whoever leads the run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from bytemark_sync.bytemark.account_errors import LoginCause


class LoginState(Enum):
    REFUSED = auto()
    """Also where the new token was rejected at once."""
    UNANSWERED = auto()
    NOT_SENT = auto()


@dataclass(frozen=True, slots=True)
class LoginEnd:
    """How a login ended that gave no token that works. `detail` is for a person, without a secret."""

    state: LoginState
    detail: str = ""
    cause: LoginCause = LoginCause.UNCLEAR
