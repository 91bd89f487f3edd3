"""A rider's token, wrapped so that no log, traceback or debugger line shows it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Token:
    """`reveal()` is called in three places only: for the `Authorization` header, the stored row and a keyed hash."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Token(hidden)"

    __str__ = __repr__
