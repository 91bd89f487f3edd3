"""Riders whose tokens expire while runs go on, and the account API that renews them: its draws, acts and promises.

Drawn apart from the rest of a plan, so that a seed keeps its other draws.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPException
from random import Random
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from bytemark_sync.sandbox import ExpectedItem, FaultRule, Lifetime, SandboxControl, World
from bytemark_sync.sandbox.accounts import TokenState, login_token
from bytemark_sync.sandbox.request_counts import SeenLogin, fingerprint
from bytemark_sync.sandbox.wire import LOGIN_FORMS, LOGIN_REFUSALS, NO_TOKEN
from tests.faults.scenario import Chaos, Renewal, Scenario
from tests.support.harness import Portal

SHARE = 0.4
CLIENT_ID, PORTAL_ID, SECRET = "campaign-client", "portal-client", "campaign-client-secret"
AGAIN = ("close", "reset", "cut", "cut_chunked", "empty", "not_json", "half_json", "status")
"""Answers to a login after which it is asked for again."""
ARRIVES = {"latency", "gzip", "chunked", "refuse", "no_token", "dead_token"}
"""Faults with which an answer to a login comes to its end."""
MOST_LOGINS = 50
OF_RIDER = "of rider {}"


def with_renewal(scenario: Scenario) -> Scenario:
    rng = Random(f"renewal {scenario.seed} {scenario.lane}")
    if rng.random() >= SHARE:
        return scenario
    draft = _exact(rng, scenario) if scenario.kind == "exact" or scenario.is_blameless else _wild(rng, scenario)
    return replace(scenario, renewal=draft, rules=(*scenario.rules, *draft.rules), chaos=scenario.chaos + draft.acts)


def settings_of(scenario: Scenario, url: str) -> dict[str, Any]:
    if scenario.renewal is None:
        return {}
    secret = SECRET if scenario.renewal.with_secret else ""
    return {"BYTEMARK_ACCOUNT_API_URL": url, "BYTEMARK_CLIENT_ID": CLIENT_ID, "BYTEMARK_CLIENT_SECRET": secret}


def accounts_of(renewal: Renewal) -> dict[str, Any]:
    """For the sandbox."""
    return {
        "lifetimes": renewal.lifetimes,
        "keeps_older_tokens": renewal.keeps_older,
        "client_ids": (CLIENT_ID, PORTAL_ID),
        "client_secret": SECRET if renewal.with_secret else "",
    }


# --- Draws ----------------------------------------------------------------------------------------------------------
def _exact(rng: Random, scenario: Scenario) -> Renewal:
    """Tokens end at one point of their list, and are renewed once, whatever fails below the limit of attempts."""
    untouched = (*scenario.broken_users, *scenario.refused_users)
    riders = [user for user in range(1001, 1001 + scenario.users) if user not in untouched]
    lifetimes = (Lifetime(requests=rng.randint(0, 2), of="world", users=riders),) if rng.random() < 0.7 else ()
    spent = max([rule.times_per_user or 0 for rule in scenario.rules], default=0)
    left = scenario.settings["BYTEMARK_MAX_ATTEMPTS"] - 1 - spent
    rules = [FaultRule(kind, on="login", probability=0.5) for kind in ("gzip", "chunked") if rng.random() < 0.3]
    if left > 0 and rng.random() < 0.5 and not any(rule.kind == "outage" for rule in scenario.rules):
        rules.append(_asked_again(rng, times_per_user=rng.randint(1, left)))
    return Renewal(lifetimes, tuple(rules), keeps_older=rng.random() < 0.3, with_secret=rng.random() < 0.5)


def _wild(rng: Random, scenario: Scenario) -> Renewal:
    lifetimes = [
        Lifetime(
            requests=rng.choice((0, 1, 2, 4)) if rng.random() < 0.7 else None,
            seconds=rng.choice((0.0, 0.05, 0.3)),
            of=rng.choice(("", "world", "world", "login")),
            users=rng.sample(range(1001, 1011), 4) if rng.random() < 0.3 else None,
        )
        for _ in range(rng.choice((0, 1, 1, 2)))
    ]
    until = 2.0 if scenario.clusters else 0.4
    kinds = [rng.choice(("end_tokens", "end_tokens", "portal_renews")) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    return Renewal(
        tuple(lifetimes),
        tuple(_wild_rule(rng) for _ in range(rng.choice((0, 0, 1, 1, 2)))),
        keeps_older=rng.random() < 0.2,
        with_secret=rng.random() < 0.5,
        ends_before_the_clean_run=rng.random() < 0.5,
        acts=tuple(Chaos(kind, rng.uniform(0, until)) for kind in kinds),
    )


def _wild_rule(rng: Random) -> FaultRule:
    some: dict[str, Any] = {"probability": rng.choice((0.2, 0.5, 1.0))}
    if rng.random() < 0.3:
        some["users"] = rng.sample(range(1001, 1011), rng.randint(1, 5))
    if rng.random() < 0.3:
        some["times_per_user"] = rng.randint(1, 3)
    draw = rng.random()
    if draw < 0.35:
        reason, form = rng.choice(list(LOGIN_REFUSALS)), rng.choice(LOGIN_FORMS)
        return FaultRule("refuse", reason=reason, form=form, status=rng.choice((0, 200, 400, 401, 403, 404)), **some)
    if draw < 0.45:
        return FaultRule("no_token", form=rng.choice(list(NO_TOKEN)), **some)
    if draw < 0.55:
        return FaultRule("dead_token", **some)
    if draw < 0.65:
        return FaultRule("outage", on="login", form=rng.choice(("status", "close")), seconds=rng.uniform(0.1, 1.0))
    if draw < 0.75:
        return FaultRule("latency", on="login", seconds=rng.uniform(0, 0.1), jitter=0.1, **some)
    return _asked_again(rng, **some)


def _asked_again(rng: Random, **limits: Any) -> FaultRule:
    kind = rng.choice(AGAIN)
    status = rng.choice((408, 500, 502, 503, 504)) if kind == "status" else 0
    return FaultRule(kind, on="login", status=status, **limits)


# --- Acts -----------------------------------------------------------------------------------------------------------
def act(chaos: Chaos, control: SandboxControl, portal: Portal, rng: Random) -> None:
    """The server of the database, and the sandbox, may be away just now."""
    with suppress(Exception):
        if chaos.kind == "end_tokens":
            control.end_tokens(*rng.sample(range(1001, 1015), rng.randint(1, 8)))
        else:
            _portal_renews(control, portal, rng)


def _portal_renews(control: SandboxControl, portal: Portal, rng: Random) -> None:
    """The portal signs some riders in and writes the tokens down, whatever the rows hold by then."""
    rows = portal.all("SELECT id, email, password FROM bytemark_tokens WHERE email IS NOT NULL ORDER BY id")
    for row_id, email, password in rng.sample(rows, min(3, len(rows))):
        if token := sign_in(control, email, password):
            portal.execute("UPDATE bytemark_tokens SET token = %s WHERE id = %s", token, row_id)


def sign_in(control: SandboxControl, email: str, password: str) -> str | None:
    """As the portal does."""
    sent = {"email": email, "password": password, "client_id": PORTAL_ID, "client_secret": SECRET}
    request = Request(f"{control.url}/users/login", data=json.dumps(sent).encode())
    failures = (OSError, ValueError, LookupError, TypeError, AttributeError, HTTPException)
    with suppress(*failures), build_opener(ProxyHandler({})).open(request, timeout=5) as response:
        answer = json.loads(response.read())
        token = answer.get("data", answer)["oauth_token"]
        return token if isinstance(token, str) and token.strip() else None
    return None


# --- Promises -------------------------------------------------------------------------------------------------------
class Tokens:
    """Whose tokens are whose. Which of a rider's tokens fetched an order's passes is chance where they expire."""

    def __init__(self, world: World, control: SandboxControl) -> None:
        self._control = control
        self._owners = {order.id: order.user_id for order in world.orders}
        self.states: dict[str, TokenState] = {}

    def look(self) -> None:
        self.states = self._control.tokens()

    def owner(self, token: str) -> str:
        """For the rows that are stored."""
        state = self.states.get(fingerprint(token))
        return OF_RIDER.format(state.user_id) if state else "of nobody"

    def expected(self, items: list[ExpectedItem]) -> list[ExpectedItem]:
        return sorted(item._replace(oauth_token=OF_RIDER.format(self._owners[item.order_id])) for item in items)


def rows_work(tokens: Tokens, rows: Iterable[tuple[int | None, str | None]], riders: set[int]) -> Iterator[str]:
    """Each of these riders has a row (user, token) in the portal with a token that works."""
    tokens.look()
    states = ((user, tokens.states.get(fingerprint(token))) for user, token in rows if token)
    works = {user for user, state in states if state and state.works and state.user_id == user}
    for user in sorted(riders - works):
        yield f"the portal has no token of rider {user} that works"


def logged_in_once(logins: list[SeenLogin], most: int, what: str) -> Iterator[str]:
    """Of the logins whose answer came to its end, each rider has at most as many as there are runs."""
    answered = Counter(seen.user_id for seen in logins if is_answered(seen))
    for user, times in answered.items():
        if user is not None and times > most:
            yield f"rider {user} was logged in {times} times by {what}"


def is_answered(seen: SeenLogin) -> bool:
    """A login of the product's that was given or refused, and whose answer came to its end."""
    return seen.client_id != PORTAL_ID and bool(seen.outcome) and set(seen.fault.split()) <= ARRIVES


def secrets(world: World) -> set[str]:
    """What no output may show: e-mails, passwords, the client's secret, and every token that a login can have given."""
    found = {SECRET}
    for rider in world.riders:
        found |= {rider.email, rider.password}
        found |= {login_token(rider.user_id, number) for number in range(1, MOST_LOGINS)}
    return {text for text in found if text}
