"""The whole product as people meet it: web server, cluster and a Bytemark of its own, each a real process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from bytemark_sync.sandbox import World
from tests.support.children import spawn
from tests.support.harness import Portal, finish, manage, places, sqlite_url, start_manage
from tests.support.servers import ROOT, SandboxProcess, clean_environment, free_port, wait_for

PASSWORD = "a-made-up-password"
PEOPLE = ("viewer", "operator", "manager", "superuser")
SETUP = f"""
from django.contrib.auth.models import Group, User
from tests.support.admin_data import fill
for name in {PEOPLE!r}:
    root = name == "superuser"
    user = User.objects.create_user(name, password={PASSWORD!r}, is_staff=True, is_superuser=root)
    if not root:
        user.groups.add(Group.objects.get(name=name))
fill(days=30)
"""


@dataclass(frozen=True)
class Site:
    url: str
    portal: Portal
    bytemark: SandboxProcess


@contextmanager
def site(folder: Path, *, users: int = 24, latency: float = 0.15) -> Iterator[Site]:
    """Sample riders that a run finds, behind a month of history whose riders no longer get in."""
    database = sqlite_url(folder / "portal.sqlite3")
    port = free_port()
    world = World.sample(users=users, listed=(10, 30), trouble=0.2)
    with SandboxProcess(world, latency=latency) as bytemark:
        env = {
            "DEBUG": "0",
            "SECRET_KEY": "made-up-but-long-and-with-many-different-letters-0123456789",
            "ALLOWED_HOSTS": "127.0.0.1",
            "BYTEMARK_CUSTOMER_API_URL": bytemark.url,
            "BYTEMARK_WORKERS": "2",
            "SYNC_BATCH_USERS": "10",
        }
        _prepare(database, env, world)
        portal = Portal(database)
        web = start_web(port, database, env, folder)
        with (folder / "cluster.log").open("w") as log:
            cluster = start_manage("qcluster", database_url=database, env=env, stdout=log, stderr=log)
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/admin/login/"), 30, "the web server answers")
            wait_for(lambda: bool(portal.all("SELECT 1 FROM bytemark_sync_cluster")), 30, "the cluster is alive")
            yield Site(f"http://127.0.0.1:{port}", portal, bytemark)
        finally:
            web.terminate()
            cluster.terminate()
            web.wait(20)
            finish(cluster, 30)


def _prepare(database: str, env: Mapping[str, str], world: World) -> None:
    for command in (("migrate", "-v0"), ("shell", "-v0", "-c", SETUP)):
        done = manage(*command, database_url=database, env=env)
        assert done.status == 0, done.stderr
    # The history has keys of its own, so the riders' rows come behind it.
    highest = int(Portal(database).value("SELECT MAX(id) FROM bytemark_orders"))
    for order in world.orders:
        order.id += highest
    Portal(database).fill(world)


def start_web(
    port: int, database: str, env: Mapping[str, str], folder: Path, *, threads: int = 4
) -> subprocess.Popen[str]:
    """gunicorn, with a log in `folder`."""
    program = Path(sys.executable).with_name("gunicorn")
    command: list[str | Path] = [
        *(program, "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", str(threads)),
        *("--no-control-socket", "project.wsgi"),
    ]
    with (folder / "web.log").open("w") as log:
        environment = clean_environment(places(database) | dict(env))
        return spawn(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def answers(url: str) -> bool:
    """Whether a page is served there, with status 200."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False
