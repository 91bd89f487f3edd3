"""`make release-fixture`: keeps a database as this version leaves it, with work under way, for the upgrade tests.

Everything in it was made by the product itself, on SQLite, with made-up riders: a run of the command and an audit that
ended, a command and a cluster that were killed in the middle, and a run that waits to be planned.
"""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

from bytemark_sync import __version__
from bytemark_sync.sandbox import World
from tests.support.clusters import Cluster
from tests.support.harness import Portal, manage, sqlite_url, start_manage
from tests.support.servers import SandboxProcess, wait_for
from tests.upgrade.release import FOLDER, SETTINGS, keep

STAFF = """
from django.contrib.auth.models import Group, User
user = User.objects.create_user("ada", is_staff=True)
user.groups.add(Group.objects.get(name="operator"))
"""
OUT_OF_TIME = """
from bytemark_sync.models import SyncBatch
from bytemark_sync.queue import batches
batches.time_limit = lambda: 1.0
batches.work_batch(SyncBatch.objects.filter(status="queued").earliest("number").pk)
"""
OF_COMMAND, OF_CLUSTER = 4, 32
"""Riders up to the first: of the command that is killed. Up to the second: of the run in the cluster, too.

The others are those of the run that waits. Before, a rider of each kind was in the run that ended.
"""


def world() -> World:
    return World.sample(users=60, orders_per_user=2, listed=(2, 5), seed=1, trouble=0.6, accounts=True)


def make(folder: Path) -> None:
    riders = world()
    url = sqlite_url(folder / "release.sqlite3")
    portal = Portal(url)
    with SandboxProcess(riders, latency=0.3, options=["--limit", "rate=40,burst=8"]) as bytemark:
        env = SETTINGS | {
            "BYTEMARK_CUSTOMER_API_URL": bytemark.url,
            "BYTEMARK_ACCOUNT_API_URL": bytemark.url,
            "BYTEMARK_WORKERS": "2",
            "SYNC_BATCH_USERS": "2",
        }

        def run(*args: object, statuses: tuple[int, ...] = (0,), workers: int = 16) -> None:
            done = manage(*args, database_url=url, env=env | {"BYTEMARK_WORKERS": str(workers)})
            assert done.status in statuses, done.stderr

        run("migrate", "-v0")
        run("shell", "-v0", "-c", STAFF)
        portal.fill(riders)
        first = {order.kind: order.user_id for order in reversed(riders.pending())}.values()
        users = sorted({order.user_id for order in riders.pending()}.difference(first))
        run("sync_order_items", *(f"--user={user}" for user in first), statuses=(1,))
        _lose_a_pass(portal)
        run("audit_order_items", "--repair", statuses=(1,))
        _kill_a_command(url, env, users[:OF_COMMAND], portal)
        run("sync_order_items", "--enqueue", *(f"--user={user}" for user in users[:OF_CLUSTER]))
        _kill_a_cluster(folder, url, env, portal)
        run("shell", "-v0", "-c", OUT_OF_TIME, workers=1)
        run("sync_order_items", "--enqueue", *(f"--user={user}" for user in users[OF_CLUSTER:]))
    assert portal.value("SELECT COUNT(DISTINCT state) FROM bytemark_sync_login") == 2  # renewed, and refused
    assert portal.value("SELECT COUNT(*) FROM bytemark_sync_batch WHERE bookmarks <> '{}'")  # lists half read
    _name_no_machine(portal)
    keep(portal, riders, FOLDER / __version__)


def _lose_a_pass(portal: Portal) -> None:
    """Something that the audit finds and mends: an order that lacks one of its passes."""
    order = portal.value("SELECT order_id FROM bytemark_order_items GROUP BY order_id HAVING COUNT(*) > 1")
    portal.execute(
        "DELETE FROM bytemark_order_items WHERE id = (SELECT MAX(id) FROM bytemark_order_items WHERE order_id = %s)",
        order,
    )


def _kill_a_command(url: str, env: dict[str, str], users: list[int], portal: Portal) -> None:
    command = start_manage("sync_order_items", *(f"--user={user}" for user in users), database_url=url, env=env)
    wait_for(lambda: portal.runs()[-1]["orders"] > 0 and portal.runs()[-1]["status"] == "running", 60, "it works")
    command.kill()
    command.communicate()
    assert portal.runs()[-1]["status"] == "running"


def _kill_a_cluster(folder: Path, url: str, env: dict[str, str], portal: Portal) -> None:
    """While batches of every state are there."""
    with Cluster(folder, url, env) as cluster:
        states = "SELECT COUNT(DISTINCT status || (queued_at IS NULL)) FROM bytemark_sync_batch"
        wait_for(lambda: portal.value(states) == 4, 60, "batches are done, running, in the broker and waiting")
        cluster.kill()
    assert portal.value(states) == 4
    assert portal.value("SELECT COUNT(*) FROM django_q_ormq") > 0


def _name_no_machine(portal: Portal) -> None:
    portal.execute("UPDATE bytemark_sync_run SET host = 'a-machine', pid_space = 'its boot' WHERE pid IS NOT NULL")
    portal.execute("UPDATE bytemark_sync_run SET requested_by = 'somebody' WHERE trigger = 'command'")
    portal.execute("UPDATE bytemark_sync_cluster SET name = 'a-machine:1'")
    here = f'"{socket.gethostname()}:'
    portal.execute("UPDATE bytemark_sync_pace SET state = REPLACE(state, %s, '\"a-machine:')", here)
    assert here not in portal.dump()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bytemark-release-") as made:
        make(Path(made))
    for path in sorted((FOLDER / __version__).iterdir()):
        print(f"{path.relative_to(FOLDER.parent.parent.parent)}: {path.stat().st_size / 1024:.0f} KiB")
