"""The one pace of all processes: how many requests a second Bytemark allows, and who may make the next ones.

The whole rule stands in `exchange`. It does no I/O and knows no clock: the store (storage/pace_store.py) keeps the
state and gives the time, the gate (gate.py) keeps a process to its lease (docs/decisions/0015-one-pace.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

PERIOD_SECONDS = 0.5
"""Seconds between two exchanges of a process."""
SEARCH_PERIOD_SECONDS = 0.2
"""The same while the pace rises fast, so that a refusal is soon known to all."""
LEASE_SECONDS = 0.75
"""A lease reaches so far ahead. The rest beyond a period covers an exchange that comes late."""
HOLDER_SECONDS = 5.0
"""A process that has not been seen for so long is gone."""
MAX_HOLDERS = 256

LOWERING = 0.8
"""A refusal multiplies the pace by this, once for all requests that were under way together."""
CEILING_SHARE = 0.98
"""The ceiling is remembered a little below the rate at the refusal, which a burst that Bytemark allows has delayed."""
EARLY_CEILING_SHARE = 0.96
"""The same where the refusal came before the pace was back at its ceiling, which was too high then."""
SEARCH_CEILING_SHARE = 0.6
"""The same after the search, which overshoots by about a half before it is refused."""
SETTLING_SECONDS = 1.2
"""So long after a lowering further refusals lower nothing: others have yet to learn of it, and a burst is used up."""
RECOVERY_SECONDS = 25.0
"""Seconds of use from a lowering until the pace is back at its ceiling. Then it probes beyond."""
RECOVERY_POWER = 7
"""How fast the pace comes back: with 7, at 97 % of the ceiling after a quarter of the time."""
PROBING = 0.2
"""So much of the ceiling the pace probes beyond it in `RECOVERY_SECONDS`, by a cubic curve."""
SEARCH_GROWTH_PER_SECOND = 1.6
"""While no ceiling is known, the pace is multiplied by this in each second of use."""
MIN_RATE = 0.2
MIN_FIRST_RATE = 2.0
FIRST_PROBE_SECONDS = 0.5
PROBE_SHARE = 0.25
"""While everything is refused, a single request is made after this share of the time that it has lasted."""
MAX_PROBE_SECONDS = 30.0
QUOTA_SECONDS = 2.0
"""Refusals of everything that last longer are a quota that was used up: its rate is what was had in all this time."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A live process: when it was last seen, and the requests a second that it wants."""

    seen_at: float
    demand: float


@dataclass(frozen=True, slots=True)
class PaceState:
    """What all processes share. Times are seconds on the store's clock, rates are requests a second."""

    rate: float | None = None
    """None: Bytemark has not objected yet."""
    ceiling: float | None = None
    """The rate at the last refusal. None: still searched for."""
    generation: int = 0
    """Number of lowerings. A refusal counts only if its permit is of this generation."""
    age: float = 0.0
    """Seconds of use since the last lowering; an idle night is no use."""
    leased_until: float = 0.0
    """Every moment before it is leased, one permit each 1/rate seconds."""
    paused_until: float = 0.0
    good: int = 0
    """Good answers of this generation."""
    lowered_at: float = 0.0
    counted: int = 0
    """Good answers since `counted_since`: since requests were last let through."""
    counted_since: float = 0.0
    blocked_since: float | None = None
    """Since when everything is refused; None if something good comes back."""
    holders: Mapping[str, Holder] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        names = (name for name in self.__slots__ if name != "holders")
        return {name: getattr(self, name) for name in names} | {
            "holders": {name: [each.seen_at, each.demand] for name, each in self.holders.items()}
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PaceState:
        """The state that `to_json` wrote; the first one for an empty dict."""
        known = {name: each for name, each in value.items() if name in cls.__slots__ and name != "holders"}
        holders = {name: Holder(*each) for name, each in value.get("holders", {}).items()}
        return cls(**known, holders=holders)


@dataclass(frozen=True, slots=True)
class Report:
    """What a process has seen since its last exchange, and what it wants."""

    holder: str
    generation: int = 0
    """That of its lease."""
    good: int = 0
    """Good answers to permits of that generation."""
    refused: int = 0
    """Answers 429 to permits of that generation."""
    counted: int = 0
    """All good answers; before the first refusal, those of the last second alone."""
    counted_seconds: float = 0.0
    pause: float = 0.0
    """Seconds for which Bytemark asks all to wait (`Retry-After`)."""
    wanted: int = 0
    """Requests that it has made since, and those that wait."""
    seconds: float = PERIOD_SECONDS
    """Time since its last exchange."""
    is_bound: bool = False
    """Some of its requests have waited for a permit."""
    unused: int = 0
    """Permits that it still holds. They are given back where the generation is a new one, or the process leaves."""
    overdrawn: int = 0
    """Requests made without a permit, while the store was away."""
    leaves: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """What a process may do: `permits` requests, the first in `delay` seconds, each `step` after the one before."""

    generation: int
    rate: float | None
    """Of all processes; None: no limit is known."""
    permits: int = 0
    delay: float = 0.0
    step: float = 0.0
    pause: float = 0.0
    """Seconds for which nothing may be requested."""
    period: float = PERIOD_SECONDS
    """Seconds until the next exchange."""
    holders: int = 1
    """Processes that share the rate."""


def exchange(state: PaceState, report: Report, now: float, most: float | None = None) -> tuple[PaceState, Lease]:
    """Take a process's report, and give it a lease. `most` is the fixed limit, where there is one.

    While no limit is known and nothing was refused, the state stays as it is and need not be written.
    """
    before = state
    state = _sane(state, now)
    if report.pause:
        state = replace(state, paused_until=max(state.paused_until, now + report.pause))
    if report.refused or report.good or report.counted:
        state = _learn(state, report, now, most)
    rate = _rate(state, most)
    pause = max(0.0, state.paused_until - now)
    if rate is None:
        unchanged = before if not report.pause and report.generation == state.generation else state
        return unchanged, Lease(state.generation, None, pause=pause)
    kept = 0 if report.leaves or report.generation != state.generation else report.unused
    state = _settle(state, report, rate, kept, now)
    if report.leaves:
        return state, Lease(state.generation, rate, pause=pause, holders=len(state.holders))
    return _grant(state, report, rate, kept, now, pause)


def _rate(state: PaceState, most: float | None) -> float | None:
    if state.rate is None or most is None:
        return most if state.rate is None else state.rate
    return min(state.rate, most)


def _sane(state: PaceState, now: float) -> PaceState:
    """The state without processes that are gone, and without times that only a clock turned back explains."""
    holders = {name: each for name, each in state.holders.items() if abs(now - each.seen_at) <= HOLDER_SECONDS}
    if len(holders) == len(state.holders) and state.leased_until <= now + 2 * MAX_PROBE_SECONDS:
        return state
    if not holders:  # the time in which nobody asked says nothing of what was had
        state = replace(state, counted=0, counted_since=now)
    return replace(state, holders=holders, leased_until=min(state.leased_until, now + MAX_PROBE_SECONDS))


def _learn(state: PaceState, report: Report, now: float, most: float | None) -> PaceState:
    rate = _rate(state, most)
    if report.generation != state.generation:
        state = replace(state, counted=state.counted + report.counted)
        return _join_first(state, report, now) if report.generation == 0 and state.generation == 1 else state
    if rate is None:
        return state if not report.refused else _first_refusal(state, report, now)
    state = replace(
        state,
        good=state.good + report.good,
        counted=state.counted + report.counted,
    )
    if report.good and state.blocked_since is not None:
        return _resume(state, now)
    if report.refused:
        if report.pause >= QUOTA_SECONDS and state.blocked_since is None:
            return _quota(state, now + report.pause)
        return _lower(state, rate, now)
    if report.good and report.is_bound:
        return _grow(state, report.good, rate, most)
    return state


def _first_refusal(state: PaceState, report: Report, now: float) -> PaceState:
    """Out of unlimited: begin with the good answers a second that were really had."""
    if report.pause >= QUOTA_SECONDS:
        state = replace(state, counted=report.counted, counted_since=now - report.counted_seconds)
        rate = _quota_rate(state, now + report.pause)
        return replace(state, rate=rate, ceiling=rate, generation=state.generation + 1, age=RECOVERY_SECONDS / 4)
    return replace(
        state,
        rate=max(MIN_FIRST_RATE, _had(report)),
        ceiling=None,
        generation=state.generation + 1,
        lowered_at=max(now, state.paused_until),
        age=0.0,
        leased_until=now,
        good=0,
        counted=report.counted,
        counted_since=now - report.counted_seconds,
    )


def _quota_rate(state: PaceState, again_at: float) -> float:
    return max(MIN_RATE, state.counted / max(1.0, again_at - state.counted_since))


def _join_first(state: PaceState, report: Report, now: float) -> PaceState:
    """A process learns of the first refusal only now: what it had before belongs to the first rate."""
    if state.ceiling is not None:
        rate = _quota_rate(state, max(now, state.paused_until))
        return replace(state, rate=rate, ceiling=rate)
    return replace(state, rate=(state.rate or 0.0) + _had(report))


def _had(report: Report) -> float:
    return report.counted / max(0.5, report.counted_seconds)


def _lower(state: PaceState, rate: float, now: float) -> PaceState:
    """A refusal of this generation. Where nothing good came back in it, a lower pace helps no more: wait and try."""
    if state.good and now - state.lowered_at < SETTLING_SECONDS:
        return replace(state, paused_until=max(state.paused_until, now + SETTLING_SECONDS / 4))
    if state.good == 0:
        since = now if state.blocked_since is None else state.blocked_since
        wait = min(MAX_PROBE_SECONDS, max(FIRST_PROBE_SECONDS, PROBE_SHARE * (now - since)))
        return replace(state, blocked_since=since, generation=state.generation + 1, good=0, leased_until=now + wait)
    share = SEARCH_CEILING_SHARE if state.ceiling is None else CEILING_SHARE
    if share == CEILING_SHARE and state.age < RECOVERY_SECONDS:
        share = EARLY_CEILING_SHARE
    ceiling = rate * share
    return replace(
        state,
        rate=max(MIN_RATE, ceiling * LOWERING),
        ceiling=ceiling,
        generation=state.generation + 1,
        lowered_at=max(now, state.paused_until),
        age=0.0,
        good=0,
    )


def _resume(state: PaceState, now: float) -> PaceState:
    """Something good came back: go on at what was really had since requests were let through, the wait included."""
    opened = replace(state, generation=state.generation + 1, good=0, blocked_since=None, leased_until=now)
    if state.blocked_since is None or now - state.blocked_since < QUOTA_SECONDS:
        return opened
    return _quota(opened, now)


def _quota(state: PaceState, again_at: float) -> PaceState:
    """A quota was used up, and there is none until `again_at`: its rate is what was had in all this time."""
    had = _quota_rate(state, again_at)
    return replace(
        state,
        rate=had,
        ceiling=had,
        generation=state.generation + 1,
        age=RECOVERY_SECONDS / 4,
        good=0,
        counted=0,
        counted_since=again_at,
    )


def _grow(state: PaceState, good: int, rate: float, most: float | None) -> PaceState:
    used = good / rate
    if state.rate is None:
        return state
    if state.ceiling is None:
        grown = rate * SEARCH_GROWTH_PER_SECOND**used
        age = state.age
    else:
        age = state.age + used
        grown = state.ceiling * _curve(age / RECOVERY_SECONDS)
    return replace(state, age=age, rate=grown if most is None else min(grown, most))


def _curve(x: float) -> float:
    """The pace as a share of the ceiling: quickly back below it, a plateau around it, convex beyond it (as CUBIC)."""
    if x < 1:
        return 1 - (1 - LOWERING) * (1 - x) ** RECOVERY_POWER
    return 1 + PROBING * (x - 1) ** 3


def _settle(state: PaceState, report: Report, rate: float, kept: int, now: float) -> PaceState:
    """Permits that the process gives back or has overdrawn move the end of what is leased."""
    leased_until = state.leased_until
    if state.blocked_since is None:
        back = report.unused - kept - report.overdrawn
        leased_until = max(now, leased_until - back / rate)
    holders = dict(state.holders)
    if report.leaves:
        holders.pop(report.holder, None)
    elif report.holder in holders or len(holders) < MAX_HOLDERS:
        holders[report.holder] = Holder(now, 1.5 * report.wanted / max(0.1, report.seconds))
    return replace(state, leased_until=leased_until, holders=holders)


def _grant(
    state: PaceState, report: Report, rate: float, kept: int, now: float, pause: float
) -> tuple[PaceState, Lease]:
    holders = max(1, len(state.holders))
    begin = max(now + pause, state.leased_until)
    if state.blocked_since is not None:
        is_free = begin <= now + PERIOD_SECONDS and report.wanted > 0 and not kept
        if not is_free:
            return state, Lease(state.generation, rate, pause=pause, holders=holders)
        state = replace(state, leased_until=begin + MAX_PROBE_SECONDS)
        return state, Lease(state.generation, rate, 1, begin - now, 0.0, pause, holders=holders)
    period = SEARCH_PERIOD_SECONDS if state.rate is not None and state.ceiling is None else PERIOD_SECONDS
    ahead = LEASE_SECONDS - PERIOD_SECONDS + period
    share = fair_share(rate, {name: each.demand for name, each in state.holders.items()}, report.holder)
    room = int((now + ahead - begin) * rate) + 1 if begin < now + ahead else 0
    wanted = min(-int(-share * ahead // 1), report.wanted * 3 // 2 + 1) - kept if report.wanted else 0
    permits = max(0, min(room, wanted))
    state = replace(state, leased_until=begin + permits / rate)
    return state, Lease(state.generation, rate, permits, begin - now, 1 / rate, pause, period, holders)


def fair_share(rate: float, demands: Mapping[str, float], holder: str) -> float:
    """The holder's part of `rate`: nobody gets more than it wants, and what it leaves is shared by the others."""
    left, others = rate, len(demands)
    for name, demand in sorted(demands.items(), key=lambda each: each[1]):
        part = min(demand, left / others)
        if name == holder:
            return part
        left, others = left - part, others - 1
    return rate / (len(demands) + 1)
