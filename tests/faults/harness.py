"""Plays a scenario: the storm, then a clean run, then the whole end state, then a second run that changes nothing."""

from __future__ import annotations

import io
import random
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from django.core.management import call_command
from django.db import DatabaseError, connection, connections

from bytemark_sync.domain.reasons import Reason, token_reasons
from bytemark_sync.models import OrderItem, OrderToken, SharedPace, SyncRun
from bytemark_sync.models.portal import bare_name
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.sandbox import ExpectedItem, SandboxControl, World
from bytemark_sync.sandbox.request_counts import SeenLogin
from bytemark_sync.storage.logins import LEASE_SECONDS
from tests.faults import chaos, checks, processes, renewal
from tests.faults.machines import Machines, start_sandbox, start_slack
from tests.faults.processes import Child, HangsError, fork, manage
from tests.faults.scenario import PATIENCE, Actor, Scenario
from tests.support.children import spawn
from tests.support.tables import all_tables

ENDS_WITHIN = 30.0
"""Seconds that a command may take; a restart of the database may add what the product waits for it."""
HEALS_WITHIN = 60.0
"""Seconds after which a cluster must have ended every run, with a heartbeat limit of two.

Where tokens are renewed, `LEASE_SECONDS` more: for so long a login that a kill has cut counts as under way.
"""


T = TypeVar("T")


class Harness:
    """The lane's database, and its stand-in for Slack, over all scenarios."""

    def __init__(self, made: Machines) -> None:
        self.machines = made
        self.template = made.folder / "template.sqlite3"
        call_command("migrate", verbosity=0)
        connections.close_all()
        if connection.vendor == "sqlite":
            shutil.move(made.sqlite, self.template)
        self._warm()
        start_slack(made.slack_port, made.slack_log, made.folder / "slack.log")

    def _warm(self) -> None:
        """What every fork would have to import."""
        for name in ("django_q.cluster", "slack_sdk", "bytemark_sync.management.commands.sync_order_items"):
            import_module(name)
        for name in ("bytemark_sync.slack.reporter", "bytemark_sync.tasks"):
            import_module(name)
        call_command("check", stdout=io.StringIO())  # imports what URLs lead to
        connections.close_all()

    def play(self, scenario: Scenario) -> tuple[list[str], dict[str, str]]:
        """What is wrong at the end, and the outputs that may tell why."""
        self._reset()
        scene = _Scene(scenario, self.machines)
        problems: list[str] = []
        try:
            for problem in scene.acts():
                problems.append(problem)
        except HangsError as hangs:
            problems.append(str(hangs))
        except Exception:
            problems.append(f"the campaign itself failed: {traceback.format_exc()[-1500:]}")
        finally:
            scene.clear()
        return problems, {name: text[-3000:] for name, text in scene.texts().items()}

    def _reset(self) -> None:
        connections.close_all()
        for log in self.machines.folder.glob("*.log"):
            log.unlink()
        self.machines.slack_log.unlink(missing_ok=True)
        if connection.vendor == "sqlite":
            for end in ("-wal", "-shm"):
                Path(f"{self.machines.sqlite}{end}").unlink(missing_ok=True)
            shutil.copy(self.template, self.machines.sqlite)
        for model in all_tables():
            self.machines.portal.execute(f"DELETE FROM {bare_name(model)}")
        if self.machines.redis is not None:
            import redis

            redis.Redis.from_url(self.machines.redis.url).flushall()


class _Scene:
    def __init__(self, scenario: Scenario, made: Machines) -> None:
        self.scenario = scenario
        self.machines = made
        self.world: World = scenario.world()
        self.rng = random.Random(f"scene {scenario.seed}")
        self.actors: list[tuple[Actor, Child]] = []
        self.clusters: list[Child] = []
        self.children: list[Child] = []
        self.control = SandboxControl(f"http://127.0.0.1:{made.sandbox_port}")
        self.tokens = renewal.Tokens(self.world, self.control)
        self.settings = scenario.settings | renewal.settings_of(scenario, self.control.url)
        self.before = 0

    # --- The acts -------------------------------------------------------------------------------------------------

    def acts(self) -> Iterator[str]:
        self.machines.portal.fill(self.world)
        self.before = OrderItem.objects.count()
        output = self.machines.folder / "sandbox.log"
        self.children.append(start_sandbox(self.scenario, self.machines.sandbox_port, output))
        self._storm()
        if self.scenario.clusters:
            self._heal()
        self._calm()
        self._reach(self.tokens.look)
        yield from checks.whole_orders(self._expected(), self._owner)
        yield from self._commands()
        yield from self._logins("the runs so far")
        if self.scenario.kind == "exact":
            yield from self._exact()
        if self.scenario.is_blameless:
            yield from checks.nobody_is_blamed(self._failing())
        self._reach(self.control.set_faults)
        self._end_tokens()
        if not self.scenario.limit:
            self._forget_pace()
        yield from self._clean_runs()
        yield from self._logins("all runs")
        yield from checks.leaks(self.world, renewal.secrets(self.world), self.texts())

    # --- What is expected -----------------------------------------------------------------------------------------

    @property
    def _renews(self) -> bool:
        return self.scenario.renewal is not None

    @property
    def _owner(self) -> checks.Told:
        return self.tokens.owner if self._renews else str

    def _expected(self) -> list[ExpectedItem]:
        items = self.world.expected_items(self._renews)
        return self.tokens.expected(items) if self._renews else items

    def _reasons(self) -> dict[int, Reason]:
        return self.world.expected_reasons(self._renews)

    def _failing(self) -> set[int]:
        return self.world.expected_failed_users(self._renews)

    def _logins(self, what: str) -> Iterator[str]:
        logins = self._reach(self.control.logins)
        yield from renewal.logged_in_once(logins, SyncRun.objects.count(), what)

    def _end_tokens(self) -> None:
        """Before the clean runs: tokens live for ever again, but those that there are may all have ended."""
        self.control.set_lifetimes()
        if self.scenario.renewal and self.scenario.renewal.ends_before_the_clean_run:
            self.control.end_tokens()

    def _reach(self, ask: Callable[[], T]) -> T:
        """What the sandbox says; an outage that refuses connections refuses this one too."""
        end = time.monotonic() + ENDS_WITHIN
        while True:
            try:
                return ask()
            except OSError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.05)

    def _forget_pace(self) -> None:
        """What was learnt from answers 429 at random is no limit of Bytemark's."""
        SharedPace.objects.all().delete()
        if self.machines.redis is not None:
            import redis

            client = redis.Redis.from_url(self.machines.redis.url)
            for key in client.keys("*:pace"):
                client.delete(key)

    def _storm(self) -> None:
        """Everything that the plan has, at its time."""
        for _ in range(self.scenario.clusters):
            self._start_cluster()
        events: list[tuple[float, Callable[[], None]]] = []
        for number, actor in enumerate(self.scenario.actors):
            events.append((actor.at, partial(self._start, number, actor)))
            if actor.signal:
                sending = getattr(signal, f"SIG{actor.signal}")
                events.append((actor.at + actor.signal_after, partial(self._send, actor, sending)))
        for one in self.scenario.chaos:
            if one.kind not in ("full", "file_limit"):
                events.append((one.at, partial(self._befall, one)))
        began = time.monotonic()
        for at, event in sorted(events, key=lambda each: each[0]):
            time.sleep(max(0.0, began + at - time.monotonic()))
            event()
        patience = ENDS_WITHIN + (70 if any(one.kind == "restart" for one in self.scenario.chaos) else 0)
        for actor, child in self.actors:
            child.wait(patience, f"{actor.door} {' '.join(actor.args)}")

    def _start(self, number: int, actor: Actor) -> None:
        output = self.machines.folder / f"actor-{number}.log"
        args = ["sync_order_items", "--json", *(["--enqueue"] if actor.door == "enqueue" else []), *actor.args]
        if actor.door == "process":
            child = self._process(args, output)
        else:
            work = manage(*args)
            limits = [one for one in self.scenario.chaos if one.kind in ("full", "file_limit")]

            def limited() -> None:
                for one in limits:
                    chaos.limit_disk(one, self.machines)
                work()

            child = fork(limited if limits else work, output, self.settings)
        self.actors.append((actor, child))
        self.children.append(child)

    def _process(self, args: list[str], output: Path) -> Child:
        """A new interpreter, configured by its environment alone."""
        import os
        import sys

        environment = os.environ | {name: str(value) for name, value in self.settings.items()}
        with output.open("ab") as file:
            process = spawn([sys.executable, "manage.py", *args], stdout=file, stderr=file, env=environment)
        return Child(process.pid, output)

    def _send(self, actor: Actor, number: int) -> None:
        for each, child in self.actors:
            if each is actor:
                child.signal(number)

    def _befall(self, one: Any) -> None:
        if one.kind in chaos.BACKGROUND:
            self.children.append(chaos.in_background(one, self.machines, self.scenario.seed))
        elif one.kind in ("kill_cluster", "stop_cluster"):
            alive = [cluster for cluster in self.clusters if cluster.poll() is None]
            for cluster in alive[:1]:
                if one.kind == "kill_cluster":
                    cluster.kill_group()
                    time.sleep(one.value)
                else:
                    cluster.signal(signal.SIGTERM)
                self._start_cluster()
        elif one.kind in ("end_tokens", "portal_renews"):
            renewal.act(one, self.control, self.machines.portal, self.rng)
        else:
            chaos.act(one, self.machines, self.clusters, self.rng)

    def _start_cluster(self) -> None:
        output = self.machines.folder / f"cluster-{len(self.clusters)}.log"
        self.clusters.append(fork(processes.cluster, output, self.settings))

    def _heal(self) -> None:
        """The clusters, and nobody else, must bring every queued run to its end."""
        seconds = HEALS_WITHIN + (LEASE_SECONDS if self.scenario.renewal else 0)
        end = time.monotonic() + seconds
        if all(cluster.poll() is not None for cluster in self.clusters):
            self._start_cluster()
        while True:
            with suppress(DatabaseError):
                alive = list(SyncRun.objects.filter(status__in=ALIVE, pid=None).values_list("pk", "status"))
                if not alive:
                    return
                if time.monotonic() > end:
                    codes = [cluster.poll() for cluster in self.clusters]
                    raise HangsError(f"runs {alive} did not end within {seconds:g} s; the clusters: {codes}")
            connections.close_all()
            time.sleep(0.1)

    def _calm(self) -> None:
        """Only the sandbox goes on, and the clock stays where it is."""
        for child in self.clusters:
            child.kill_group()
        for child in self.children[1:]:
            child.wait(ENDS_WITHIN, "what befell the machines")
        if self.machines.cutter is not None:
            self.machines.cutter.arm(0)
        connections.close_all()
        checks.age_heartbeats()

    def clear(self) -> None:
        connections.close_all()
        for child in [*self.clusters, *self.children]:
            child.kill_group()
        if self.machines.lane == "clock":
            self.machines.jump(0.0)
        for server in (self.machines.mariadb, self.machines.redis):
            if server is not None and server.process is None:
                server.start()

    # --- The checks -----------------------------------------------------------------------------------------------

    def _commands(self) -> Iterator[str]:
        kinds = {one.kind for one in self.scenario.chaos}
        lonely = len(self.actors) == 1 and not kinds & {"jump", "full", "file_limit"} and not self.clusters
        for actor, child in self.actors:
            number = getattr(signal, f"SIG{actor.signal}") if actor.signal else 0
            assert child.code is not None
            name = f"{actor.door} {' '.join(actor.args)}".strip()
            yield from checks.command(name, child.code, child.text(), number, lonely=lonely)

    def _exact(self) -> Iterator[str]:
        """The very first run is complete: faults below the limit of attempts make no difference."""
        expected, reasons = self._with_broken_users()
        failed = self._failing()
        failed |= {order.user_id for order in self.world.orders if reasons.get(order.id) is Reason.API_ERROR}
        yield from checks.end_state(expected, reasons, self.before, self._owner)
        yield from checks.reported(self.machines.slack_log)
        child = self.actors[0][1]
        said = checks.summary(child.text()) or {}
        wanted = {
            "users_failed": len(failed),
            "orders": len(self.world.pending()),
            "items_created": len(expected) - self.before,
            "tokens_renewed": len({seen.user_id for seen in self._reach(self.control.logins) if _renewed(seen)}),
        }
        if any(said.get(name) != value for name, value in wanted.items()) or child.code != (1 if failed else 0):
            yield f"the run was to end with {wanted}, and said {said}, exit {child.code}"
        attempts = self.scenario.settings["BYTEMARK_MAX_ATTEMPTS"]
        if any(rule.kind == "outage" for rule in self.scenario.rules):
            return  # requests that it has failed are forgiven
        asked = Counter(seen.user_id for seen in self._reach(self.control.requests) if seen.status != 429)
        for user_id in {order.user_id for order in self.world.orders if reasons.get(order.id) is Reason.API_ERROR}:
            most = 1 if user_id in self.scenario.refused_users else attempts
            if asked[user_id] != most and not (self._looks_out() and most < asked[user_id] <= 2 * most + 2):
                yield f"user {user_id} cost {asked[user_id]} requests instead of {most}"

    def _looks_out(self) -> bool:
        """Several users fail before anybody is answered: that is an outage, and what failed by then is forgiven."""
        passing = any(rule.times_per_user for rule in self.scenario.rules)
        return passing or len(self.scenario.broken_users) > 2

    def _with_broken_users(self) -> tuple[list[Any], dict[int, Reason]]:
        reasons = self._reasons()
        lost = set()
        for order in self.world.pending():
            alone = reasons.get(order.id) in token_reasons()
            if order.user_id in (*self.scenario.broken_users, *self.scenario.refused_users) and not alone:
                reasons[order.id] = Reason.API_ERROR
                lost.add(order.id)
        return [item for item in self._expected() if item.order_id not in lost], reasons

    def _clean_runs(self) -> Iterator[str]:
        expected, reasons, failed = self._expected(), self._reasons(), self._failing()
        stored = set(OrderItem.objects.values_list("order_id", flat=True))
        open_users = {order.user_id for order in self.world.pending() if order.id not in stored}
        first = self._clean_run("clean")
        self.tokens.look()
        yield from checks.end_state(expected, reasons, self.before, self._owner)
        if self._renews:
            rows = list(OrderToken.objects.values_list("user_id", "token"))
            yield from renewal.rows_work(self.tokens, rows, open_users - failed)
        if first.get("users_failed") != len(failed):
            yield f"the clean run failed {first.get('users_failed')} users instead of {len(failed)}: {first}"
        before = list(OrderItem.objects.order_by("pk").values_list())
        checks.age_runs()
        second = self._clean_run("second")
        if list(OrderItem.objects.order_by("pk").values_list()) != before or second.get("items_created") != 0:
            yield f"the second run changed the rows: {second}"
        yield from checks.end_state(expected, reasons, self.before, self._owner)
        yield from checks.reported(self.machines.slack_log)

    def _clean_run(self, name: str) -> dict[str, Any]:
        plain = {
            key: value
            for key, value in self.scenario.settings.items()
            if key in ("BYTEMARK_PAGE_SIZE", "BYTEMARK_WORKERS")
        } | renewal.settings_of(self.scenario, self.control.url)
        if self.scenario.limit:
            plain["BYTEMARK_OUTAGE_PATIENCE"] = PATIENCE
        work = manage("sync_order_items", "--include-deferred", "--json")
        child = fork(work, self.machines.folder / f"{name}.log", plain)
        self.children.append(child)
        code = child.wait(ENDS_WITHIN, f"the {name} run")
        said = checks.summary(child.text())
        if said is None or code not in (0, 1):
            raise AssertionError(f"the {name} run ended with {code}: {child.text()[-1500:]}")
        return said

    def texts(self) -> dict[str, str]:
        return {log.stem: log.read_text(errors="replace") for log in sorted(self.machines.folder.glob("*.log"))}


def _renewed(seen: SeenLogin) -> bool:
    return seen.outcome == "granted" and renewal.is_answered(seen)
