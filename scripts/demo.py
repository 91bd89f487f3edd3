"""`make demo`: sample orders in a SQLite file, a local Bytemark, and the real command between them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

from demo_folder import (
    CLIENT_ID,
    DATABASE,
    DEMO,
    FAULTS,
    ROOT,
    WORLD,
    bytemark,
    environment,
    free_port,
    is_serving,
    manage,
)

sys.path.insert(0, str(ROOT))
from bytemark_sync.sandbox import SandboxControl, World
from bytemark_sync.sandbox.portal_rows import inserts
from bytemark_sync.sandbox.request_counts import fingerprint

USERS, ORDERS_PER_USER, TROUBLE, SEED = 120, 3, 0.3, 7
DOWN_FOR = 1003  # Bytemark has lasting trouble with this rider


def main() -> int:
    if is_serving():
        print("make serve is running on the demo's data. Stop it with Ctrl-C first.", file=sys.stderr)
        return 1
    again = DATABASE.exists()
    prepare()
    print(f"{'Started anew' if again else 'Sample data'} in {DEMO.name}/: {USERS} users with pending orders.")
    print("Some orders are not listed or have no passes; a few requests fail now and then.")
    port = free_port()
    sandbox = start_sandbox(port)
    control = SandboxControl(f"http://127.0.0.1:{port}")
    try:
        expired = riders_without_a_token_that_works(control)
        print(f"{len(expired)} riders have no token that Bytemark still takes.\n")
        print("$ manage.py sync_order_items", flush=True)
        status = manage("sync_order_items", env=environment(**bytemark(port)))
        healed = expired - riders_without_a_token_that_works(control)
    finally:
        sandbox.terminate()
        sandbox.wait()
    if status not in (0, 1):
        print(f"The command ended with exit status {status}.", file=sys.stderr)
        return status
    print(f"\nExit status {status}" + (": some users failed, on purpose.\n" if status else ".\n"))
    exact = show_stored()
    show_healed(expired, healed)
    print("\nOpen the admin:  make serve")
    return 0 if exact else 1


def prepare() -> None:
    """A fresh database with the portal's tables, filled; the world as a file for the sandbox."""
    DEMO.mkdir(exist_ok=True)
    for path in DEMO.glob(f"{DATABASE.name}*"):
        path.unlink()
    if manage("migrate", "-v0", "--skip-checks", env=environment()):
        raise SystemExit("migrate failed")
    world = World.sample(USERS, ORDERS_PER_USER, listed=(5, 40), seed=SEED, trouble=TROUBLE, accounts=True)
    world.save(WORLD)
    FAULTS.write_text(
        json.dumps(
            [
                {"kind": "status", "status": 500, "users": [DOWN_FOR]},
                {"kind": "status", "status": 502, "probability": 0.03},
                {"kind": "latency", "jitter": 0.03},
            ]
        )
    )
    with closing(sqlite3.connect(DATABASE)) as connection, connection:
        for statement, rows in inserts(world):
            connection.executemany(statement.replace("%s", "?"), rows)


def start_sandbox(port: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "manage.py"), "bytemark_sandbox", "--port", str(port), "--latency", "20"]
    command += ["--seed", str(SEED), "--world", str(WORLD), "--faults", f"@{FAULTS}", "--client-id", CLIENT_ID]
    sandbox = subprocess.Popen(command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if not sandbox.stdout or "http://" not in sandbox.stdout.readline():
        sandbox.kill()
        raise SystemExit("The local Bytemark did not start.")
    return sandbox


def show_stored() -> bool:
    """A few rows, and whether all are exactly what the sample must give."""
    world = World.load(WORLD)
    expected = [item for item in world.expected_items(renewal=True) if not _is_down(world, item.order_id)]
    columns = "order_id, order_uuid, oauth_token, product_uuid, pass_uuid"
    with closing(sqlite3.connect(DATABASE)) as connection:
        query = f"SELECT {columns} FROM bytemark_order_items ORDER BY id"  # noqa: S608 - the columns are written above
        rows = connection.execute(query).fetchall()
    print("bytemark_order_items:")
    print(f"  {'order':>5}  {'order_uuid':36}  {'oauth_token':11}  {'product_uuid':36}  pass_uuid")
    for order_id, order_uuid, _token, product, pass_uuid in rows[-5:]:
        print(f"  {order_id:>5}  {order_uuid.strip():36}  {'(hidden)':11}  {product:36}  {pass_uuid}")
    exact = sorted(rows) == sorted(map(tuple, expected))
    verdict = "exactly those that Bytemark lists, each once" if exact else f"BUT {len(expected)} were expected"
    print(f"  {len(rows)} rows, {verdict}")
    return exact


def riders_without_a_token_that_works(control: SandboxControl) -> set[int]:
    """By the rows of `bytemark_tokens`, and what the local Bytemark says of them."""
    states = control.tokens()
    rows = token_rows()
    works = {user for user, token in rows if (state := states.get(fingerprint(token))) and state.works}
    return {user for user, _ in rows} - works


def token_rows() -> list[tuple[int, str]]:
    with closing(sqlite3.connect(DATABASE)) as connection:
        return connection.execute("SELECT user_id, token FROM bytemark_tokens ORDER BY id").fetchall()


def show_healed(expired: set[int], healed: set[int]) -> None:
    """Which tokens work again. The world is saved with them, for the local Bytemark of `make serve`."""
    print("\nbytemark_tokens:")
    for user in sorted(healed)[:3]:
        print(f"  rider {user}: the token had expired or was missing; signed in anew, and the row holds the new one")
    left = len(expired - healed)
    print(f"  {len(healed)} riders healed; {left} cannot sign in, for the portal holds a wrong password")
    world = World.load(WORLD)
    held = dict(row for row in token_rows() if row[1])
    for rider in world.riders:
        if rider.user_id in healed:
            rider.tokens = [held[rider.user_id]]
    world.save(WORLD)


def _is_down(world: World, order_id: int) -> bool:
    return world.orders[order_id - 1].user_id == DOWN_FOR


if __name__ == "__main__":
    sys.exit(main())
