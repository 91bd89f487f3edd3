"""The admin over a big portal: the dashboard, and every list under every filter."""

from __future__ import annotations

from tests.benchmark.harness import Harness, fill_bulk
from tests.benchmark.pages import FIRST, LATER, REFERENCE_SECONDS, RUNS, is_late
from tests.benchmark.report import Row, Section
from tests.support.harness import Portal

SHOWN = 12
FEW = 5_000
"""Of so many pending orders one is left, for the portal in its daily life: few are pending, far apart."""


def pages(harness: Harness, quick: bool) -> Section:
    """A backlog (half of all orders are pending) and the daily life behind it."""
    orders = 100_000 if quick else 1_000_000
    with harness.portal() as portal:
        fill_bulk(portal, orders // 2, stored=orders // 2, orders_per_user=3)
        _fill_story(portal, orders)
        backlog = _opened(harness, portal)
        _work_off(portal, orders)
        daily = _opened(harness, portal, "Dashboard", "Pending orders", "Riders")
    found = backlog | {f"{name}, few pending": times for name, times in daily.items()}
    slower = max(1.0, min(each["reference"] for each in found.values()) / REFERENCE_SECONDS)
    note = (
        f"{orders:,} orders, half of them pending with a reason and half stored; then the same with {FEW:,} times fewer"
        f" pending. {len(found)} pages: the dashboard, and every list of the admin without a filter and with each value"
        " of each filter, and the question before each resync; time in the server, without a browser. The first time is"
        " that of a process that has opened no list before. The best of several openings counts, and the targets are"
        f" {FIRST * 1000:.0f} ms the first time and {LATER * 1000:.0f} ms after it, on a machine that gives a page"
        f" without any list in {REFERENCE_SECONDS * 1000:.1f} ms; in this run that page took"
        f" {slower * REFERENCE_SECONDS * 1000:.1f} ms. The slowest pages are listed."
    )
    return Section("Admin pages", note, _rows(found, slower))


def _rows(found: dict[str, dict[str, float]], slower: float) -> list[Row]:
    late = {name for name, times in found.items() if is_late(times, slower)}
    slowest = sorted(found, key=lambda name: max(found[name]["first"] / FIRST, found[name]["later"] / LATER))[::-1]
    target = f"<= {FIRST * slower * 1000:.0f}, {LATER * slower * 1000:.0f} ms"
    shown = [name for number, name in enumerate(slowest) if number < SHOWN or name in late]
    rows = [
        Row(
            name,
            f"{found[name]['first'] * 1000:.0f} ms first, then {found[name]['later'] * 1000:.0f} ms",
            target,
            name not in late,
        )
        for name in shown
    ]
    return [*rows, Row(f"The other {len(found) - len(shown)} pages", "faster", target, True)]


def _opened(harness: Harness, portal: Portal, *names: str) -> dict[str, dict[str, float]]:
    env = {"ALLOWED_HOSTS": "testserver"}
    cost = harness.run(portal, "http://127.0.0.1:9", "-m", "tests.benchmark.pages", *names, env=env)
    found: dict[str, dict[str, float]] = cost.json
    return found


def _fill_story(portal: Portal, orders: int) -> None:
    """What runs would have left: when orders were stored, why the others are pending, and what audits found.

    Some reasons are rare and old, and a few orders were never tried: those filters match few rows, far apart.
    """
    half = orders // 2
    portal.execute(
        "INSERT INTO bytemark_sync_stored_order (order_id, user_id, stored_at, items, run_id)"
        f" SELECT id, user_id, NOW(6) - INTERVAL MOD(id, 40) DAY, 1, 1 + MOD(id, {RUNS})"
        " FROM bytemark_orders WHERE id <= %s",
        half,
    )
    common = "ELT(1 + MOD(id, 3), 'not_found', 'no_passes', 'token_rejected')"
    rare = "ELT(1 + MOD(id, 30000), 'malformed', 'no_token', 'api_error')"
    reason = f"COALESCE({rare}, {common})"
    portal.execute(
        "INSERT INTO bytemark_sync_outcome"
        " (order_id, user_id, reason, detail, attempts, first_at, last_at, next_at, deferred_days, tokens, last_run_id)"
        f" SELECT id, user_id, {reason}, 'words', 1, NOW(6) - INTERVAL MOD(id, 40) DAY, NOW(6),"
        f" IF(MOD(id, 5), NULL, NOW(6) + INTERVAL 1 DAY), 1, '', 1 + MOD(id, {RUNS})"
        " FROM bytemark_orders WHERE id > %s",
        half + 20,
    )
    portal.execute(
        "INSERT INTO bytemark_sync_attempt (order_id, at, reason, detail, run_id)"
        f" SELECT id, NOW(6) - INTERVAL MOD(id, 40) DAY, {reason}, 'words', 1 + MOD(id, {RUNS})"
        " FROM bytemark_orders WHERE id > %s",
        half + 20,
    )
    portal.execute(
        "INSERT INTO bytemark_sync_audit_finding (order_id, user_id, kind, pass_uuid, detail, repaired, at, run_id)"
        " SELECT id, user_id, IF(id < 20, 'stored_twice', 'pass_missing'), '', 'words', id < 20, NOW(6), 4"
        " FROM bytemark_orders WHERE id <= %s",
        orders // 5,
    )
    _analyse(portal)


def _work_off(portal: Portal, orders: int) -> None:
    """All but a few of the pending orders are stored."""
    done = f"id > {orders // 2} AND MOD(id, {FEW})"
    portal.execute(
        "INSERT INTO bytemark_order_items (order_id, order_uuid, oauth_token, product_uuid, pass_uuid)"
        f" SELECT id, order_uuid, oauth_token, 'product-1', CONCAT('pass-', id) FROM bytemark_orders WHERE {done}"
    )
    portal.execute(
        "INSERT INTO bytemark_sync_stored_order (order_id, user_id, stored_at, items)"
        f" SELECT id, user_id, NOW(6), 1 FROM bytemark_orders WHERE {done}"
    )
    portal.execute(f"DELETE FROM bytemark_sync_outcome WHERE MOD(order_id, {FEW})")
    _analyse(portal)


def _analyse(portal: Portal) -> None:
    """The server counts its rows anew, as it does by itself after a while."""
    for (table,) in portal.all("SHOW TABLES"):
        portal.all(f"ANALYZE TABLE {table}")
