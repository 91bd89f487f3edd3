"""What the shared pace learns from a process's report: from refusals where the limit is, from good answers to rise.

Each number here was chosen by simulation (docs/decisions/0015-one-pace.md#measurement).
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from bytemark_sync.bytemark.pace_state import PaceState, Report

SEARCH_GROWTH_PER_SECOND = 1.5
"""While no ceiling is known, the pace is multiplied by this in each second of use."""
SEARCH_LAG_SECONDS = 0.3
"""The request that is refused was leased so long before the refusal is known, at a lower pace."""
SEARCH_LOWERING = 0.6
"""The search begins again so much lower where it was refused soon."""
EMPTY_SHARE = 0.7
"""Where a single request has found out that all are let through again, the search goes on at this share of the pace."""
MIN_EMPTY_SHARE = 0.45
"""But the first time at this share of what all had, for the first to be refused may not have had much yet."""
MIN_FOUND_SHARE = 0.3
BURST_SECONDS = 0.2
"""The burst is taken to be what was had in so long before the first refusal."""

LOWERING = 0.8
"""A refusal lowers the pace to this share of the ceiling, once for all requests that were under way together."""
MIN_EARLY_SHARE, MAX_EARLY_SHARE = 0.8, 0.96
"""Of the rate at a refusal, where the pace was not back at its ceiling, which was too high then."""
PROBED_SHARE = 0.92
"""Of the rate at a refusal, where the pace was beyond its ceiling."""
SETTLING_SECONDS = 1.2
"""So long after a lowering further refusals lower nothing: others have yet to learn of it, and a burst is used up."""
PAUSED_SETTLING_SECONDS = 0.4
"""With a pause all have learnt of it when it ends."""
HOLD_SECONDS, HOLD_REQUESTS = 0.1, 1.5

RECOVERY_SECONDS = 28.0
"""Seconds of use from a lowering until the pace is back at its ceiling. Then it probes beyond."""
RECOVERY_POWER = 12
"""How fast the pace comes back: with 12, at 99 % of the ceiling after a quarter of the time."""
PROBING = 0.2
"""So much of the ceiling the pace probes beyond it in `RECOVERY_SECONDS`, by a cubic curve."""

FOUND_AGE = 1.2
"""A ceiling that was just found is uncertain: so much of `RECOVERY_SECONDS` is skipped, unless a pause is the price."""

MIN_RATE = 0.2
MIN_FIRST_RATE = 2.0
MIN_TRIAL_SECONDS, MAX_TRIAL_SECONDS = 0.25, 30.0
TRIAL_SHARE = 0.25
"""While everything is refused, a single request is made after this share of the time that it has lasted."""
QUOTA_SECONDS = 2.0
"""Refusals of everything that last longer are a quota that was used up: its rate is what was had in all this time."""


def limit(state: PaceState, most: float | None) -> float | None:
    if state.rate is None or most is None:
        return most if state.rate is None else state.rate
    return min(state.rate, most)


def learn(state: PaceState, report: Report, now: float, most: float | None) -> PaceState:
    """The state after a report that has something to tell."""
    if state.rate is None and report.refused and report.generation == state.generation:
        return _first_refusal(state, report, now)
    state = replace(state, counted=state.counted + report.counted)
    if state.rate is not None and _is_first(state) and now <= state.opened_at:
        state = _begin_with(state, _had(state, report))  # what was asked for before the refusal is still coming in
    if report.generation != state.generation:
        if report.pause:
            state = replace(state, opened_at=max(state.opened_at, state.paused_until))
        return _join_first(state, report, now) if report.generation == 0 else state
    rate = limit(state, most)
    if rate is None:
        return state
    state = replace(state, good=state.good + report.good)
    if report.good and state.blocked_since is not None:
        return _resume(state, report, now)
    if report.refused:
        return _refused(state, report, rate, now)
    if report.unanswered and state.blocked_since is not None:
        return _block(state, state.blocked_since, now)
    if report.good and report.is_bound and state.rate is not None:
        return _grow(state, report.good, rate, most)
    return state


def _first_refusal(state: PaceState, report: Report, now: float) -> PaceState:
    """Out of unlimited: begin with the good answers that were really had."""
    since = min(state.counted_since, now - report.counted_seconds)
    state = replace(state, counted=state.counted + report.counted, counted_since=since)
    if report.pause >= QUOTA_SECONDS:
        return _quota(state, state.paused_until)
    opened = _open(state, now)
    if not report.pause:
        opened = _block(opened, now, now)
    return _begin_with(opened, report.had)


def _begin_with(state: PaceState, had: float) -> PaceState:
    return replace(state, rate=max(MIN_FIRST_RATE, had), burst=had * BURST_SECONDS)


def _is_first(state: PaceState) -> bool:
    """Nothing was learnt since the first refusal."""
    return state.generation == 1 and state.ceiling is None


def _had(state: PaceState, report: Report) -> float:
    """Good answers a second of all processes, this report included."""
    told = {name: each.had for name, each in state.holders.items()}
    return sum((told | {report.holder: max(report.had, told.get(report.holder, 0.0))}).values())


def _join_first(state: PaceState, report: Report, now: float) -> PaceState:
    """A process learns of the first refusal only now: what it had before belongs to the first rate."""
    if state.rate is None or not report.counted or (_is_first(state) and now <= state.opened_at):
        return state
    if state.ceiling is None:
        return replace(state, rate=state.rate + report.had, burst=state.burst + report.had * BURST_SECONDS)
    rate = state.rate + report.counted / max(1.0, report.counted_seconds + max(0.0, state.paused_until - now))
    return replace(state, rate=rate, ceiling=rate)


def _open(state: PaceState, now: float) -> PaceState:
    """A new generation, whose requests are let through from now on, or after the pause."""
    return replace(
        state,
        generation=state.generation + 1,
        opened_at=max(now, state.paused_until),
        leased_until=now,
        gaps=(),
        blocked_since=None,
        trial_of="",
        age=0.0,
        good=0,
    )


def _refused(state: PaceState, report: Report, rate: float, now: float) -> PaceState:
    """A refusal of this generation. Where nothing good came back in it, a lower pace helps no more: wait and try."""
    if report.pause >= QUOTA_SECONDS:
        return _quota(state, now + report.pause)
    if state.good == 0:
        since = now if state.blocked_since is None else state.blocked_since
        return _block(replace(state, generation=state.generation + 1, gaps=()), since, now)
    seconds = now - state.opened_at
    if seconds >= (PAUSED_SETTLING_SECONDS if report.pause else SETTLING_SECONDS):
        return _lower(state, report, _ceiling(state, rate, seconds), now)
    if state.ceiling is None and seconds >= SETTLING_SECONDS / 3:
        lower = max(MIN_RATE, rate * SEARCH_LOWERING)
        return replace(_open(state, now), rate=lower, leased_until=now + _hold(lower))
    return replace(state, paused_until=max(state.paused_until, now + SETTLING_SECONDS / 4))


def _block(state: PaceState, since: float, now: float) -> PaceState:
    """Everything is refused: nobody asks until the next trial."""
    wait = min(MAX_TRIAL_SECONDS, max(MIN_TRIAL_SECONDS, TRIAL_SHARE * (now - since)))
    return replace(state, blocked_since=since, leased_until=now + wait, trial_of="")


def _lower(state: PaceState, report: Report, ceiling: float, now: float) -> PaceState:
    ceiling = max(MIN_RATE, ceiling)
    opened = replace(_open(state, now), ceiling=ceiling)
    if report.pause:  # in which Bytemark has saved up a burst
        return replace(opened, rate=ceiling, age=RECOVERY_SECONDS / 4)
    if state.ceiling is None:
        opened = replace(opened, age=FOUND_AGE * RECOVERY_SECONDS)
    rate = max(MIN_RATE, ceiling * LOWERING)
    return replace(opened, rate=rate, leased_until=now + _hold(rate))


def _hold(rate: float) -> float:
    """Seconds without a request after a lowering, so that the next ones are not refused at once."""
    return HOLD_SECONDS + HOLD_REQUESTS / rate


def _ceiling(state: PaceState, rate: float, seconds: float) -> float:
    """What Bytemark is thought to allow, after a refusal at `rate`: less, since a burst has delayed the refusal."""
    if state.ceiling is None:
        return max(state.good / seconds, _before_overshoot(rate, state.burst))
    if state.age < RECOVERY_SECONDS:
        return max(rate * MIN_EARLY_SHARE, min(rate * MAX_EARLY_SHARE, rate - state.burst / seconds))
    return max(state.ceiling, rate * PROBED_SHARE)


def _before_overshoot(rate: float, burst: float) -> float:
    """The rate at which the burst began to be used up, where the pace has grown to `rate` since.

    It grows as exp(g*t), so with x = allowed / rate the burst is rate / g * (1 - x + x * log(x)), solved by a series.
    """
    used = math.log(SEARCH_GROWTH_PER_SECOND) * burst / rate
    overshot = math.sqrt(2 * used) - used / 3
    lagged: float = rate * SEARCH_GROWTH_PER_SECOND**-SEARCH_LAG_SECONDS
    return lagged * max(MIN_FOUND_SHARE, 1 - overshot)


def _resume(state: PaceState, report: Report, now: float) -> PaceState:
    """Something good came back: go on at what was really had since requests were let through, the wait included."""
    if state.blocked_since is not None and now - state.blocked_since >= QUOTA_SECONDS:
        return _quota(state, now)
    opened = replace(_open(state, now), age=state.age)
    if state.ceiling is not None or state.rate is None:
        return opened
    least = MIN_EMPTY_SHARE * _had(state, report) if _is_first(state) else MIN_RATE
    return replace(opened, rate=max(least, state.rate * EMPTY_SHARE))


def _quota(state: PaceState, again_at: float) -> PaceState:
    """A quota was used up, and there is none until `again_at`: its rate is what was had in all this time."""
    had = max(MIN_RATE, state.counted / max(1.0, again_at - state.counted_since))
    return replace(
        _open(state, again_at),
        rate=had,
        ceiling=had,
        age=RECOVERY_SECONDS / 4,
        counted=0,
        counted_since=again_at,
    )


def _grow(state: PaceState, good: int, rate: float, most: float | None) -> PaceState:
    used = good / rate
    age = state.age + used
    if state.ceiling is None:
        grown: float = rate * SEARCH_GROWTH_PER_SECOND**used
    else:
        grown = state.ceiling * _curve(age / RECOVERY_SECONDS)
    return replace(state, age=age, rate=grown if most is None else min(grown, most))


def _curve(x: float) -> float:
    """The pace as a share of the ceiling: quickly back below it, a plateau around it, convex beyond it (as CUBIC)."""
    if x < 1:
        return 1 - (1 - LOWERING) * (1 - x) ** RECOVERY_POWER
    return 1 + PROBING * (x - 1) ** 3
