"""A rider's secrets and the client's, wrapped so that no log, traceback or debugger line shows them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secret:
    """An e-mail address, a password, the client's secret. It is revealed where it is sent, and for a keyed hash."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hidden)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True, repr=False)
class Token(Secret):
    """A rider's token. `reveal()` is also called for the stored rows."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a rider's account is logged in to with."""

    email: Secret
    password: Secret
