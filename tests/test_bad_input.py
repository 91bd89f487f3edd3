"""Rows of the portal and answers of the API as bad as they come: no traceback, and each gets the contract's outcome."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import PendingUser, WantedOrder
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.fetch.user_orders import fetch_user
from bytemark_sync.sandbox import FaultRule, Sandbox, World
from tests.support.harness import Portal, drop_indexes, manage, python
from tests.support.scenario import MakeScenario, Scenario, add_user, listed, make_scenario, simple_world

scenario = pytest.fixture(lambda backend, fresh_database, sandbox: make_scenario(backend, fresh_database, sandbox))
server_scenario = pytest.fixture(
    lambda server_backend, fresh_database, sandbox: make_scenario(server_backend, fresh_database, sandbox)
)

# --- Rows of the portal -----------------------------------------------------------------------------------------------

TOKENS = {
    # token of the order (the token row is empty) -> the reason, or nothing where it is stored
    None: "no_token",
    "": "no_token",
    " \t\r\n": "no_token",
    "line\nbreak": "token_rejected",
    "carriage\rreturn: X": "token_rejected",
    "emoji-😀": "token_rejected",
    "latin-é": "token_rejected",
    "tab\tinside": "token_rejected",
    "bell-\x07": "token_rejected",
    "x" * 20_000: None,
    "'; DROP TABLE bytemark_orders; --": None,
    "%s {0} %(a)s \\": None,
    "  good-1\n": None,
    "good 2": None,
}
UUIDS = {
    # order_uuid of the portal -> what it comes to where the API lists the text without blanks
    " padded ": None,
    "UPPER-lower": None,
    "x" * 255: None,
    "😀-order": None,
    "%s {0} %(a)s \\ ' \"": None,
    "../../etc": None,
    "": "malformed",
    "   ": "malformed",
    None: "malformed",
    "zero\u200bwidth": None,
}


def test_every_token_comes_to_its_outcome_and_costs_no_other_user(scenario: MakeScenario) -> None:
    world = simple_world(users=2, orders=1, first=500)
    for user, token in enumerate(TOKENS, 1):
        add_user(world, user, [listed(f"o{user}")], wanted=[])
        world.riders[-1].tokens = [(token or "").strip()]
        world.tokens[-1].token = ""
    at = scenario(world)
    for user, token in enumerate(TOKENS, 1):
        at.portal.execute(
            "INSERT INTO bytemark_orders (id, order_uuid, user_id, oauth_token, amount) VALUES (%s, %s, %s, %s, '0')",
            100 + user,
            f"o{user}",
            user,
            token,
        )
    done = at.sync("--json", "-v", 3)
    assert done.status == 1
    reasons = {100 + user: reason for user, reason in enumerate(TOKENS.values(), 1) if reason}
    assert at.portal.reasons() == reasons
    good = [token.strip() for token, reason in TOKENS.items() if token and not reason]
    assert sorted(item.oauth_token for item in at.portal.items()) == sorted([*good, *["key-500"] * 2, *["key-501"] * 2])
    for token in filter(None, TOKENS):
        assert token.strip() == "" or token.strip() not in done.stdout + done.stderr


def test_every_uuid_comes_to_its_outcome(scenario: MakeScenario) -> None:
    world = World()
    add_user(
        world, 7, [listed((uuid or "nobody").strip() or "blank", f"p{n}") for n, uuid in enumerate(UUIDS)], wanted=[]
    )
    at = scenario(world)
    for number, uuid in enumerate(UUIDS, 1):
        at.portal.execute(
            "INSERT INTO bytemark_orders (id, order_uuid, user_id, oauth_token, amount) "
            "VALUES (%s, %s, 7, 'key-7', '0')",
            number,
            uuid,
        )
    done = at.sync("--json")
    assert done.status == 0, done.stderr
    assert at.portal.reasons() == {number: reason for number, reason in enumerate(UUIDS.values(), 1) if reason}
    assert {item.order_id: item.order_uuid for item in at.portal.items()} == {
        number: uuid for number, uuid in enumerate(UUIDS, 1) if UUIDS[uuid] is None
    }
    named = [part for uuid in UUIDS if uuid and uuid.strip() for part in ("--order", uuid)]
    assert at.sync(*named).stderr.count("nothing pending") == len(named) // 2


def test_a_uuid_of_500_characters_is_its_own_problem(server_scenario: MakeScenario) -> None:
    """Bytemark lists none so long; the items table could not hold it either."""
    at = server_scenario(simple_world(users=1))
    drop_indexes(at.portal, "bytemark_orders", "order_uuid")
    at.portal.execute("ALTER TABLE bytemark_orders MODIFY order_uuid TEXT")
    at.portal.execute(
        "INSERT INTO bytemark_orders (id, order_uuid, user_id, oauth_token, amount) "
        "VALUES (50, %s, 101, 'key-101', '0')",
        "y" * 500,
    )
    done = at.sync("--json")
    assert (done.status, done.json["orders_synced"]) == (0, 2)
    assert set(at.portal.reasons()) == {50}


def test_ids_at_the_edges_are_read(scenario: MakeScenario) -> None:
    world = World()
    for user in (-(2**63), -1, 0, 2**63 - 1):
        add_user(world, user, [listed(f"o{user}")])
    at = scenario(world)
    at.portal.execute("UPDATE bytemark_orders SET id = -5 WHERE id = 1")
    assert at.sync("--user", -(2**63), "--user", 2**63 - 1, "--user", 2**63, "--user", -(2**63) - 1).status == 0
    assert at.sync().status == 0
    assert {item.order_id for item in at.portal.items()} == {-5, 2, 3, 4}


# --- Answers of the API -----------------------------------------------------------------------------------------------

VALUES: dict[str, str] = {
    "null": "null",
    "true": "true",
    "zero": "0",
    "number": "7",
    "huge": "1" + "0" * 400,
    "exponent": "1e999",
    "negative": "-1.5e-300",
    "empty text": '""',
    "blanks": '"  \\t\\n "',
    "text": '"text"',
    "NUL": '"a\\u0000b"',
    "lone surrogate": '"\\ud83d"',
    "half a pair twice": '"\\ude00\\ud83d"',
    "very long": '"' + "z" * 300 + '"',
    "empty list": "[]",
    "list": "[1]",
    "nested list": "[" * 600 + "]" * 600,
    "empty object": "{}",
    "object": '{"uuid": 5}',
    "nested object": '{"a":' * 600 + "1" + "}" * 600,
}
PAGE = '{"data": {"orders": [$], "total_count": 1}}'
ORDER = PAGE.replace("$", '{"uuid": "o", "order_items": [$]}')
ITEM = ORDER.replace("$", '{"product": {"uuid": "r"}, "passes": [$]}')
PLACES = {
    "answer": "@",
    "data": '{"data": @}',
    "orders": '{"data": {"orders": @, "total_count": 1}}',
    "total_count": '{"data": {"orders": [GOOD], "total_count": @}}',
    "errors": '{"data": {"orders": [GOOD], "total_count": 1}, "errors": @}',
    "error": '{"data": {"orders": [GOOD], "total_count": 1}, "error": @}',
    "entry": '{"data": {"orders": [@, GOOD], "total_count": 2}}',
    "other order's uuid": '{"data": {"orders": [{"uuid": @, "order_items": []}, GOOD], "total_count": 2}}',
    "order_items": PAGE.replace("$", '{"uuid": "o", "order_items": @}'),
    "item": ORDER.replace("$", "@"),
    "product": ORDER.replace("$", '{"product": @, "passes": [{"uuid": "p"}]}'),
    "product uuid": ORDER.replace("$", '{"product": {"uuid": @}, "passes": [{"uuid": "p"}]}'),
    "passes": ORDER.replace("$", '{"product": {"uuid": "r"}, "passes": @}'),
    "pass": ITEM.replace("$", "@"),
    "pass uuid": ITEM.replace("$", '{"uuid": @}'),
    "of no interest": '{"server_time": @, "data": {"orders": [GOOD], "more": @, "total_count": 1}, "x": @}',
}
GOOD = '{"uuid": "o", "order_items": [{"product": {"uuid": "r", "x": 1}, "passes": [{"uuid": "p"}]}]}'
OTHERS = {
    "duplicate keys": '{"data": {"orders": [{"uuid": "q", "uuid": "o", "order_items": [], "order_items": '
    '[{"product": {"uuid": "r"}, "passes": [{"uuid": "p"}]}]}], "total_count": 7, "total_count": 1}}',
    "a byte order mark": "\ufeff" + PAGE.replace("$", "GOOD"),
    "NaN": '{"data": {"orders": [GOOD], "total_count": NaN}}',
    "bottomless": "[" * 100_000,
    "too deep": PAGE.replace("$", "GOOD").replace("1}", '1, "x": ' + "[" * 900 + "]" * 900 + "}"),
    "a long number": PAGE.replace("$", "GOOD").replace("1}", "9" * 100_000 + "}"),
    "text behind": PAGE.replace("$", "GOOD") + " trailing",
}
CASES = {
    name: text.replace("GOOD", GOOD)
    for name, text in {
        **{f"{place}: {value}": text.replace("@", VALUES[value]) for place, text in PLACES.items() for value in VALUES},
        **OTHERS,
    }.items()
}
BAD_USERS = range(10_001, 10_001 + len(CASES))
"""They come after riders who are answered; else all of them would look like an outage."""
# Of each place: what must come of the values that fit there. All others are left with a reason.
STORED = {
    "total_count": set(VALUES) - {"exponent", "huge"},
    "errors": {"null", "zero", "empty text", "empty list", "empty object"},
    "error": {"null", "zero", "empty text", "empty list", "empty object"},
    "entry": set(VALUES),
    "other order's uuid": set(VALUES),
    "product uuid": {"text"},
    "pass uuid": {"text"},
    "of no interest": set(VALUES),
}
EITHER = {"exponent", "huge", "lone surrogate", "half a pair twice"}
"""What a strict reader refuses as a whole and a lenient one passes over: both are right, a traceback is not."""
WITHOUT_PASSES = {"order_items: empty list", "passes: empty list"}


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, migrated_copy: Callable[[Path], str]) -> Iterator[Scenario]:
    """One run in which every case is a user's answer."""
    url = migrated_copy(tmp_path_factory.mktemp("answers") / "x.sqlite3")
    world = simple_world(users=5, orders=1, first=9001)
    for user in BAD_USERS:
        add_user(world, user, [], wanted=["o"])
    with Sandbox(world) as sandbox:
        at = Scenario(url, world, sandbox)
        at.portal.fill(world)
        answers = zip(BAD_USERS, CASES.values(), strict=True)
        sandbox.set_faults(*(FaultRule("raw", users=[user], body=body) for user, body in answers))
        at.done = at.sync("--json", "-v", "3", env={"BYTEMARK_BACKOFF_BASE": "0"})  # type: ignore[attr-defined]
        yield at


def test_no_answer_brings_a_traceback_or_costs_another_user(answered: Scenario) -> None:
    done = answered.done  # type: ignore[attr-defined]
    assert done.status == 1
    assert done.json["users"] == len(CASES) + 5
    assert "internal error" not in done.stderr
    assert sum(item.oauth_token.startswith("key-900") for item in answered.portal.items()) == 10
    seen = Counter(each.user_id for each in answered.sandbox.requests())
    failed = answered.portal.all("SELECT user_id FROM bytemark_sync_outcome WHERE reason = 'api_error'")
    assert max(seen[user] for (user,) in failed) <= 5  # one who was answered may be asked again as a witness
    answered.assert_closed()


@pytest.mark.parametrize("place", PLACES)
def test_every_json_type_in_every_place_comes_to_an_outcome(answered: Scenario, place: str) -> None:
    reasons = answered.portal.reasons()
    stored = {item.order_id for item in answered.portal.items()}
    numbers = {name: number + 6 - 1 for number, name in enumerate(CASES, 1)}
    for value in VALUES:
        name = f"{place}: {value}"
        order = numbers[name]
        assert (order in stored) != (order in reasons), name
        if value in EITHER and place not in ("product uuid", "pass uuid"):
            continue
        assert (order in stored) == (value in STORED.get(place, ())), (name, reasons.get(order))
        if name in WITHOUT_PASSES:
            assert reasons[order] == Reason.NO_PASSES
        elif order in reasons:
            malformed = place in ("order_items", "item", "product", "product uuid", "passes", "pass", "pass uuid")
            unnamed = place == "orders" and value in ("empty list", "list", "nested list")
            expected = Reason.MALFORMED if malformed else Reason.NOT_FOUND if unnamed else Reason.API_ERROR
            assert reasons[order] == expected, name


def test_other_bad_answers_come_to_an_outcome(answered: Scenario) -> None:
    numbers = {name: number + 6 - 1 for number, name in enumerate(CASES, 1)}
    reasons = answered.portal.reasons()
    assert numbers["duplicate keys"] not in reasons  # of duplicate keys the last counts
    for name in ("NaN", "bottomless", "too deep", "text behind"):
        assert reasons[numbers[name]] == Reason.API_ERROR, name


def test_the_next_run_finds_what_is_then_listed(answered: Scenario) -> None:
    world = answered.world
    for rider in world.riders:
        if rider.user_id in BAD_USERS:
            rider.orders = [listed("o", f"p-{rider.user_id}")]
    answered.sandbox.set_faults()
    answered.sandbox.set_world(world)
    done = answered.sync("--json", "--include-deferred")
    assert (done.status, answered.portal.reasons()) == (0, {})
    assert len({item.order_id for item in answered.portal.items()}) == len(world.orders)


# --- Fuzzing ----------------------------------------------------------------------------------------------------------

_leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["o1", "O1 ", "50020", "p", ""]),
)
_json = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "orders",
                    "total_count",
                    "errors",
                    "error",
                    "code",
                    "uuid",
                    "order_items",
                    "product",
                    "passes",
                    "message",
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=25,
)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[tuple[Sandbox, BytemarkClient]]:
    with Sandbox(World()) as sandbox:
        yield sandbox, BytemarkClient(BytemarkSettings(sandbox.url, backoff_base=0.0, backoff_cap=0.0))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_json, status=st.sampled_from([200, 200, 200, 201, 204, 400, 401, 404, 418, 500, 503, 599]))
def test_any_json_on_any_status_leaves_each_order_one_place(
    fuzzed: tuple[Sandbox, BytemarkClient], body: Any, status: int
) -> None:
    # Without 429, which costs no attempt: it is waited out for as long as the run has patience.
    sandbox, client = fuzzed
    sandbox.reset()
    sandbox.set_faults(FaultRule("raw", status=status, body=json.dumps(body)))
    orders = (WantedOrder(1, "o1"), WantedOrder(2, "o2"))
    result = fetch_user(client, PendingUser(7, (Token("k1"), Token("k2")), orders))
    placed = [each.order.id for each in result.found] + [each.order.id for each in result.left]
    assert sorted(placed) == [1, 2]
    assert sandbox.stats().requests <= 5 + 2
    assert all(each.items for each in result.found)
    if not 200 <= status < 300:
        assert result.failure in (Reason.API_ERROR, Reason.TOKEN_REJECTED)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["BYTEMARK_PAGE_SIZE", "DATABASE_URL", "SYNC_CRON", "TIME_ZONE", "REDIS_URL"])
def test_settings_take_any_text_without_a_traceback(setting: str, read_any: Callable[[str], list[str]]) -> None:
    assert set(read_any(setting)) <= {"fine", "named"}


READ_ANY = """
import os, random, runpy, sys, warnings
warnings.simplefilter("error")
from django.core.exceptions import ImproperlyConfigured
name, rng = sys.argv[1], random.Random(1)
pieces = ["mysql://", "sqlite:///", "redis://", "u:p@", "host", ":", "/", "?", "=", "&", "%", "%zz", "#", "[", "]",
          "@", "\\\\", "0", "9" * 30, "-", "*", ",", " ", "5", "\\u0660", "\\U0001f600", "\\t", "..", "UTC", "Europe/",
          "L", "#2", "R", "H"]
for _ in range(150):
    os.environ[name] = "".join(rng.choice(pieces) for _ in range(rng.randrange(8)))
    try:
        runpy.run_path("project/settings.py")
        print("fine")
    except ImproperlyConfigured as error:
        print("named" if str(error).startswith(name) else f"not named for {os.environ[name]!r}: {error}")
    except Exception as error:
        print(f"{type(error).__name__} for {os.environ[name]!r}: {error}")
"""


@pytest.fixture
def read_any() -> Callable[[str], list[str]]:
    def read(name: str) -> list[str]:
        return python(READ_ANY, name, env={}).stdout.splitlines()

    return read


def test_a_portal_of_two_tables_is_told_apart_from_an_empty_one(sqlite_database_url: str) -> None:
    Portal(sqlite_database_url).fill(simple_world(users=1))
    Portal(sqlite_database_url).execute("DROP TABLE bytemark_tokens")
    done = manage(
        "sync_order_items", database_url=sqlite_database_url, env={"BYTEMARK_CUSTOMER_API_URL": "http://[::1]:9"}
    )
    assert (done.status, "Traceback" in done.stderr, "no such table: bytemark_tokens" in done.stderr) == (
        1,
        False,
        True,
    )
