"""INSERTs cut by bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bytemark_sync.models import OrderToken
from bytemark_sync.sandbox import World
from bytemark_sync.storage.bulk_insert import insert
from tests.support.scenario import MakeScenario, add_user, listed
from tests.support.servers import MariaDB


@pytest.fixture
def small_packets(mariadb: MariaDB) -> Iterator[int]:
    """Bytes of the largest statement that the server takes from new connections."""
    ((before,),) = mariadb.all("SELECT @@GLOBAL.max_allowed_packet")
    size = 32 * 1024
    yield size
    mariadb.execute(f"SET GLOBAL max_allowed_packet = {before}")


@pytest.mark.server
def test_inserts_are_cut_by_bytes_and_a_row_that_fits_none_is_its_orders_problem(
    mariadb_scenario: MakeScenario, mariadb: MariaDB, small_packets: int
) -> None:
    world = World()
    add_user(world, 7, [listed("wide", *(f"pass-{n}" for n in range(100))), listed("o2")])
    world.riders[0].tokens = ["long-" + "x" * 3000]
    add_user(world, 8, [listed("huge"), listed("fits", "p8")])
    # Written with a backslash before each quote, so larger in the statement than in the row.
    world.riders[1].tokens = ["'" * 20_000]
    add_user(world, 9, [listed(f"o9-{n}") for n in range(300)])
    for rider in world.riders[:2]:
        for order in world.orders:
            if order.user_id == rider.user_id:
                order.oauth_token = rider.tokens[0]
        next(row for row in world.tokens if row.user_id == rider.user_id).token = rider.tokens[0]
    at = mariadb_scenario(world)
    mariadb.execute(f"SET GLOBAL max_allowed_packet = {small_packets}")
    huge = {order.id for order in world.orders if order.user_id == 8}
    for _ in range(2):
        done = at.sync("--json", env={"BYTEMARK_PAGE_SIZE": "1000"})
        assert (done.status, done.json["status"], done.json["orders_invalid"]) == (0, "succeeded", 2), done.stderr
        assert at.portal.items() == [item for item in world.expected_items() if item.order_id not in huge]
        assert at.portal.reasons() == dict.fromkeys(huge, "malformed")
        details = {detail for (detail,) in at.portal.all("SELECT detail FROM bytemark_sync_outcome")}
        assert len(details) == 1
        assert "1153" in details.pop()
    mariadb.execute("SET GLOBAL max_allowed_packet = 16777216")
    at.settle()


@pytest.mark.django_db
def test_rows_are_inserted_in_their_order_and_none_is_no_statement(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        insert([])
    insert([OrderToken(user_id=user_id, token="made-up") for user_id in (3, 1, 2)])
    assert list(OrderToken.objects.order_by("pk").values_list("user_id", flat=True)) == [3, 1, 2]
