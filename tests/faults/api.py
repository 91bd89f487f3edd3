"""What Bytemark's API is like in a scenario: how much it allows, when it is away, how it lists its orders.

Drawn apart from the rest of a plan, so that a seed keeps its other draws.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import msgspec

from bytemark_sync.sandbox import FaultRule, Limit
from bytemark_sync.sandbox.faults import NEXT_FORMS, OUTAGE_FORMS, TOTAL_FORMS
from tests.faults.scenario import PATIENCE, Scenario

LISTS = ("malformed_order", "no_pagination", "total_count", "next", "clamp")
"""Kinds of rules that change what a page says of the rest of its list."""
BOTH = 0.4
"""So often an API that limits goes away as well."""
MOST_SECONDS = 3.0
"""The longest outage that ends. The lane's patience is longer."""
MIN_ATTEMPTS = 3
"""What failed before anybody could tell an outage counts."""
MIN_ANSWERED = 6
"""Riders beside those whose every request fails: an outage is told by several of them."""


def with_api(scenario: Scenario) -> Scenario:
    rng = Random(f"api {scenario.seed} {scenario.lane}")
    draft = _Api(rng, scenario, list(scenario.rules), dict(scenario.settings))
    if scenario.kind == "exact":
        draft.exact()
    elif not scenario.rules and rng.random() < 0.7:
        draft.blameless()
    else:
        draft.wild()
    return draft.made()


@dataclass
class _Api:
    """The draws for one scenario, in a fixed order."""

    rng: Random
    scenario: Scenario
    rules: list[FaultRule]
    settings: dict[str, Any]
    limit: Limit | None = None
    refused: list[int] = field(default_factory=list)
    is_blameless: bool = False

    def made(self) -> Scenario:
        return replace(
            self.scenario,
            rules=tuple(self.rules),
            settings=self.settings,
            limit=self.limit,
            refused_users=tuple(self.refused),
            is_blameless=self.is_blameless,
        )

    def exact(self) -> None:
        """What makes no difference at all, and users whom a 304 fails at once."""
        rng = self.rng
        self.is_blameless = not self.scenario.broken_users
        if rng.random() < 0.15:
            everyone = range(1001, 1001 + self.scenario.users)
            whole = [user for user in everyone if user not in self.scenario.broken_users]
            self.refused = sorted(rng.sample(whole, min(len(whole), rng.randint(1, 2))))
            self.rules.insert(0, FaultRule("status", status=304, users=self.refused))
            self.is_blameless = False
        if self.refused or len(self.scenario.broken_users) > 2:
            self._with_riders(len(self.refused) + len(self.scenario.broken_users) + MIN_ANSWERED)
        self._lists_that_end(0.5)
        draw = rng.random()
        if draw < 0.3:
            self._limited()
            if rng.random() < BOTH:
                self._outage_that_ends()
        elif draw < 0.4:
            self._few_attempts(2)
            self._refusals(rng.randint(1, 3))
        elif draw < 0.6:
            self._outage_that_ends()

    def blameless(self) -> None:
        """No fault of Bytemark but what must fail nobody, in scenarios whose other trouble is at home."""
        rng = self.rng
        self.is_blameless = True
        self._lists_that_end(0.5)
        is_limited = rng.random() < 0.5
        is_away = rng.random() < (BOTH if is_limited else 0.6)
        if is_away:
            self._alone()
        if is_limited:
            self._limited()
        if is_away:
            self._outage_that_ends()

    def wild(self) -> None:
        rng = self.rng
        some: dict[str, Any] = {"probability": rng.choice((0.2, 0.5, 1.0))}
        if rng.random() < 0.15:
            self.rules.append(FaultRule("clamp", size=rng.choice((1, 2, 5, 20)), **some))
        if rng.random() < 0.15:
            self.rules.append(FaultRule("next", form=rng.choice(NEXT_FORMS), **some))
            self.rules.append(FaultRule("total_count", form=rng.choice(TOTAL_FORMS), **some))
        if rng.random() < 0.05:
            self.rules.insert(0, FaultRule("status", status=304, probability=0.2))
        draw = rng.random()
        if draw < 0.15:
            self._limited()
        elif draw < 0.2:
            self._refusals(rng.randint(1, 3))
        if rng.random() < 0.2:
            self._outage()

    # --- Lists ------------------------------------------------------------------------------------------------------

    def _lists_that_end(self, probability: float) -> None:
        """One of the ways to list from which the true end can be told, in every answer (docs/contract.md#pages)."""
        rng = self.rng
        if rng.random() >= probability:
            return
        clamp = FaultRule("clamp", size=rng.choice((1, 2, 5, 20)))
        no_total, no_next = FaultRule("total_count", form="absent"), FaultRule("next", form="absent")
        wrong_total = FaultRule("total_count", form=rng.choice(("small", "big")))
        true_next = FaultRule("next", form=rng.choice(("path", "true", "false", "empty", "always")))
        ways = (
            [clamp],
            [clamp, no_total],
            [clamp, no_next],
            [clamp, no_total, no_next],
            [clamp, FaultRule("no_pagination")],
            [clamp, wrong_total, true_next],
            [wrong_total, true_next],
            [wrong_total],
            [no_total, true_next],
            [FaultRule("next", form="null")],
        )
        self.rules = [rule for rule in self.rules if rule.kind not in LISTS] + list(rng.choice(ways))

    # --- Limits -----------------------------------------------------------------------------------------------------

    def _limited(self) -> None:
        """A limit that is met, and lets a run end within seconds."""
        rng = self.rng
        asked = self._few_requests()
        retry_after = rng.choice(("", "", "1", "reset"))
        if rng.random() < 0.4:
            quota = max(3, asked // rng.choice((2, 3, 4)))
            self.limit = Limit(quota=quota, window=rng.choice((0.5, 1.0, 2.0)), retry_after=retry_after)
        else:
            rate = max(10.0, asked / rng.uniform(0.4, 1.2))
            self.limit = Limit(rate=rate, burst=max(1.0, rate * rng.choice((0.05, 0.2, 1.0))), retry_after=retry_after)

    def _refusals(self, times: int) -> None:
        """Answers 429 out of the blue: more than a user has attempts, and yet they cost nothing."""
        self._few_requests()
        retry_after = self.rng.choice(("", "0", "0.02", "date+1", "soon", "-5"))
        self.rules.insert(0, FaultRule("status", status=429, retry_after=retry_after, times=times))

    def _few_requests(self) -> int:
        """Make the lists short. Returns the number of requests of a run, roughly."""
        self.settings["BYTEMARK_PAGE_SIZE"] = max(10, self.settings["BYTEMARK_PAGE_SIZE"])
        if self.is_blameless or self.scenario.kind == "exact":
            self.settings["BYTEMARK_OUTAGE_PATIENCE"] = PATIENCE
            self.rules = [replace_pause(rule) for rule in self.rules]
        if self.scenario.broken_users:
            self._few_attempts(3)
        low, high = self.scenario.listed
        self.scenario = replace(self.scenario, listed=(low, min(high, low + 3)))
        size = min([rule.size or 20 for rule in self.rules if rule.kind == "clamp"], default=50)
        if size < 5:
            self.rules = [rule for rule in self.rules if rule.kind != "clamp"]
        length: int = min(max(size, 5), self.settings["BYTEMARK_PAGE_SIZE"])
        pages = -(-(low + 3) // length)
        return self.scenario.users * pages * len(self.scenario.actors)

    # --- Outages ----------------------------------------------------------------------------------------------------

    def _outage_that_ends(self) -> None:
        """It lasts long enough to be told from the failures of single users, whose attempts last 0.1 seconds here."""
        rng = self.rng
        self._without_passing_failures()  # one that nobody could tell from an outage yet might be the last
        self.rules = [rule for rule in self.rules if rule.kind != "latency"]
        self.settings["BYTEMARK_MAX_ATTEMPTS"] = max(MIN_ATTEMPTS, self.settings["BYTEMARK_MAX_ATTEMPTS"])
        self._with_riders(len(self.refused) + len(self.scenario.broken_users) + MIN_ANSWERED)
        self.scenario = replace(self.scenario, latency=0.0)
        if self.scenario.broken_users:
            self.settings["BYTEMARK_OUTAGE_PATIENCE"] = PATIENCE  # the single requests may be those of such users
        if rng.random() < 0.3:
            form = rng.choice([each for each in OUTAGE_FORMS if each != "hang"])
            outage = FaultRule("outage", form=form, seconds=rng.uniform(2.0, MOST_SECONDS))
        else:
            after = rng.randint(4, 2 * self.scenario.users)
            form = rng.choice(OUTAGE_FORMS)
            seconds = rng.uniform(1.8 if form == "hang" else 0.8, MOST_SECONDS)
            outage = FaultRule("outage", form=form, seconds=seconds, after_requests=after)
        if form == "status":
            outage = replace_rule(outage, retry_after=rng.choice(("", "", "1")))
        elif form == "hang":
            self._hurry()
        self.rules.append(outage)

    def _outage(self) -> None:
        rng = self.rng
        form = rng.choice(OUTAGE_FORMS)
        seconds = rng.uniform(0.1, MOST_SECONDS) if form == "refuse" or rng.random() < 0.8 else None
        when = {"after": rng.uniform(0, 0.4)} if rng.random() < 0.5 else {"after_requests": rng.randint(0, 20)}
        self.rules.append(FaultRule("outage", form=form, seconds=seconds, **when))
        self.settings["BYTEMARK_OUTAGE_PATIENCE"] = rng.choice((1.0, 3.0, 5.0))
        if form == "hang":
            self._hurry()

    def _hurry(self) -> None:
        self.settings |= {"BYTEMARK_READ_TIMEOUT": 0.2, "BYTEMARK_REQUEST_DEADLINE": 0.4}

    def _few_attempts(self, most: int) -> None:
        self.settings["BYTEMARK_MAX_ATTEMPTS"] = min(most, self.settings["BYTEMARK_MAX_ATTEMPTS"])
        self._without_passing_failures()

    def _without_passing_failures(self) -> None:
        """Where several users fail and nobody was answered yet, it is an outage, and what failed is forgiven."""
        self.rules = [rule for rule in self.rules if not rule.times_per_user]

    def _with_riders(self, least: int) -> None:
        self.scenario = replace(self.scenario, users=max(self.scenario.users, least))

    def _alone(self) -> None:
        """One run of all users: in a process that has but one or two of them an outage looks like their own fault."""
        scenario = self.scenario
        actor = replace(scenario.actors[0], args=())
        self.scenario = replace(scenario, actors=(actor,), chaos=())
        if scenario.clusters:
            self.settings["SYNC_BATCH_USERS"] = 500


def replace_rule(rule: FaultRule, **values: Any) -> FaultRule:
    return msgspec.structs.replace(rule, **values)


def replace_pause(rule: FaultRule) -> FaultRule:
    """Instead of a pause as long as the patience."""
    return replace_rule(rule, retry_after="0.02") if rule.retry_after == "99999" else rule
