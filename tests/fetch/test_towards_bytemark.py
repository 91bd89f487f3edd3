"""docs/contract.md#towards-bytemark, at the command: what a bad answer costs and comes to; other users go on.

One run meets all faults that concern one user alone, a user each; the pauses, which concern all, have their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.sandbox import FaultRule, ListedItem, PortalToken, Rider, Sandbox, World
from bytemark_sync.sandbox.request_counts import Seen, fingerprint
from bytemark_sync.sandbox.wire import ERROR_FORMS, WRONG_SHAPES
from tests.support.harness import Finished
from tests.support.scenario import MakeScenario, Scenario, add_user, listed, simple_world

# Every request fails: exactly five, and the user's order is left as api_error.
FAILING = {
    "connection closed": FaultRule("close"),
    "connection reset": FaultRule("reset"),
    "reset in the answer": FaultRule("reset", size=60),
    "silence": FaultRule("hang"),
    "dripping head": FaultRule("drip_headers", seconds=0.05),
    "dripping body": FaultRule("drip_body", seconds=0.05),
    "cut body": FaultRule("cut"),
    "cut chunks": FaultRule("cut_chunked"),
    "empty body": FaultRule("empty"),
    "html": FaultRule("not_json"),
    "half a JSON": FaultRule("half_json"),
    "over 8 MiB": FaultRule("oversize"),
    "over 8 MiB unpacked": FaultRule("gzip_bomb"),
    "another code on 200": FaultRule("errors", code=10000),
    **{f"shape {form}": FaultRule("wrong_shape", form=form) for form in WRONG_SHAPES},
    **{f"status {status}": FaultRule("status", status=status) for status in (408, 500, 502, 503, 504, 599)},
}
# No repetition: one request, and the user fails at once.
AT_ONCE = {
    **{f"status {status}": FaultRule("status", status=status) for status in (400, 402, 404, 405, 409, 410, 418, 422)},
    **{f"redirect {status}": FaultRule("redirect", status=status) for status in (301, 302, 303, 307, 308)},
    "redirect to another host": FaultRule("redirect", location="https://elsewhere.invalid/"),
    "redirect to itself": FaultRule("redirect", location="/v4.0/orders"),
}
# The one token is rejected: one request.
REJECTED = {
    "status 401": FaultRule("status", status=401),
    "status 403": FaultRule("status", status=403),
    **{f"50020 as {form}": FaultRule("errors", code=50020, form=form) for form in ERROR_FORMS},
    **{f"50032 as {form}": FaultRule("errors", code=50032, form=form) for form in ("list", "string_code", "plain")},
    **{f"50020 on {status}": FaultRule("status", status=status, code=50020) for status in (400, 404, 429, 500, 503)},
}
# Fails once or four times, then answers: stored, and so many requests.
PASSING = {
    "once": (FaultRule("status", status=500, times=1), 2),
    "four times": (FaultRule("cut", times=4), 5),
}
CASES = {
    **{f"failing: {name}": rule for name, rule in FAILING.items()},
    **{f"at once: {name}": rule for name, rule in AT_ONCE.items()},
    **{f"rejected: {name}": rule for name, rule in REJECTED.items()},
    **{f"passing: {name}": rule for name, (rule, _) in PASSING.items()},
}
USERS = {name: 1001 + number for number, name in enumerate(CASES)}
# Long enough for the answers to healthy users, on a busy machine too; the three that hang wait for it side by side.
QUICK = {"BYTEMARK_READ_TIMEOUT": "1", "BYTEMARK_REQUEST_DEADLINE": "1.2", "BYTEMARK_WORKERS": "16"}
HEALTHY = 20


class Campaign:
    """All the faults in one run."""

    def __init__(self, at: Scenario) -> None:
        rules = [_for_user(rule, USERS[name]) for name, rule in CASES.items()]
        at.sandbox.set_faults(*rules)
        self.at = at
        self.done: Finished = at.sync("--json", env=QUICK)
        self.requests: dict[int | None, list[Seen]] = {}
        for seen in at.sandbox.requests():
            self.requests.setdefault(seen.user_id, []).append(seen)
        self.stats = at.sandbox.stats()
        self.outcomes = {
            user: (reason, detail)
            for user, reason, detail in at.portal.all("SELECT user_id, reason, detail FROM bytemark_sync_outcome")
        }
        self.items = Counter(item.oauth_token for item in at.portal.items())


def _for_user(rule: FaultRule, user: int) -> FaultRule:
    return FaultRule(**{name: getattr(rule, name) for name in rule.__struct_fields__} | {"users": [user]})


def _until_answered(seen: list[Seen]) -> list[Seen]:
    """Up to the first page. A user who was answered may be asked again, to see whether Bytemark is there."""
    return seen[: [each.fault for each in seen].index("") + 1]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory, migrated_copy: Callable[[Path], str]) -> Iterator[Campaign]:
    url = migrated_copy(tmp_path_factory.mktemp("campaign") / "x.sqlite3")
    world = simple_world(users=HEALTHY, orders=1, first=1)
    for user in USERS.values():
        add_user(world, user, [listed(f"order-{user}")])
    with Sandbox(world) as sandbox:
        at = Scenario(url, world, sandbox)
        at.portal.fill(world)
        yield Campaign(at)


@pytest.mark.parametrize("name", FAILING)
def test_a_user_whose_every_request_fails_costs_exactly_five(campaign: Campaign, name: str) -> None:
    user = USERS[f"failing: {name}"]
    assert [seen.page for seen in campaign.requests[user]] == [1] * 5
    assert campaign.outcomes[user][0] == Reason.API_ERROR
    assert "failed requests: 5" in campaign.outcomes[user][1]
    assert not campaign.items[f"key-{user}"]


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_refusal_and_a_redirect_fail_the_user_at_once(campaign: Campaign, name: str) -> None:
    user = USERS[f"at once: {name}"]
    assert len(campaign.requests[user]) == 1
    assert campaign.outcomes[user][0] == Reason.API_ERROR
    assert "failed requests" not in campaign.outcomes[user][1]


@pytest.mark.parametrize("name", REJECTED)
def test_a_rejected_token_is_not_repeated(campaign: Campaign, name: str) -> None:
    user = USERS[f"rejected: {name}"]
    assert len(campaign.requests[user]) == 1
    assert campaign.outcomes[user][0] == Reason.TOKEN_REJECTED


@pytest.mark.parametrize(("name", "requests"), [(name, requests) for name, (_, requests) in PASSING.items()])
def test_a_failure_that_passes_costs_no_more_than_itself(campaign: Campaign, name: str, requests: int) -> None:
    user = USERS[f"passing: {name}"]
    assert len(_until_answered(campaign.requests[user])) == requests
    assert campaign.items[f"key-{user}"] == 1
    assert user not in campaign.outcomes


def test_other_users_go_on_and_the_whole_adds_up(campaign: Campaign) -> None:
    for user in range(1, 1 + HEALTHY):
        assert campaign.items[f"key-{user}"] == 2
        assert len(_until_answered(campaign.requests[user])) == 1
    failed = len(FAILING) + len(AT_ONCE) + len(REJECTED)
    json = campaign.done.json
    assert (campaign.done.status, json["status"]) == (1, "partial")
    assert (json["users"], json["users_failed"]) == (HEALTHY + len(CASES), failed)
    assert json["orders_synced"] == HEALTHY + len(PASSING)
    assert json["orders_not_found"] == json["orders_without_passes"] == json["orders_invalid"] == 0
    assert json["api_requests"] == campaign.stats.requests
    assert json["retries"] == 4 * len(FAILING) + 1 + 4
    assert campaign.stats.elsewhere == 0  # nobody followed a redirect
    run = campaign.at.portal.runs()[0]
    assert {name: run[name] for name in json if name in run} == {name: json[name] for name in json if name in run}


def test_the_next_run_completes_what_the_faults_had_stopped(campaign: Campaign) -> None:
    campaign.at.settle()


# --- Tokens -----------------------------------------------------------------------------------------------------------


def test_tokens_are_tried_newest_order_first_then_the_token_rows_each_once(scenario: MakeScenario) -> None:
    world = World()
    add_user(world, 7, [listed(f"o{n}") for n in range(5)])
    world.riders[0].tokens = ["good"]
    for order, token in zip(world.orders, ("old", "twice", "", " \t", "twice"), strict=True):
        order.oauth_token = token
    world.tokens = [PortalToken(7, text) for text in ("good", "row-2", "", "old")]
    at = scenario(world)
    done = at.sync("--json")
    tried = [seen.token for seen in at.sandbox.requests()]
    # Newest order first; of several token rows the newest first; none twice, empty ones passed over.
    assert tried == [fingerprint(token) for token in ("twice", "old", "row-2", "good")]
    assert (done.status, done.json["orders_synced"], done.json["api_requests"], done.json["retries"]) == (0, 5, 4, 0)
    assert {item.oauth_token for item in at.portal.items()} == {"good"}
    at.settle()


def test_a_token_that_falls_midway_is_replaced_and_each_order_keeps_the_token_that_fetched_it(
    sqlite_scenario: MakeScenario,
) -> None:
    world = World()
    add_user(world, 7, [listed("o1"), listed("o2")])
    world.riders = [
        Rider(7, ["first"], [listed("o1"), listed("x")]),
        Rider(8, ["second"], [listed("o2"), listed("o1")]),
    ]
    world.orders[0].oauth_token, world.orders[1].oauth_token = "second", "first"
    world.tokens = [PortalToken(7, "")]
    at = sqlite_scenario(world, faults="errors:users=7,pages=2")
    assert at.sync(env={"BYTEMARK_PAGE_SIZE": "1"}).status == 0
    assert [(item.order_uuid, item.oauth_token) for item in at.portal.items()] == [("o1", "first"), ("o2", "second")]


def test_no_token_and_no_token_left_fail_the_user_with_their_own_reasons(scenario: MakeScenario) -> None:
    world = World()
    for user, token, row in ((7, "", ""), (8, "stale", "stale"), (9, " ", "\t\n")):
        add_user(world, user, [listed(f"o{user}")])
        world.riders[-1].tokens = ["unknown"]
        world.orders[-1].oauth_token = token
        world.tokens[-1] = PortalToken(user, row)
    at = scenario(world)
    done = at.sync("--json")
    assert (done.status, done.json["users_failed"], done.json["api_requests"]) == (1, 3, 1)
    assert done.json["status"] == "failed"  # nothing worked
    assert at.portal.reasons() == {1: "no_token", 2: "token_rejected", 3: "no_token"}


@pytest.mark.parametrize("name", ["failing", "at once"])
def test_attempts_are_the_users_not_the_tokens(sqlite_scenario: MakeScenario, name: str) -> None:
    world = World()
    add_user(world, 7, [listed("o1")])
    world.orders[0].oauth_token = "stale"
    fault = "status:status=500,users=7" if name == "failing" else "status:status=404,users=7"
    at = sqlite_scenario(world, faults=fault)
    assert at.sync().status == 1
    assert at.sandbox.stats().requests == (6 if name == "failing" else 2)


# --- Pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faults", ["", "total_count:form=absent", "total_count:form=small", "no_pagination"])
def test_a_server_that_gives_20_orders_where_100_are_asked_for_hides_none(
    sqlite_scenario: MakeScenario, faults: str
) -> None:
    """Three riders with 60 orders each; one order is not listed."""
    world = World()
    for user in (101, 102, 103):
        add_user(world, user, [listed(f"o-{user}-{number}") for number in range(60)])
    world.riders[0].orders.pop()
    at = sqlite_scenario(world, faults="; ".join(filter(None, ["clamp:size=20", faults])))
    done = at.sync("--json", env={"BYTEMARK_PAGE_SIZE": "100"})
    assert (done.status, done.json["orders_synced"], done.json["orders_not_found"]) == (0, 179, 1)
    assert done.json["api_requests"] <= 11  # without a signal, one page more for each list of full pages
    at.assert_exact()
    again = at.sync("--json", "--include-deferred", env={"BYTEMARK_PAGE_SIZE": "100"})
    assert (again.json["orders"], again.json["items_created"]) == (1, 0)
    at.assert_exact()


LONG = [listed(f"o{number}") for number in range(35)]
PAGES = {
    # name: (wanted, fault, pages asked for, found)
    "until the last wanted order": (["o3", "o12"], "", 2, 2),
    "a server that ignores the page": (["o3", "o30"], "ignore_page", 2, 1),
    "a server that repeats a page": (["o3", "o30"], "repeat_page:pages=2|3|4", 2, 1),
    "to the end by total_count": (["o3", "nowhere"], "", 4, 1),
    "total_count too big ends at the empty page": (["nowhere"], "total_count:form=big", 5, 0),
    "total_count too small is outvoted by next": (["nowhere"], "total_count:form=small", 4, 0),
    "a short page ends it without total_count": (["nowhere"], "no_pagination", 4, 0),
    "null is no total_count": (["nowhere"], "total_count:form=null", 4, 0),
    "a negative one is none": (["nowhere"], "total_count:form=negative", 4, 0),
    "text is read": (["nowhere"], "total_count:form=text", 4, 0),
    "junk entries are nobody's order": (["o3", "o30"], "malformed_order:form=null", 4, 2),
    "an entry without uuid": (["o3", "o30"], "malformed_order:form=no_uuid", 4, 2),
    "gzip": (["o30"], "gzip", 4, 1),
    "chunks": (["o30"], "chunked", 4, 1),
}


@pytest.fixture(scope="module")
def paging(
    tmp_path_factory: pytest.TempPathFactory, migrated_copy: Callable[[Path], str]
) -> Iterator[tuple[Scenario, dict[str, list[int]]]]:
    """A user for each row of `PAGES`, all in one run; the pages that each was asked for."""
    url = migrated_copy(tmp_path_factory.mktemp("paging") / "x.sqlite3")
    world = World()
    rules = []
    for user, (wanted, fault, _, _) in enumerate(PAGES.values(), 1):
        add_user(world, user, LONG, wanted=wanted)
        rules += [f"{fault}{',' if ':' in fault else ':'}users={user}"] if fault else []
    with Sandbox(world) as sandbox:
        at = Scenario(url, world, sandbox)
        at.portal.fill(world)
        sandbox.set_faults(*rules)
        assert at.sync().status == 0
        pages: dict[str, list[int]] = {name: [] for name in PAGES}
        for seen in sandbox.requests():
            assert seen.user_id is not None
            assert seen.per_page == 10
            pages[list(PAGES)[seen.user_id - 1]].append(seen.page)
        yield at, pages


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_asked_for_until_all_is_found_or_the_list_ends(
    paging: tuple[Scenario, dict[str, list[int]]], name: str
) -> None:
    at, pages = paging
    wanted, _, asked, found = PAGES[name]
    assert pages[name] == list(range(1, asked + 1))
    user = list(PAGES).index(name) + 1
    items = [item for item in at.portal.items() if item.oauth_token == f"key-{user}"]
    assert len(items) == found
    reasons = at.portal.reasons()
    left = [reasons[order.id] for order in at.world.orders if order.user_id == user and order.id in reasons]
    assert left == ["not_found"] * (len(wanted) - found)


def test_a_list_that_moves_while_it_is_read_loses_nothing_for_good(sqlite_scenario: MakeScenario) -> None:
    world = World()
    for user in range(1, 9):
        add_user(world, user, LONG, wanted=["o5", "o17", "o34"])
    at = sqlite_scenario(world, faults="reorder:users=1|2|3|4;grow:users=5|6|7|8")
    # One user at a time: whom a draw of the shuffled lists meets must not hang on how threads take turns.
    assert at.sync("--workers", 1).status == 0
    assert set(at.portal.items()) <= set(world.expected_items())
    assert not {item.oauth_token for item in at.portal.items()} ^ {f"key-{n}" for n in range(1, 9)}
    at.sandbox.set_world(world)
    at.settle()


def test_the_same_page_is_asked_again_after_a_failure(sqlite_scenario: MakeScenario) -> None:
    world = World()
    add_user(world, 7, LONG, wanted=["o34"])
    at = sqlite_scenario(world, faults="status:status=502,pages=2|4,times=3")
    done = at.sync("--json")
    assert [seen.page for seen in at.sandbox.requests()] == [1, 2, 2, 2, 2, 3, 4]
    assert (done.status, done.json["retries"]) == (0, 3)


def test_uuids_match_whatever_their_case_and_blanks_and_are_stored_as_the_order_table_has_them(
    scenario: MakeScenario,
) -> None:
    world = World()
    add_user(
        world,
        7,
        [listed("  AbC-1 ", "p1"), listed("def-2", "p2"), listed("GHI-3", "P3")],
        wanted=["abc-1", " DEF-2 ", "GHI-3"],
    )
    at = scenario(world)
    assert at.sync("--json").json["orders_synced"] == 3
    assert [item.order_uuid for item in at.portal.items()] == ["abc-1", " DEF-2 ", "GHI-3"]
    at.settle()


def test_passes_are_stored_once_each_whatever_way_they_are_listed(scenario: MakeScenario) -> None:
    world = World()
    order = listed("o1", "p1", "p2", "p1", "x" * 58)
    order.items.append(ListedItem("product-2", ["p2", "p3"]))
    add_user(world, 7, [order, listed("other"), order], wanted=["o1"])
    at = scenario(world)
    assert at.sync("--json", env={"BYTEMARK_PAGE_SIZE": "2"}).json["items_created"] == 4
    assert sorted((item.product_uuid, item.pass_uuid) for item in at.portal.items()) == [
        ("product-1", "p1"),
        ("product-1", "p2"),
        ("product-1", "x" * 58),
        ("product-2", "p3"),
    ]
    at.settle()


# --- Pauses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "pauses"),
    [
        ("status:status=429,retry_after=1,nth=3", True),
        ("status:status=503,retry_after=1,nth=3", True),
        ("status:status=429,retry_after=date2,nth=3", True),
        ("status:status=429,retry_after=600,nth=3", True),  # bounded by the cap
        ("status:status=503,nth=3", False),
    ],
)
def test_a_limit_pauses_every_worker_of_the_process(sqlite_scenario: MakeScenario, fault: str, pauses: bool) -> None:
    at = sqlite_scenario(simple_world(users=20, orders=1), faults=fault, latency=0.02)
    done = at.sync("--json", "--workers", "4", env={"BYTEMARK_OUTAGE_PATIENCE": "1" if pauses else "600"})
    assert (done.status, done.json["retries"]) == (0, 1)
    times = [seen.at for seen in at.sandbox.requests()]
    assert max(after - before for before, after in pairwise(times)) < 30
    if pauses:
        # Others in flight may come in, nobody starts anew: at most the four that were under way.
        resumed = next(number for number, (a, b) in enumerate(pairwise(times)) if b - a > 0.8)
        assert resumed <= 3 + 4
    at.settle()


def test_the_backoff_grows_with_each_attempt_and_is_bounded(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=1, orders=1), faults="status:status=500")
    done = at.sync("--json", env={"BYTEMARK_BACKOFF_BASE": "0", "BYTEMARK_MAX_ATTEMPTS": "100"})
    assert (done.json["api_requests"], done.json["seconds"] < 30) == (100, True)
    done = at.sync("--json", env={"BYTEMARK_BACKOFF_BASE": "100", "BYTEMARK_BACKOFF_CAP": "0.2"})
    assert done.json["api_requests"] == 5
    assert done.json["seconds"] < 30
