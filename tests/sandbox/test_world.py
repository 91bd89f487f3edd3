"""The sample is the same everywhere, has every trouble, and says rightly what must be stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.sandbox import ExpectedItem, ListedItem, ListedOrder, PortalOrder, PortalToken, Rider, World
from bytemark_sync.sandbox.sample import NOISE, TROUBLES
from bytemark_sync.sandbox.wire import FORMS
from tests.support.harness import Finished, Portal, as_owner, finish, start_manage
from tests.support.servers import SandboxProcess


def test_the_same_seed_gives_the_same_world(tmp_path: Path) -> None:
    world = World.sample(users=30, trouble=0.5, seed=4)
    world.save(tmp_path / "world.json")
    assert World.load(tmp_path / "world.json") == world == World.sample(users=30, trouble=0.5, seed=4)
    assert world != World.sample(users=30, trouble=0.5, seed=5)


def test_a_sound_world_is_stored_whole() -> None:
    world = World.sample(users=50, orders_per_user=3, listed=(10, 60))
    assert len(world.pending()) == 150
    assert {item.order_id for item in world.expected_items()} == {order.id for order in world.pending()}
    assert world.expected_reasons() == {}
    assert all(10 <= len(rider.orders) <= 60 for rider in world.riders)


def test_a_troubled_world_has_every_trouble() -> None:
    world = World.sample(users=len(TROUBLES), trouble=1.0, accounts=True)
    assert {order.kind for order in world.orders} == {*TROUBLES, *NOISE, "listed"}
    reasons = Counter(world.expected_reasons().values())
    assert reasons == {
        Reason.NOT_FOUND: 1,
        Reason.NO_PASSES: 1,
        **dict.fromkeys((form.reason for form in FORMS.values()), 1),
        Reason.TOKEN_REJECTED: 6,
        Reason.NO_TOKEN: 3,
    }
    healed = Counter(world.expected_reasons(renewal=True).values())
    assert reasons - healed == {Reason.TOKEN_REJECTED: 3, Reason.NO_TOKEN: 3}
    kinds = {order.user_id: order.kind for order in world.orders}
    assert {kinds[user] for user in world.expected_renewals()} == {"all_stale", "no_token"}


def test_what_must_be_stored_written_out_by_hand() -> None:
    world = World(
        riders=[
            Rider(1, ["good"], [ListedOrder("AA", [ListedItem("p", ["x", "y", "x"]), ListedItem("q", ["z"])])]),
        ],
        orders=[
            PortalOrder(1, " aa", 1, "stale"),
            PortalOrder(2, "bb", 1, ""),
            PortalOrder(3, "cc", 2, "gone", amount="1.00"),
            PortalOrder(4, "dd", 1, "old", stored=[ListedItem("p", ["w"])]),
            PortalOrder(5, "ee", 3, "good"),
        ],
        tokens=[PortalToken(1, ""), PortalToken(1, "good"), PortalToken(2, "good")],
    )
    assert world.expected_items() == [
        ExpectedItem(1, " aa", "good", "p", "x"),
        ExpectedItem(1, " aa", "good", "p", "y"),
        ExpectedItem(1, " aa", "good", "q", "z"),
        ExpectedItem(4, "dd", "old", "p", "w"),
    ]
    assert world.expected_reasons() == {2: Reason.NOT_FOUND}


def test_a_great_many_rows_are_filled_in_bulk(portal: Portal) -> None:
    portal.fill_many(pending=9_000, stored=1_000)
    portal.fill_many(pending=10, first_user=5)
    assert portal.value("SELECT COUNT(*) FROM bytemark_orders") == 10_010
    assert portal.value("SELECT COUNT(*) FROM bytemark_order_items") == 1_000
    assert portal.value("SELECT COUNT(*) FROM bytemark_tokens") == 3_334 + 4
    per_user = portal.all("SELECT COUNT(*) FROM bytemark_orders WHERE user_id >= 1000000 GROUP BY user_id")
    assert {row[0] for row in per_user} <= {2, 3}


@pytest.mark.slow
def test_the_command_serves_a_saved_world_from_a_process_of_its_own(tmp_path: Path) -> None:
    world = World.sample(users=2, seed=9)
    with SandboxProcess(world, faults="status:status=500,times=1") as sandbox:
        sandbox.set_faults("status:status=503")
        assert sandbox.stats().requests == 0


@pytest.mark.slow
def test_the_command_fills_empty_tables_of_the_portal_and_no_others(portal: Portal) -> None:
    def start() -> str:
        options = ("--port", 0, "--users", 3, "--fill-portal")
        process = start_manage("bytemark_sandbox", *options, database_url=as_owner(portal.url))
        assert process.stdout is not None
        first, address = process.stdout.readline(), process.stdout.readline()
        process.terminate()
        assert finish(process).status == 0
        assert "http://127.0.0.1:" in address
        return first.strip()

    assert start() == "The portal's tables are filled."
    orders = [(order.id, order.order_uuid) for order in World.sample(users=3, accounts=True).orders]
    assert portal.all("SELECT id, order_uuid FROM bytemark_orders ORDER BY id") == orders
    assert start() == "The portal's tables hold rows already."
    assert portal.value("SELECT COUNT(*) FROM bytemark_orders") == len(orders)


def test_unusable_arguments_of_the_sandbox_end_with_status_2(run_manage: Callable[..., Finished]) -> None:
    for arguments in (["--faults", "nonsense"], ["--limit", "rate=x"], ["--world", "/nowhere.json"], ["--port", "x"]):
        done = run_manage("bytemark_sandbox", *arguments)
        assert done.status == 2, done.stderr
        assert "Traceback" not in done.stderr
