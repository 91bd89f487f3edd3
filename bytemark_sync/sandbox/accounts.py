"""The riders' accounts: who may sign in, and which tokens open which rider's account at the moment."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec

from bytemark_sync.sandbox.records import Records, Rider
from bytemark_sync.sandbox.request_counts import fingerprint

LIFETIME_FORMS = "requests=N and seconds=N, of=world|login, users=1|2; several separated by ;"
OF: Final = ("", "world", "login")


class Lifetime(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """How long a token opens its account: for so many `requests` that are let in, or `seconds`; whichever ends first.

    Seconds count from the login, and for the tokens of the world from its coming. `of` names which tokens: those of
    the `world`, those that a `login` gave, or all.
    """

    requests: int | None = None
    seconds: float | None = None
    of: str = ""
    users: list[int] | None = None

    def __post_init__(self) -> None:
        if self.of not in OF:
            raise ValueError(f"unknown of={self.of}; use {LIFETIME_FORMS}")
        if self.requests is None and self.seconds is None:
            raise ValueError(f"a lifetime has requests or seconds: {LIFETIME_FORMS}")

    def is_of(self, token: _Token) -> bool:
        of_it = not self.of or (self.of == "login") == token.by_login
        return of_it and (self.users is None or token.rider.user_id in self.users)


def parse_lifetimes(text: str) -> list[Lifetime]:
    """The short form of `LIFETIME_FORMS`, or JSON. Raises `ValueError` that says what is wrong."""
    text = text.strip()
    if text.startswith("["):
        return msgspec.json.decode(text, type=list[Lifetime])
    return [_short(part) for part in text.split(";") if part.strip()]


def _short(part: str) -> Lifetime:
    fields: dict[str, Any] = {}
    for pair in part.split(","):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is not name=value; use {LIFETIME_FORMS}")
        fields[name.strip()] = value.split("|") if name.strip() == "users" else value.strip()
    return msgspec.convert(fields, type=Lifetime, strict=False)


class Credentials(msgspec.Struct):
    """The body of a login."""

    email: str
    password: str
    client_id: str = ""
    client_secret: str = ""


class TokenState(msgspec.Struct):
    """`works`: whether the next request with it is let in. `by_login`: a login gave it; else the world has it."""

    user_id: int
    works: bool
    by_login: bool
    requests: int


@dataclass(slots=True)
class _Token:
    rider: Rider
    since: float
    by_login: bool = False
    requests: int = 0
    ended: bool = False


class Accounts:
    """Times are seconds on any clock that only goes forward."""

    def __init__(
        self,
        world: Records,
        now: float,
        *,
        client_ids: tuple[str, ...] = (),
        client_secret: str = "",
        keeps_older_tokens: bool = False,
    ) -> None:
        """Without `client_ids` any client is accepted that names itself; without `client_secret` any or none is."""
        self._client_ids = client_ids
        self._client_secret = client_secret
        self._keeps_older = keeps_older_tokens
        self.lifetimes: list[Lifetime] = []
        self._tokens: dict[str, _Token] = {}
        self.replace(world, now)

    def replace(self, world: Records, now: float, *, keep_tokens: bool = False) -> None:
        """Another world. `keep_tokens`: each rider's tokens stay as they are, those from logins too."""
        before = self._tokens if keep_tokens else {}
        riders = {rider.user_id: rider for rider in world.riders}
        self._tokens = {token: _Token(rider, now) for rider in world.riders for token in rider.tokens}
        for token, known in before.items():
            if (rider := riders.get(known.rider.user_id)) is not None:
                known.rider = rider
                self._tokens[token] = known
        self._by_email = {rider.email: rider for rider in world.riders if rider.email}
        if not keep_tokens:
            self._logins: dict[int, int] = {}

    def rider(self, token: str) -> Rider | None:
        """Whose token it is, or was."""
        known = self._tokens.get(token)
        return known.rider if known else None

    def lets_in(self, token: str, now: float) -> bool:
        """Whether the token opens its account; counts the request. One that was refused is so for good."""
        known = self._tokens.get(token)
        if known is None or not self._works(known, now):
            if known is not None:
                known.ended = True
            return False
        known.requests += 1
        return True

    def _works(self, token: _Token, now: float) -> bool:
        life = next((one for one in self.lifetimes if one.is_of(token)), None)
        if token.ended or life is None:
            return not token.ended
        lasts = life.seconds is None or now < token.since + life.seconds
        return lasts and (life.requests is None or token.requests < life.requests)

    def by_email(self, email: str) -> Rider | None:
        return self._by_email.get(email)

    def refuses(self, credentials: Credentials) -> str:
        """Why a login fails, a key of `wire.LOGIN_REFUSALS`; empty where it does not."""
        known_client = credentials.client_id in self._client_ids if self._client_ids else bool(credentials.client_id)
        if not known_client or (self._client_secret and credentials.client_secret != self._client_secret):
            return "client"
        rider = self.by_email(credentials.email)
        if rider is None:
            return "unknown_account"
        return "" if credentials.password == rider.password else "wrong_password"

    def log_in(self, rider: Rider, now: float) -> str:
        """A new token. The rider's older ones end with it, unless they are kept."""
        if not self._keeps_older:
            self.end_tokens([rider.user_id])
        number = self._logins[rider.user_id] = self._logins.get(rider.user_id, 0) + 1
        token = login_token(rider.user_id, number)
        self._tokens[token] = _Token(rider, now, by_login=True)
        return token

    def end_tokens(self, user_ids: list[int] | None) -> None:
        """The tokens of these riders, or of all, open nothing any more."""
        for token in self._tokens.values():
            token.ended = token.ended or user_ids is None or token.rider.user_id in user_ids

    def states(self, now: float) -> dict[str, TokenState]:
        """Every token that there is or was, by its fingerprint."""
        return {
            fingerprint(token): TokenState(known.rider.user_id, self._works(known, now), known.by_login, known.requests)
            for token, known in self._tokens.items()
        }


def login_token(user_id: int, number: int) -> str:
    """What the rider's login of this number, from 1, gives. Tests and the demo know it beforehand."""
    return f"sandbox-{sha256(f'login {user_id} {number}'.encode()).hexdigest()[:32]}"
