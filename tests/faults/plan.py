"""What happens in a scenario, all of it drawn from its seed; only the moments of threads and processes are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from bytemark_sync.sandbox import FaultRule
from bytemark_sync.sandbox.faults import CHANGES, TOTAL_FORMS
from bytemark_sync.sandbox.wire import ERROR_FORMS, JUNK, WRONG_SHAPES
from tests.faults.api import with_api
from tests.faults.renewal import with_renewal
from tests.faults.scenario import Actor, Chaos, Scenario

LANES = {"sqlite": 40, "mariadb": 40, "redis": 10, "clock": 10, "mysql": 0}
"""Databases and brokers, with their share of the seeds. `redis` is MariaDB with Redis as the broker; `clock` is SQLite
with a wall clock that jumps; `mysql` is played where it is asked for, on the server of `TEST_MYSQL_URL`."""

SIGNALS = ("KILL", "TERM", "INT")
ENDLESS = ("[" * 50_000, '{"orders":[],"total_count":1e999}', '{"orders":[],"total_count":' + "9" * 5000 + "}")
RAW = (*ENDLESS, '"\ud800"', '{"orders":[{"uuid":"\\ud83d"}]}', "NaN", "\0", "\ufeff{}", '{"orders":[null,[],7]}', "[]")
RETRYABLE = ("close", "reset", "cut", "cut_chunked", "empty", "not_json", "half_json", "wrong_shape", "status")
SLOW = ("hang", "drip_headers", "drip_body")
HEAVY = ("oversize", "gzip_bomb")


def lane_of(seed: int) -> str:
    return Random(f"lane {seed}").choices(list(LANES), list(LANES.values()))[0]


def plan(seed: int, lane: str = "") -> Scenario:
    """The scenario of `seed`; `lane` overrides the seed's own choice."""
    lane = lane or lane_of(seed)
    rng = Random(f"plan {seed} {lane}")
    return with_renewal(with_api(_plan(rng, seed, lane)))


def _plan(rng: Random, seed: int, lane: str) -> Scenario:
    queue_share = {"redis": 0.7, "mariadb": 0.06, "mysql": 0.06, "sqlite": 0.06, "clock": 0.15}[lane]
    if rng.random() < queue_share:
        return _Draft(rng, seed, lane, "queue").queue()
    return _Draft(rng, seed, lane, "exact").exact() if rng.random() < 0.3 else _Draft(rng, seed, lane, "wild").wild()


@dataclass
class _Draft:
    """The draws of one scenario, in a fixed order."""

    rng: Random
    seed: int
    lane: str
    kind: str
    rules: list[FaultRule] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)

    def exact(self) -> Scenario:
        """Faults that must make no difference at all, or fail known users: the very first run is held to its result."""
        rng = self.rng
        users = rng.randint(1, 10)
        settings = self._settings()
        attempts = settings["BYTEMARK_MAX_ATTEMPTS"]
        harmless = [
            FaultRule("latency", seconds=0.0, jitter=0.02),
            FaultRule("gzip", probability=0.5),
            FaultRule("chunked", probability=0.5),
            FaultRule("no_pagination"),
            FaultRule("malformed_order", form=rng.choice(sorted(JUNK)), probability=0.4),
            FaultRule("total_count", form=rng.choice([form for form in TOTAL_FORMS if form != "small"])),
        ]
        self.rules = rng.sample(harmless, rng.randint(0, 3))
        if any(rule.kind == "malformed_order" for rule in self.rules):
            # A true count does not count the junk: the list would rightly end that much sooner.
            self.rules = [rule for rule in self.rules if rule.kind != "total_count"]
            self.rules.append(FaultRule("total_count", form=rng.choice(("absent", "big"))))
        everyone = list(range(1001, 1001 + users))
        if rng.random() < 0.6 and attempts > 1:
            self.rules.append(self._retryable(users=everyone, times_per_user=rng.randint(1, attempts - 1)))
        if rng.random() < 0.5:
            self.broken = sorted(rng.sample(everyone, rng.randint(1, min(3, users))))
            self.rules.insert(0, self._retryable(users=self.broken))
        args = ("--include-deferred",) if rng.random() < 0.2 else ()
        return self._scenario(users, settings, [Actor("command", args)], [])

    def wild(self) -> Scenario:
        """Anything at once."""
        rng = self.rng
        self.rules = [self._wild_rule() for _ in range(rng.choice((0, 1, 1, 2, 3, 4)))]
        settings = self._settings()
        settings |= self._timeouts()
        actors = [self._actor(settings) for _ in range(rng.choice((1, 1, 2, 2, 3, 5)))]
        kinds = {
            "sqlite": ("lock", "lock", "full", "file_limit"),
            "mariadb": ("kill", "kill", "deadlock", "deadlock", "cut", "cut_write", "restart"),
            "mysql": ("kill", "kill", "deadlock", "deadlock", "cut", "cut_write"),
            "redis": ("kill", "deadlock", "cut", "cut_write"),
            "clock": ("jump", "jump", "lock"),
        }[self.lane]
        chaos = [self._chaos(rng.choice(kinds), 0.4) for _ in range(rng.choice((0, 1, 1, 2)))]
        if self.lane == "clock" and not chaos:
            chaos = [self._chaos("jump", 0.4)]
        # A restart takes seconds: fewer of them.
        chaos = [one for one in chaos if one.kind != "restart" or rng.random() < 0.3]
        return self._scenario(rng.randint(1, 14), settings, actors, chaos)

    def queue(self) -> Scenario:
        """Runs through django-q2, beside commands."""
        rng = self.rng
        self.rules = [self._wild_rule() for _ in range(rng.choice((0, 0, 1, 2)))]
        settings = self._settings() | self._timeouts()
        settings |= {"SYNC_BATCH_USERS": rng.choice((1, 2, 3, 5, 500)), "SYNC_HEARTBEAT_LIMIT": 2.0}
        actors = [Actor("enqueue", at=rng.uniform(0, 1.0)) for _ in range(rng.choice((1, 1, 2, 3)))]
        if rng.random() < 0.5:
            actors.append(self._actor(settings))
        kinds = ["kill_worker"] * 3 + ["kill_cluster", "stop_cluster"]
        kinds += {
            "sqlite": ["lock"],
            "mariadb": ["kill", "deadlock", "cut", "cut_write", "restart"],
            "mysql": ["kill", "deadlock", "cut", "cut_write"],
            "redis": ["kill", "cut_write", "flush", "redis_restart"],
            "clock": ["jump", "jump"],
        }[self.lane]
        chaos = [self._chaos(rng.choice(kinds), 2.0) for _ in range(rng.choice((0, 1, 2, 3)))]
        return self._scenario(rng.randint(2, 25), settings, actors, chaos, clusters=rng.choice((1, 1, 2)))

    def _scenario(
        self, users: int, settings: dict[str, Any], actors: list[Actor], chaos: list[Chaos], clusters: int = 0
    ) -> Scenario:
        rng = self.rng
        wanted = rng.randint(1, 4)
        low = rng.randint(wanted, 12)
        return Scenario(
            seed=self.seed,
            lane=self.lane,
            kind=self.kind,
            users=users,
            orders_per_user=wanted,
            listed=(low, low + rng.choice((0, 3, 15, 40))),
            trouble=rng.choice((0.0, 0.3, 0.7, 1.0)),
            rules=tuple(self.rules),
            broken_users=tuple(self.broken),
            envelope=rng.choice(("data", "bare")),
            rejection=rng.choice(
                [FaultRule("status", status=rng.choice((401, 403)), code=50020)]
                + [FaultRule("errors", code=rng.choice((50020, 50032)), form=form) for form in sorted(ERROR_FORMS)]
            ),
            latency=rng.choice((0.0, 0.0, 0.005, 0.03)),
            settings=settings,
            actors=tuple(actors),
            chaos=tuple(chaos),
            clusters=clusters,
        )

    def _settings(self) -> dict[str, Any]:
        rng = self.rng
        return {
            "BYTEMARK_PAGE_SIZE": rng.choice((1, 3, 10, 10, 50)),
            "BYTEMARK_WORKERS": rng.choice((1, 2, 8, 16)),
            "BYTEMARK_MAX_ATTEMPTS": rng.choice((1, 3, 5, 5)),
        }

    def _timeouts(self) -> dict[str, Any]:
        if not any(rule.kind in SLOW for rule in self.rules):
            return {}
        return {"BYTEMARK_READ_TIMEOUT": 0.2, "BYTEMARK_REQUEST_DEADLINE": 0.4}

    def _actor(self, settings: dict[str, Any]) -> Actor:
        rng = self.rng
        args: list[str] = []
        for share, arg in (
            (0.3, ("--include-deferred",)),
            (0.15, ("--limit", str(rng.randint(1, 5)))),
            (0.15, ("--user", str(1001 + rng.randint(0, 9)))),
            (0.1, ("--dry-run",)),
            (0.1, ("--workers", str(rng.randint(1, 20)))),
        ):
            if rng.random() < share:
                args += arg
        signal = rng.choice(SIGNALS) if rng.random() < 0.6 else ""
        # Most runs of these small worlds last a few tenths of a second.
        after = rng.uniform(0, rng.choice((0.1, 0.3, 0.6)))
        door = "process" if rng.random() < 0.03 else "command"
        if door == "process":
            after += 0.7
        return Actor(door, tuple(args), rng.choice((0.0, rng.uniform(0, 0.3))), signal, after)

    def _chaos(self, kind: str, until: float) -> Chaos:
        rng = self.rng
        value = {
            "jump": rng.choice((-90_000.0, -3600.0, -5.0, 3.0, 3600.0, 90_000.0)),
            "full": float(rng.randint(0, 12)),
            "file_limit": float(rng.randint(0, 60)),
        }.get(kind, rng.uniform(0.05, 0.6))
        at = 0.0 if kind in ("full", "file_limit") else rng.uniform(0, until)
        return Chaos(kind, at, value)

    def _retryable(self, **limits: Any) -> FaultRule:
        kind = self.rng.choice(RETRYABLE)
        more: dict[str, Any] = {}
        if kind == "status":
            more["status"] = self.rng.choice((408, 500, 502, 503, 504))
            more["retry_after"] = self.rng.choice(("", "0", "0.02", "date+1", "soon", "-5", "99999"))
        if kind == "wrong_shape":
            more["form"] = self.rng.choice(sorted(WRONG_SHAPES))
        if kind == "reset":
            more["size"] = self.rng.choice((0, 1, 60))
        return FaultRule(kind, **more, **limits)

    def _wild_rule(self) -> FaultRule:
        rng = self.rng
        limits: dict[str, Any] = {}
        if rng.random() < 0.8:
            limits["probability"] = rng.choice((0.05, 0.2, 0.5))
        if rng.random() < 0.2:
            limits["users"] = rng.sample(range(1001, 1011), rng.randint(1, 4))
        if rng.random() < 0.2:
            limits["pages"] = rng.sample(range(1, 5), 2)
        if rng.random() < 0.2:
            limits["times_per_user"] = rng.randint(1, 6)
        draw = rng.random()
        if draw < 0.35:
            return self._retryable(**limits)
        if draw < 0.45:
            return FaultRule(rng.choice(SLOW), seconds=rng.choice((0.01, 0.1, 600.0)), **(limits | {"times": 6}))
        if draw < 0.48:
            return FaultRule(rng.choice(HEAVY), **(limits | {"times": 2}))
        if draw < 0.58:
            code = rng.choice((50020, 50032, 50011, 10000, 400104))
            return FaultRule("errors", code=code, form=rng.choice(sorted(ERROR_FORMS)), **limits)
        if draw < 0.63:
            code = rng.choice((0, 50020, 50011))
            status = rng.choice((304, 400, 401, 403, 404, 409, 410, 418, 422, 451, 499, 599))
            return FaultRule("status", status=status, code=code, form=rng.choice(sorted(ERROR_FORMS)), **limits)
        if draw < 0.67:
            return FaultRule("redirect", status=rng.choice((301, 302, 303, 307, 308)), **limits)
        if draw < 0.72:
            return FaultRule("raw", body=rng.choice(RAW), **limits)
        kind = rng.choice([*CHANGES, "total_count", "total_count"])
        if kind == "latency":
            return FaultRule(kind, seconds=rng.uniform(0, 0.1), jitter=rng.uniform(0, 0.1), **limits)
        form = {"malformed_order": rng.choice(sorted(JUNK)), "total_count": rng.choice(TOTAL_FORMS)}.get(kind, "")
        return FaultRule(kind, form=form, **limits)
