"""What a fetch asks of the engine's thread, which alone talks to the database, and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass

from bytemark_sync.bytemark.token import Credentials, Token


@dataclass(frozen=True, slots=True)
class NeedsToken:
    """Every known token of the user is rejected, or there is none."""

    user_id: int
    tried: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A login gave a token. The answer is `TryTokens`, once the token is kept."""

    user_id: int
    token: Token


Question = NeedsToken | LoggedIn


@dataclass(frozen=True, slots=True)
class TryTokens:
    """Tokens to try, in this order."""

    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class LogIn:
    """Log the user in, once."""

    credentials: Credentials


@dataclass(frozen=True, slots=True)
class NoLogin:
    """There is no other token, and no login. `words` say why."""

    words: str


@dataclass(frozen=True, slots=True)
class StopNow:
    """The run was asked to stop."""


Answer = TryTokens | LogIn | NoLogin | StopNow
