"""System checks of the portal's tables and of the settings: `manage.py check --database default`."""

from __future__ import annotations

import re

import pytest

from tests.support.harness import Finished, Portal, drop_indexes, manage, with_option

COLUMNS = [
    ("bytemark_orders", "order_uuid"),
    ("bytemark_orders", "user_id"),
    ("bytemark_orders", "oauth_token"),
    ("bytemark_orders", "amount"),
    ("bytemark_tokens", "user_id"),
    ("bytemark_tokens", "token"),
    ("bytemark_order_items", "order_id"),
    ("bytemark_order_items", "order_uuid"),
    ("bytemark_order_items", "oauth_token"),
    ("bytemark_order_items", "product_uuid"),
    ("bytemark_order_items", "pass_uuid"),
]


RENEWAL = {"BYTEMARK_ACCOUNT_API_URL": "http://127.0.0.1:9", "BYTEMARK_CLIENT_ID": "made-up"}


def check(url: str, **env: str | None) -> Finished:
    api = {"BYTEMARK_CUSTOMER_API_URL": "http://127.0.0.1:9"} | env
    done = manage("check", "--database", "default", database_url=url, env=api)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_migrated_database_has_nothing_to_tell(database_url: str) -> None:
    done = check(database_url)
    assert (done.status, done.stderr) == (0, "")


@pytest.mark.parametrize(("offset", "told"), [(90, "behind"), (-90, "ahead of"), (5, "")])
def test_a_clock_that_is_not_the_databases_is_a_warning(server_url: str, offset: int, told: str) -> None:
    url = with_option(server_url, f"init_command=SET%20timestamp%3DUNIX_TIMESTAMP()%2B({offset})")
    done = check(url)
    assert done.status == 0, done.stderr
    assert ("(bytemark_sync.W004)" in done.stderr) == bool(told)
    if told:
        assert re.search(rf"This machine's clock is (89|90|91) s {told} the database's", done.stderr)


def test_every_missing_column_is_an_error_that_names_it(database_url: str) -> None:
    portal = Portal(database_url)
    for table, column in COLUMNS:
        portal.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO away_{column}")
    done = check(database_url)
    assert done.status == 1
    for table, column in COLUMNS:
        assert f"(bytemark_sync.E001) The portal table {table} has no column {column}." in done.stderr
    assert done.stderr.count("E001") == len(COLUMNS)


def test_a_missing_index_is_a_warning_with_its_cost(database_url: str) -> None:
    portal = Portal(database_url)
    drop_indexes(portal, "bytemark_order_items", "order_id")
    drop_indexes(portal, "bytemark_orders", "user_id")
    done = check(database_url)
    assert done.status == 0
    assert "(bytemark_sync.W001)" in done.stderr
    assert "(bytemark_sync.W002)" in done.stderr
    assert "reads the whole items table" in done.stderr
    assert "HINT: Ask the portal's owners for one" in done.stderr
    # An index of several columns that begins with the right one serves; one that only contains it does not.
    portal.execute("CREATE INDEX served ON bytemark_order_items (order_id, id)")
    portal.execute("CREATE INDEX useless ON bytemark_orders (id, user_id)")
    done = check(database_url)
    assert ("W001" in done.stderr, "W002" in done.stderr) == (False, True)


def test_a_portal_with_one_table_missing_is_an_error(database_url: str) -> None:
    Portal(database_url).execute("DROP TABLE bytemark_tokens")
    done = check(database_url)
    assert (done.status, "(bytemark_sync.E002)" in done.stderr, "bytemark_tokens" in done.stderr) == (1, True, True)


@pytest.mark.slow
def test_an_empty_database_is_fine_before_migrate(tmp_path: object) -> None:
    assert check(f"sqlite:///{tmp_path}/empty.sqlite3").status == 0


def test_a_table_that_cannot_roll_back_is_an_error(server_url: str) -> None:
    portal = Portal(server_url)
    for column in ("product_uuid", "pass_uuid"):  # MySQL's MyISAM takes no key of 255 such characters
        drop_indexes(portal, "bytemark_order_items", column)
    portal.execute("ALTER TABLE bytemark_order_items ENGINE = MyISAM")
    done = check(server_url)
    assert (done.status, "(bytemark_sync.E003)" in done.stderr) == (1, True)
    assert "bytemark_order_items" in done.stderr
    assert "MyISAM" in done.stderr


def test_an_items_column_that_must_be_given_a_value_is_an_error(server_url: str) -> None:
    portal = Portal(server_url)
    portal.execute(
        "ALTER TABLE bytemark_order_items ADD needed INT NOT NULL, ADD fine INT NOT NULL DEFAULT 1, ADD n INT"
    )
    portal.execute("ALTER TABLE bytemark_orders ADD needed INT NOT NULL")  # the product never inserts there
    done = check(server_url)
    assert (done.status, done.stderr.count("(bytemark_sync.E004)")) == (1, 1)
    assert "bytemark_order_items" in done.stderr
    assert "needed" in done.stderr


def test_an_items_column_that_must_be_given_a_value_is_an_error_in_sqlite_too(sqlite_database_url: str) -> None:
    portal = Portal(sqlite_database_url)
    portal.execute("ALTER TABLE bytemark_order_items RENAME TO away")
    portal.execute(
        "CREATE TABLE bytemark_order_items (id INTEGER PRIMARY KEY, order_id INT, order_uuid TEXT, oauth_token TEXT,"
        " product_uuid TEXT, pass_uuid TEXT, needed TEXT NOT NULL, fine TEXT NOT NULL DEFAULT '')"
    )
    done = check(sqlite_database_url)
    assert (done.status, done.stderr.count("(bytemark_sync.E004)")) == (1, 1)


@pytest.mark.parametrize(
    ("url", "status", "number"),
    [("", 0, "W010"), ("http://example.com", 1, "E010"), ("nonsense", 1, "E010"), ("https://user:pw@host", 1, "E010")],
)
def test_the_settings_of_the_api_are_checked(sqlite_database_url: str, url: str, status: int, number: str) -> None:
    done = check(sqlite_database_url, BYTEMARK_CUSTOMER_API_URL=url)
    assert (done.status, f"bytemark_sync.{number}" in done.stderr) == (status, True)
    assert "BYTEMARK_CUSTOMER_API_URL" in done.stderr
    assert "pw" not in done.stderr


def test_a_database_that_cannot_be_reached_ends_the_check_in_words() -> None:
    done = manage("check", "--database", "default", database_url="mysql://u:s3cret@127.0.0.1:1/portal")
    assert done.status == 1
    assert "Traceback" not in done.stderr
    assert "Can't connect" in done.stderr
    assert "s3cret" not in done.stderr


def test_without_a_host_name_every_page_would_be_refused_and_check_says_so(sqlite_database_url: str) -> None:
    env = {"DEBUG": "0", "SECRET_KEY": "made-up " * 8}
    done = check(sqlite_database_url, **env)
    assert (done.status, "(bytemark_sync.W011) ALLOWED_HOSTS is empty" in done.stderr) == (0, True)
    assert "HINT: Set it to the host names of the admin" in done.stderr
    assert "W011" not in check(sqlite_database_url, **env, ALLOWED_HOSTS="sync.example.com").stderr
    assert "W011" not in check(sqlite_database_url, DEBUG="1").stderr


def test_e_mail_and_password_are_needed_only_where_tokens_are_renewed(database_url: str) -> None:
    portal = Portal(database_url)
    for column in ("email", "password"):
        portal.execute(f"ALTER TABLE bytemark_tokens RENAME COLUMN {column} TO away_{column}")
    done = check(database_url)
    assert (done.status, done.stderr) == (0, "")
    done = check(database_url, **RENEWAL)
    assert done.status == 1
    for column in ("email", "password"):
        assert f"(bytemark_sync.E001) The portal table bytemark_tokens has no column {column}." in done.stderr


@pytest.mark.parametrize("name", ["BYTEMARK_ACCOUNT_API_URL", "BYTEMARK_CLIENT_ID"])
def test_one_of_the_two_settings_of_renewal_alone_is_a_warning(sqlite_database_url: str, name: str) -> None:
    done = check(sqlite_database_url, **{name: RENEWAL[name]})
    assert done.status == 0
    (missing,) = set(RENEWAL) - {name}
    assert f"(bytemark_sync.W012) {name} is set and {missing} is not: rejected tokens are not renewed." in done.stderr
    assert check(sqlite_database_url, **RENEWAL).stderr == ""
