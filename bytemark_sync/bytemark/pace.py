"""The one pace of all processes: how many requests a second Bytemark allows, and who may make the next ones.

The rule stands in `exchange`: what is learnt from a process's report (pace_learning.py), and which lease it gets. It
does no I/O and knows no clock: the store (storage/pace_store.py) keeps the state and gives the time, the gate (gate.py)
keeps a process to its lease (docs/decisions/0015-one-pace.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec.structs import replace

from bytemark_sync.bytemark.pace_learning import learn, limit
from bytemark_sync.bytemark.pace_state import PERIOD_SECONDS, Gap, Holder, Lease, PaceState, Report

SEARCH_PERIOD_SECONDS = 0.2
"""Seconds between two exchanges while the pace rises fast, so that a refusal is soon known to all."""
LEASE_SECONDS = 0.55
"""A lease reaches so far ahead. The rest beyond a period covers an exchange that comes late."""
HOLDER_SECONDS = 5.0
"""A process that has not been seen for so long is gone."""
MAX_HOLDERS = 256
MAX_GAPS = 16
GAP_STEPS = 1.5
"""Permits that are not further apart belong to one gap."""
TRIAL_SECONDS = 30.0
"""So long a trial, while everything is refused, may tell nothing before another one is made."""
MAX_PAUSE_SECONDS = 3600.0
"""A longer pause in the state is a clock that was turned back."""


def exchange(state: PaceState, report: Report, now: float, most: float | None = None) -> tuple[PaceState, Lease]:
    """Take a process's report, and give it a lease. `most` is the fixed limit, where there is one.

    While no limit is known and nothing was refused, the state stays as it is and need not be written.
    """
    before = state
    state = _sane(state, now)
    if report.pause:
        state = replace(state, paused_until=max(state.paused_until, now + report.pause))
    if report.refused or report.good or report.counted or report.unanswered:
        state = learn(state, report, now, most)
    rate = limit(state, most)
    pause = max(0.0, state.paused_until - now)
    if rate is None:
        unchanged = before if not report.pause and report.generation == state.generation else state
        return unchanged, Lease(state.generation, None, pause=pause)
    state = _settle(state, report, rate, now)
    if report.leaves:
        state = _give_back(state, report, rate, now)
        return state, Lease(state.generation, rate, pause=pause, holders=len(state.holders))
    return _grant(state, report, rate, now, pause)


def _sane(state: PaceState, now: float) -> PaceState:
    """The state without processes that are gone, and without times that only a clock turned back explains."""
    holders = {name: each for name, each in state.holders.items() if abs(now - each.seen_at) <= HOLDER_SECONDS}
    if state.trial_of and state.trial_of not in holders:  # nobody will tell what came of it
        state = replace(state, trial_of="", leased_until=now)
    if not holders:  # the time in which nobody asked says nothing of what was had
        state = replace(state, counted=0, counted_since=now)
    return replace(
        state,
        holders=holders,
        leased_until=min(state.leased_until, now + 2 * TRIAL_SECONDS),
        paused_until=min(state.paused_until, now + MAX_PAUSE_SECONDS),
    )


def _settle(state: PaceState, report: Report, rate: float, now: float) -> PaceState:
    """Who is there and what it wants. What a process has overdrawn is leased."""
    holders = dict(state.holders)
    if report.leaves:
        holders.pop(report.holder, None)
    elif report.holder in holders or len(holders) < MAX_HOLDERS:
        had = max(report.had, holders[report.holder].had if report.holder in holders else 0.0)
        holders[report.holder] = Holder(now, 1.5 * report.wanted / max(0.1, report.seconds), had)
    leased_until = max(now, state.leased_until) + report.overdrawn / rate
    return replace(state, leased_until=leased_until, holders=holders)


def _grant(state: PaceState, report: Report, rate: float, now: float, pause: float) -> tuple[PaceState, Lease]:
    holders = max(1, len(state.holders))
    kept = report.unused if report.generation == state.generation else 0
    begin = max(now + pause, state.leased_until)
    if state.blocked_since is not None:
        is_free = begin <= now + PERIOD_SECONDS and report.wanted > 0 and not kept
        if not is_free:
            return state, Lease(state.generation, rate, pause=pause, holders=holders)
        known = report.holder if report.holder in state.holders else ""
        state = replace(state, leased_until=begin + TRIAL_SECONDS, trial_of=known)
        return state, Lease(state.generation, rate, 1, begin - now, pause=pause, holders=holders)
    period = SEARCH_PERIOD_SECONDS if state.rate is not None and state.ceiling is None else PERIOD_SECONDS
    ahead = LEASE_SECONDS - PERIOD_SECONDS + period
    share = fair_share(rate, {name: each.demand for name, each in state.holders.items()}, report.holder)
    room = int((now + ahead - begin) * rate) + 1 if begin < now + ahead else 0
    wanted = min(-int(-share * ahead // 1), report.wanted * 3 // 2 + 1) - kept if report.wanted else 0
    state, again = _take_again(state, wanted, rate, now, pause)
    permits = max(0, min(room, wanted - len(again)))
    state = replace(state, leased_until=begin + permits / rate)
    return state, Lease(state.generation, rate, permits, begin - now, 1 / rate, again, pause, period, holders)


def _give_back(state: PaceState, report: Report, rate: float, now: float) -> PaceState:
    """Keep the permits of a process that leaves for others, each at its own time, so that they become no burst."""
    if report.generation != state.generation or state.blocked_since is not None:
        return state
    gaps = list(state.gaps)
    end = -math.inf
    for each in report.left:
        at = now + each
        if at - end < GAP_STEPS / rate:
            gaps[-1] = replace(gaps[-1], permits=gaps[-1].permits + 1)
        else:
            gaps.append(Gap(at, 1))
        end = at
    return replace(state, gaps=tuple(sorted(gaps, key=lambda gap: gap.begin)[:MAX_GAPS]))


def _take_again(
    state: PaceState, wanted: int, rate: float, now: float, pause: float
) -> tuple[PaceState, tuple[float, ...]]:
    """Up to `wanted` of the permits that were given back and are still due."""
    taken: list[float] = []
    gaps: list[Gap] = []
    for gap in state.gaps:
        past = max(0, math.ceil((now + pause - gap.begin) * rate))
        begin, permits = gap.begin + past / rate, gap.permits - past
        count = max(0, min(permits, wanted - len(taken)))
        taken += [begin - now + number / rate for number in range(count)]
        if permits > count:
            gaps.append(Gap(begin + count / rate, permits - count))
    return replace(state, gaps=tuple(gaps)), tuple(taken)


def fair_share(rate: float, demands: Mapping[str, float], holder: str) -> float:
    """The holder's part of `rate`: nobody gets more than it wants, and what it leaves is shared by the others."""
    left, others = rate, len(demands)
    for name, demand in sorted(demands.items(), key=lambda each: each[1]):
        part = min(demand, left / others)
        if name == holder:
            return part
        left, others = left - part, others - 1
    return rate / (len(demands) + 1)
