"""docs/contract.md#one-place: a portal that stands already is adopted, and nothing in it is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bytemark_sync.sandbox import ListedItem, PortalOrder, Sandbox, World
from bytemark_sync.sandbox.sample import TROUBLES
from tests.support.harness import Portal, manage, sqlite_url, unique_name
from tests.support.scenario import Scenario, add_user, listed
from tests.support.servers import Databases

TABLES = ("bytemark_orders", "bytemark_tokens", "bytemark_order_items")

OLD = (
    """CREATE TABLE bytemark_orders (
        id INT UNSIGNED NOT NULL AUTO_INCREMENT, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
        order_uuid VARCHAR(64) NOT NULL DEFAULT '', user_id INT NOT NULL DEFAULT 0, total DECIMAL(8,2) NULL,
        oauth_token VARCHAR(255) NULL, amount VARCHAR(16) NULL, raw MEDIUMTEXT NULL,
        PRIMARY KEY (id)) ENGINE=InnoDB DEFAULT CHARSET=latin1""",
    """CREATE TABLE bytemark_tokens (
        id INT NOT NULL AUTO_INCREMENT, user_id INT NOT NULL, email VARCHAR(191) NULL, password VARCHAR(191) NULL,
        token TEXT NULL, status VARCHAR(9) NULL, PRIMARY KEY (id), UNIQUE KEY email (email)
        ) ENGINE=InnoDB DEFAULT CHARSET=latin1""",
    """CREATE TABLE bytemark_order_items (
        id INT NOT NULL AUTO_INCREMENT, order_id INT NOT NULL, order_uuid VARCHAR(64) NOT NULL,
        oauth_token VARCHAR(255) NOT NULL, product_uuid VARCHAR(64) NOT NULL, pass_uuid VARCHAR(36) NOT NULL,
        created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, note VARCHAR(20) NULL,
        PRIMARY KEY (id)) ENGINE=InnoDB DEFAULT CHARSET=latin1""",
)
NEW = (
    """CREATE TABLE bytemark_orders (
        id INT NOT NULL AUTO_INCREMENT, order_uuid CHAR(36) NULL, user_id BIGINT NULL, oauth_token TEXT NULL,
        amount VARCHAR(255) NULL, extra JSON NULL, PRIMARY KEY (id), KEY users (user_id), KEY uuids (order_uuid)
        ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin""",
    """CREATE TABLE bytemark_tokens (
        id INT NOT NULL AUTO_INCREMENT, user_id BIGINT NOT NULL, token TEXT NULL, status VARCHAR(20) NULL,
        PRIMARY KEY (id), KEY users (user_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin""",
    """CREATE TABLE bytemark_order_items (
        id INT NOT NULL AUTO_INCREMENT, order_id INT NOT NULL, order_uuid CHAR(36) NULL, oauth_token TEXT NULL,
        product_uuid VARCHAR(255) NULL, pass_uuid VARCHAR(255) NULL, PRIMARY KEY (id), UNIQUE KEY pass (pass_uuid),
        KEY orders (order_id), CONSTRAINT items_of FOREIGN KEY (order_id) REFERENCES bytemark_orders (id)
        ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci""",
)


@pytest.fixture
def old_portal(server: Databases) -> Iterator[Portal]:
    """A database of the Node services in latin1, ids as INT, and no index that a query could lean on."""
    yield from _portal(server, "latin1", OLD)


@pytest.fixture
def new_portal(server: Databases) -> Iterator[Portal]:
    """One in utf8mb4 with a case-sensitive collation, a unique key on passes and foreign keys of its own."""
    yield from _portal(server, "utf8mb4", NEW)


def _portal(server: Databases, charset: str, tables: tuple[str, ...]) -> Iterator[Portal]:
    portal = Portal(server.create_database(unique_name(), charset))
    for statement in tables:
        portal.execute(statement)
    yield portal
    server.drop(portal.url)


def definitions(portal: Portal) -> list[str]:
    if portal.is_sqlite:
        return [
            str(row)
            for row in portal.all(
                "SELECT name, sql FROM sqlite_master WHERE tbl_name LIKE 'bytemark_%s' "
                "AND tbl_name NOT LIKE 'bytemark_sync%s'".replace("%s", "%")
            )
        ]
    return [portal.all(f"SHOW CREATE TABLE {table}")[0][1] for table in TABLES]


def without_counters(texts: list[str]) -> list[str]:
    """`AUTO_INCREMENT=n` grows with each row."""
    return [" ".join(part for part in text.split(" ") if not part.startswith("AUTO_INCREMENT=")) for text in texts]


def adopt(portal: Portal) -> None:
    before = definitions(portal)
    done = manage("migrate", "--fake-initial", "-v0", database_url=portal.url)
    assert done.status == 0, done.stderr
    assert definitions(portal) == before


def scenario_at(portal: Portal, world: World, sandbox: Callable[..., Sandbox]) -> Scenario:
    at = Scenario(portal.url, world, sandbox(world))
    at.portal.fill(world)
    return at


def malformed(at: Scenario, *uuids: str) -> None:
    """Expect these orders to be left as malformed, alone."""
    ids = {order.id for order in at.world.orders if order.order_uuid in uuids}
    assert at.portal.reasons() == dict.fromkeys(ids, "malformed")
    assert at.portal.items() == [item for item in at.world.expected_items() if item.order_id not in ids]


def test_an_old_portal_is_adopted_and_a_value_that_does_not_fit_is_its_orders_problem_alone(
    old_portal: Portal, sandbox: Callable[..., Sandbox]
) -> None:
    world = World()
    # What the columns cannot hold: a pass of 58 characters, an emoji in latin1. Their neighbours are stored.
    add_user(world, 7, [listed("o1", "p1"), listed("long", "fine", "x" * 58), listed("o2", "p2")])
    add_user(world, 8, [listed("emoji", "pass-😀"), listed("latin", "pass-é"), listed("product", product="y" * 65)])
    for user in range(20, 30):
        add_user(world, user, [listed(f"o{user}-{n}") for n in range(3)])
    at = scenario_at(old_portal, world, sandbox)
    adopt(old_portal)
    before = without_counters(definitions(old_portal))

    done = at.sync("--json")
    assert (done.status, done.json["status"], done.json["users_failed"]) == (0, "succeeded", 0), done.stderr
    assert (done.json["orders_synced"], done.json["orders_invalid"]) == (33, 3)
    assert done.json["items_created"] == len(at.portal.items())
    malformed(at, "long", "emoji", "product")
    details = dict(at.portal.all("SELECT order_id, detail FROM bytemark_sync_outcome"))
    assert "pass_uuid" in details[2]
    assert all("x" * 30 not in detail and "😀" not in detail for detail in details.values())
    assert old_portal.value("SELECT COUNT(*) FROM bytemark_order_items WHERE created_at IS NULL") == 0

    again = at.sync("--json")
    assert (again.json["orders"], again.json["orders_synced"], again.json["items_created"]) == (3, 0, 0)
    malformed(at, "long", "emoji", "product")
    assert at.portal.all("SELECT DISTINCT attempts FROM bytemark_sync_outcome") == [(2,)]
    # Named with what latin1 cannot hold, nothing matches and nothing fails.
    assert at.sync("--order", "😀", "--order", "O1").status == 0
    assert without_counters(definitions(old_portal)) == before

    checked = manage("check", "--database", "default", database_url=old_portal.url)
    assert checked.status == 0
    for words in ("bytemark_sync.W001", "bytemark_sync.W002", "order_id", "user_id"):
        assert words in checked.stderr
    # Once the portal's owners widen their column, the order is stored.
    old_portal.execute("ALTER TABLE bytemark_order_items MODIFY pass_uuid VARCHAR(255) NOT NULL")
    assert at.sync("--json").json["orders_synced"] == 1
    malformed(at, "emoji", "product")


def test_a_portal_with_a_unique_key_is_adopted_and_the_key_refuses_one_order_alone(
    new_portal: Portal, sandbox: Callable[..., Sandbox]
) -> None:
    world = World()
    add_user(
        world,
        7,
        [listed("Order-1", "p1", "p2"), listed("taken", "p3", "old-pass"), listed("o2", "p4")],
        wanted=["ORDER-1", "taken", "o2"],
    )
    world.orders.append(PortalOrder(9, "stored", 7, "key-7", stored=[ListedItem("product-1", ["old-pass"])]))
    at = scenario_at(new_portal, world, sandbox)
    adopt(new_portal)
    before = without_counters(definitions(new_portal))
    done = at.sync("--json")
    assert (done.status, done.json["orders_synced"], done.json["orders_invalid"]) == (0, 2, 1), done.stderr
    malformed(at, "taken")
    assert "old-pass" not in str(at.portal.all("SELECT detail FROM bytemark_sync_outcome"))
    assert at.sync("--json", "--order", "order-1").status == 0  # nothing pending of that name any more
    at.sync()
    malformed(at, "taken")
    assert without_counters(definitions(new_portal)) == before
    checked = manage("check", "--database", "default", database_url=new_portal.url)
    assert (checked.status, "W001" in checked.stderr, "W002" in checked.stderr) == (0, False, False)


def test_the_products_own_tables_have_no_foreign_key_towards_the_portal(server_url: str) -> None:
    """Nor does any other key cross the two databases."""
    portal = Portal(server_url)
    found = portal.all(
        "SELECT table_name FROM information_schema.key_column_usage WHERE table_schema IN (%s, %s)"
        " AND (referenced_table_name LIKE 'bytemark%%' AND referenced_table_name NOT LIKE 'bytemark_sync%%'"
        " OR referenced_table_schema <> table_schema)",
        *(portal.name, portal.portal_database),
    )
    assert found == []


@pytest.mark.slow
def test_a_portal_in_sqlite_is_adopted_too(tmp_path: Path, sandbox: Callable[..., Sandbox]) -> None:
    portal = Portal(sqlite_url(tmp_path / "portal.sqlite3"))
    portal.execute(
        "CREATE TABLE bytemark_orders (id INTEGER PRIMARY KEY, more TEXT, order_uuid TEXT, user_id INT, "
        "oauth_token TEXT, amount TEXT)"
    )
    portal.execute("CREATE TABLE bytemark_tokens (id INTEGER PRIMARY KEY, user_id INT, token TEXT, status INT, e TEXT)")
    portal.execute(
        "CREATE TABLE bytemark_order_items (id INTEGER PRIMARY KEY, order_id INT, order_uuid TEXT, "
        "oauth_token TEXT, product_uuid TEXT, pass_uuid TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP)"
    )
    world = World.sample(users=len(TROUBLES), listed=(3, 5), trouble=1.0)
    at = scenario_at(portal, world, sandbox)
    adopt(portal)
    at.sync()
    at.settle()


@pytest.mark.parametrize("backend", ["sqlite", "mariadb"])
def test_migrate_without_fake_initial_on_a_portal_ends_in_words_and_harms_nothing(
    backend: str, new_portal: Portal, tmp_path: Path
) -> None:
    portal = new_portal
    if backend == "sqlite":
        portal = Portal(sqlite_url(tmp_path / "p.sqlite3"))
        portal.execute(
            "CREATE TABLE bytemark_orders (id INTEGER PRIMARY KEY, order_uuid TEXT, user_id INT, "
            "oauth_token TEXT, amount TEXT)"
        )
        portal.execute("CREATE TABLE bytemark_tokens (id INTEGER PRIMARY KEY, user_id INT, token TEXT, status INT)")
        portal.execute(
            "CREATE TABLE bytemark_order_items (id INTEGER PRIMARY KEY, order_id INT, order_uuid TEXT, "
            "oauth_token TEXT, product_uuid TEXT, pass_uuid TEXT)"
        )
    before = definitions(portal)
    done = manage("migrate", "-v0", database_url=portal.url)
    assert done.status == 1
    assert "Traceback" not in done.stderr
    assert "--fake-initial" in done.stderr
    adopt(portal)
    assert definitions(portal) == before
