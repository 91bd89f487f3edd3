"""What the shared pace consists of: the state that all share, a process's report, and the lease that it gets.

The rule that makes the one from the other stands in pace.py.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

PERIOD_SECONDS = 0.3
"""Seconds between two exchanges of a process."""

_Rate = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
_Time = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class Holder(msgspec.Struct, frozen=True, array_like=True):
    """A live process: when it was last seen, the requests a second that it wants, and the good answers that it had."""

    seen_at: _Time
    demand: _Time
    had: _Time = 0.0
    """A second, at most, as it has told of late."""


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Permits that a process has given back: the first at `begin`, each 1/rate seconds after the one before."""

    begin: _Time
    permits: _Count


class PaceState(msgspec.Struct, frozen=True):
    """What all processes share. Times are seconds on the store's clock, rates are requests a second."""

    rate: _Rate | None = None
    """None: Bytemark has not objected yet."""
    ceiling: _Rate | None = None
    """The rate that Bytemark is thought to allow. None: still searched for."""
    generation: _Count = 0
    """Number of lowerings. A refusal counts only if its permit is of this generation."""
    opened_at: _Time = 0.0
    """When requests of this generation were first let through."""
    age: _Time = 0.0
    """Seconds of use since the last lowering; an idle night is no use."""
    good: _Count = 0
    """Good answers of this generation."""
    burst: _Time = 0.0
    """Requests that Bytemark lets through at once after a while without any, as far as the first refusal tells."""
    leased_until: _Time = 0.0
    """Every moment before it is leased, one permit each 1/rate seconds."""
    gaps: tuple[Gap, ...] = ()
    """But these were given back, and may be leased again."""
    paused_until: _Time = 0.0
    counted: _Count = 0
    """Good answers since `counted_since`: since the last quota began, as far as is known."""
    counted_since: _Time = 0.0
    blocked_since: _Time | None = None
    """Since when everything is refused; None if something good comes back."""
    trial_of: str = ""
    """The process that has the permit of the trial, while everything is refused."""
    holders: dict[str, Holder] = {}

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @classmethod
    def from_json(cls, value: Any) -> PaceState:
        """The state that `to_json` wrote. The first one for an empty dict, or for what is no state at all."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError:
            return cls()


class Report(msgspec.Struct, frozen=True):
    """What a process has seen since its last exchange, and what it wants."""

    holder: str
    generation: int = 0
    """That of its lease."""
    good: int = 0
    """Good answers to permits of that generation."""
    refused: int = 0
    """Answers 429 to permits of that generation."""
    unanswered: int = 0
    """Permits of that generation to which neither came: a connection was closed, or the time was over."""
    counted: int = 0
    """All good answers, of `counted_seconds`; where no limit is known, since the process began."""
    counted_seconds: float = 0.0
    had: float = 0.0
    """Good answers a second, of late."""
    pause: float = 0.0
    """Seconds for which Bytemark asks all to wait (`Retry-After`)."""
    wanted: int = 0
    """Requests that it has made since, and those that wait."""
    seconds: float = PERIOD_SECONDS
    """Time since its last exchange."""
    is_bound: bool = False
    """Some of its requests have waited for a permit."""
    unused: int = 0
    """Permits that it still holds."""
    overdrawn: int = 0
    """Requests made without a permit, while the store was away."""
    leaves: bool = False
    left: tuple[float, ...] = ()
    """When it leaves: the seconds until each permit that it gives back, earliest first."""


class Lease(msgspec.Struct, frozen=True):
    """What a process may do: `permits` requests, the first in `delay` seconds, each `step` after the one before."""

    generation: int
    rate: float | None
    """Of all processes; None: no limit is known."""
    permits: int = 0
    delay: float = 0.0
    step: float = 0.0
    again: tuple[float, ...] = ()
    """Further permits, which another process has given back: the seconds until each."""
    pause: float = 0.0
    """Seconds for which nothing may be requested."""
    period: float = PERIOD_SECONDS
    """Seconds until the next exchange."""
    holders: int = 1
    """Processes that share the rate."""
