"""`make test-image`: the image, tried from outside with docker or podman on a private MariaDB and Redis.

IMAGE names it, ENGINE chooses docker or podman, RUN_OPTIONS are further options of `run`. It ends with status 1 at the
first thing that does not hold, and prints a line with the figure for each that does.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bytemark_sync.sandbox import ExpectedItem, World
from tests.support.servers import ROOT, MariaDB, Redis, free_port, wait_for

IMAGE = os.environ.get("IMAGE") or "bytemark-sync:latest"
RESTRICTED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
RUN_OPTIONS = shlex.split(os.environ.get("RUN_OPTIONS", ""))
USERS = 200
WORLD = World.sample(users=USERS, accounts=True)
"""What `bytemark_sandbox --users 200` serves."""


def engine() -> str:
    wanted = os.environ.get("ENGINE")
    for name in [wanted] if wanted else ["docker", "podman"]:
        if shutil.which(name) and not subprocess.run([name, "info"], capture_output=True, check=False).returncode:
            return name
    raise SystemExit("Neither docker nor podman works here. Install one (Debian: apt-get install podman).")


ENGINE = engine()


def call(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([ENGINE, *args], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{ENGINE} {shlex.join(args)}: {done.returncode}: {done.stdout}{done.stderr}")
    return done


def say(what: str, figure: object = "") -> None:
    print(f"ok  {what}{f': {figure}' if figure != '' else ''}", flush=True)


class Containers:
    """Starts containers of the image with one environment, on the host's network; ends them all at the end."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._started: list[str] = []

    def options(self, env: Mapping[str, str] | None = None) -> list[str]:
        pairs = [f"--env={name}={value}" for name, value in {**self._env, **(env or {})}.items()]
        return ["--network", "host", *RESTRICTED, *RUN_OPTIONS, *pairs]

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> str:
        """To its end; standard output. AssertionError for a status that is not 0."""
        return call("run", "--rm", *self.options(env), IMAGE, *command).stdout

    def start(self, *command: str, entrypoint: str = "", env: Mapping[str, str] | None = None) -> str:
        """In the background; its id."""
        entry = ["--entrypoint", entrypoint] if entrypoint else []
        name = call("run", "--detach", *self.options(env), *entry, IMAGE, *command).stdout.strip()
        self._started.append(name)
        return name

    def end(self) -> None:
        for name in self._started:
            call("rm", "--force", name, check=False)


def logs(name: str) -> str:
    done = call("logs", name)
    return done.stdout + done.stderr


def stop(name: str) -> float:
    """SIGTERM to its first process; seconds until it has ended. AssertionError for a status that is not 0."""
    began = time.monotonic()
    call("kill", "--signal", "TERM", name)
    status = int(call("wait", name).stdout.strip())
    assert status == 0, f"status {status}: {logs(name)[-3000:]}"
    return time.monotonic() - began


# --- The database ---------------------------------------------------------------------------------------------------


@contextmanager
def places() -> Iterator[tuple[MariaDB, dict[str, str], str]]:
    """A server as compose.yaml has it, made by scripts/compose_settings.py; the environment; the portal's URL."""
    with tempfile.TemporaryDirectory() as made, MariaDB() as server, Redis() as redis:
        subprocess.run([sys.executable, ROOT / "scripts/compose_settings.py", made], check=True)
        folder = Path(made)
        server.execute(*filter(str.strip, (folder / "portal.sql").read_text().split(";\n")))
        here = f"@127.0.0.1:{server.port}/"
        lines = (folder / "env").read_text().replace("@database:3306/", here).splitlines()
        env = dict(line.split("=", 1) for line in lines) | {"REDIS_URL": redis.url}
        yield server, env, (folder / "portal-url").read_text().replace("@database:3306/", here)


def rows(server: MariaDB, statement: str) -> list[tuple[Any, ...]]:
    return server.all(statement, "bytemark_sync")


def items(server: MariaDB) -> list[ExpectedItem]:
    columns = "order_id, order_uuid, oauth_token, product_uuid, pass_uuid"
    return sorted(ExpectedItem(*row) for row in rows(server, f"SELECT {columns} FROM portal.bytemark_order_items"))


# --- What is tried --------------------------------------------------------------------------------------------------


def contents(containers: Containers) -> None:
    found = json.loads(call("image", "inspect", IMAGE).stdout)[0]
    say("size and layers", f"{found['Size'] / 1e6:.0f} MB, {len(found['RootFS']['Layers'])} layers")
    assert found["Config"]["User"] == "10001:10001"
    say("user", containers.run("id").strip())
    programs = containers.run("sh", "-c", "command -v gcc cc c++ g++ make pip pip3 pkg-config || true")
    assert programs == "", programs
    headers = containers.run("sh", "-c", "find / -xdev -name '*.h' -not -path '/proc/*' 2>/dev/null | wc -l").strip()
    modules = "import importlib.util as u; print([m for m in ('pip', 'setuptools') if u.find_spec(m)])"
    assert containers.run("python", "-c", modules).strip() == "[]"
    say("no compiler, no pip; C headers", headers)


def nothing_is_writable(containers: Containers) -> None:
    find = "find / -xdev -writable -not -type l -not -path '/proc/*' -not -path '/dev/*' 2>/dev/null"
    loose = [each for each in RESTRICTED if each not in ("--read-only", "--tmpfs", "/tmp")]
    options = ["run", "--rm", "--network", "host", *loose, *RUN_OPTIONS, IMAGE]
    found = call(*options, "sh", "-c", find, check=False).stdout.split()
    assert set(found) <= {"/tmp", "/var/tmp", "/run/lock", "/etc/bytemark-sync"}, found
    say("what the user may write where the file system is not read-only", ", ".join(sorted(found)))
    read_only = call("run", "--rm", *containers.options(), IMAGE, "sh", "-c", "touch /etc/bytemark-sync/x", check=False)
    [refused] = [line for line in read_only.stderr.splitlines() if "Read-only" in line]
    say("read-only file system", refused)


def web(containers: Containers) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    name = containers.start(
        *("gunicorn", "project.wsgi", "--bind", f"127.0.0.1:{port}", "--threads", "4", "--worker-tmp-dir", "/dev/shm")
    )
    wait_for(lambda: status_of(f"{address}/livez") == 200, 60, "the web server answers")
    say("/livez", f"200 after {time.monotonic() - began:.1f} s")
    assert status_of(f"{address}/readyz") == 200
    with urllib.request.urlopen(f"{address}/admin/login/") as answer:
        page = answer.read().decode()
    sheets = [part.split('"')[0] for part in page.split('href="')[1:] if ".css" in part.split('"')[0]]
    scripts = [part.split('"')[0] for part in page.split('src="')[1:] if ".js" in part.split('"')[0]]
    assert sheets
    assert all(status_of(address + path) == 200 for path in sheets + scripts)
    say("/readyz, login page, its sheets and scripts", f"200, 200, {len(sheets)} and {len(scripts)} times 200")
    say("web server stopped by SIGTERM", f"status 0 after {stop(name):.1f} s")


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def health() -> None:
    """The default command without any network, and the image's own check in it."""
    name = call(
        "run", "--detach", "--network", "none", *RESTRICTED, *RUN_OPTIONS, "--env=SECRET_KEY=" + "x" * 40, IMAGE
    )
    started = name.stdout.strip()
    try:
        test = json.loads(call("image", "inspect", IMAGE).stdout)[0]
        check = (test.get("Healthcheck") or test["Config"]["Healthcheck"])["Test"][1:]
        wait_for(lambda: not call("exec", started, *check, check=False).returncode, 60, "the health check", every=0.5)
        say("health check of the default command, without a database", "status 0")
    finally:
        call("rm", "--force", started, check=False)


def a_run(containers: Containers, server: MariaDB, portal_url: str) -> None:
    """Through the queue, with a cluster that is stopped in the middle of its batches, and another that goes on."""
    port = str(free_port())
    options = ("--fill-portal", "--users", str(USERS), "--latency", "100", "--port", port)
    sandbox = containers.start(
        *("python", "manage.py", "bytemark_sandbox", *options), env={"DATABASE_URL": portal_url, "PORTAL_DATABASE": ""}
    )
    wait_for(lambda: "Bytemark sandbox at" in logs(sandbox), 60, "the sandbox serves", every=0.5)
    env = {
        "BYTEMARK_CUSTOMER_API_URL": f"http://127.0.0.1:{port}",
        **{"BYTEMARK_WORKERS": "2", "SYNC_BATCH_USERS": "10", "SYNC_HEARTBEAT_LIMIT": "12"},
    }
    told = containers.run("python", "manage.py", "sync_order_items", "--enqueue", "--json", env=env)
    run_id = int(json.loads(told.splitlines()[-1])["run_id"])
    for entrypoint, command in (("", ("python", "manage.py", "qcluster")), ("python", ("manage.py", "qcluster"))):
        stop_within_a_batch(containers, server, command, entrypoint, env)
    last = containers.start("python", "manage.py", "qcluster", env=env)
    status = f"SELECT status FROM bytemark_sync_run WHERE id = {run_id}"
    wait_for(lambda: rows(server, status)[0][0] not in ("queued", "running"), 120, "the run ends", every=0.5)
    assert rows(server, status) == [("succeeded",)], logs(last)
    assert items(server) == WORLD.expected_items()
    say("the run through the queue", f"succeeded, {len(items(server))} rows, exactly those that Bytemark lists")
    wait_for(lambda: "ready for work" in logs(last), 60, "the cluster is up", every=0.5)
    say(
        "SIGTERM to a cluster that rests, and to the sandbox",
        f"status 0 after {stop(last):.1f} and {stop(sandbox):.1f} s",
    )


def stop_within_a_batch(
    containers: Containers, server: MariaDB, command: tuple[str, ...], entrypoint: str, env: Mapping[str, str]
) -> None:
    name = containers.start(*command, entrypoint=entrypoint, env=env)
    first = call("exec", name, "cat", "/proc/1/cmdline").stdout.split("\0")[0]
    running = "SELECT id FROM bytemark_sync_batch WHERE status = 'running'"
    before = len(items(server))
    wait_for(lambda: len(rows(server, running)) > 1 and len(items(server)) > before, 120, "batches run", every=0.1)
    taken = {row[0] for row in rows(server, running)}
    seconds = stop(name)
    assert rows(server, running) == [], "a batch was left without an end"
    done = {row[0] for row in rows(server, "SELECT id FROM bytemark_sync_batch WHERE status = 'done'")}
    say(
        f"SIGTERM to PID 1 ({first}) of a cluster with {len(taken)} batches under way",
        f"status 0 after {seconds:.1f} s, {len(taken & done)} batches ended, none left running",
    )


def main() -> int:
    with places() as (server, env, portal_url):
        containers = Containers(env)
        try:
            contents(containers)
            nothing_is_writable(containers)
            health()
            began = time.monotonic()
            containers.run("python", "manage.py", "migrate", "-v0")
            say("migrate", f"{time.monotonic() - began:.1f} s")
            web(containers)
            a_run(containers, server, portal_url)
        finally:
            containers.end()
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
