"""A user's fetch against a real server: pages, attempts, tokens, and how each of them ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import PendingUser, WantedOrder
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.fetch.user_orders import fetch_user
from tests.support.misbehaving_server import Request
from tests.support.scripted_api import Api, order, page, paged, reasons, stored


def user(*uuids: str, tokens: tuple[str, ...] = ("k1",)) -> PendingUser:
    wanted = tuple(WantedOrder(number, uuid) for number, uuid in enumerate(uuids, 1))
    return PendingUser(7, tuple(Token(one) for one in tokens), wanted)


MANY = [order(f"o{number}", f"p{number}") for number in range(35)]


def test_pages_are_read_until_the_last_wanted_order_and_no_further(api: Api) -> None:
    api.answer = paged(MANY)
    result = fetch_user(api.client(), user("O3", "o12"))
    assert stored(result) == {"O3": ["p3"], "o12": ["p12"]}
    assert (result.left, result.failure, result.interrupted) == ((), None, False)
    assert api.asked == [("k1", 1), ("k1", 2)]
    assert {one.token for one in result.found} == {Token("k1")}


def test_a_list_ends_when_total_count_orders_were_seen(api: Api) -> None:
    api.answer = paged(MANY)
    result = fetch_user(api.client(), user("o34", "nowhere"))
    assert stored(result) == {"o34": ["p34"]}
    assert reasons(result) == {"nowhere": Reason.NOT_FOUND}
    assert result.failure is None
    assert [number for _, number in api.asked] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("listed", "size", "total", "requests"),
    [
        (MANY[:30], 10, 30, 3),
        (MANY[:30], 10, None, 4),
        (MANY[:35], 10, None, 4),
        (MANY[:35], 10, 99, 5),
        (MANY[:35], 10, "99", 5),
        (MANY[:35], 10, "many", 4),
        (MANY[:35], 5, 35, 7),
        (MANY[:35], 5, None, 8),
        (MANY[:35], 10, 12, 4),
        ([], 10, 0, 1),
        ([], 10, None, 1),
        ([], 10, 50, 1),
    ],
    ids=str,
)
def test_where_a_list_ends(api: Api, listed: list[Any], size: int, total: Any, requests: int) -> None:
    api.answer = paged(listed, size, total)
    assert reasons(fetch_user(api.client(), user("nowhere"))) == {"nowhere": Reason.NOT_FOUND}
    assert len(api.asked) == requests


def test_a_server_that_ignores_the_page_is_asked_twice(api: Api) -> None:
    api.answer = lambda _request: (200, page(*MANY[:10], {"uuid": None}, total=35))
    assert reasons(fetch_user(api.client(), user("nowhere"))) == {"nowhere": Reason.NOT_FOUND}
    assert len(api.asked) == 2


def test_a_server_that_invents_orders_for_ever_meets_the_bound(api: Api) -> None:
    api.answer = lambda request: (200, page(*[order(f"{request.page}-{n}", "p") for n in range(10)], total=10**9))
    result = fetch_user(api.client(), user("nowhere", "3-3"), max_pages=6)
    assert len(api.asked) == 6
    assert result.failure is Reason.API_ERROR
    assert "6 pages" in result.detail
    assert stored(result) == {"3-3": ["p"]}
    assert reasons(result) == {"nowhere": Reason.API_ERROR}


def test_a_list_that_moves_while_it_is_read_is_read_to_its_end(api: Api) -> None:
    """A new order before page 2 shifts the list: page 2 repeats an order of page 1."""

    def answer(request: Request) -> tuple[int, Any]:
        listed = MANY if request.page == 1 else [order("new", "n"), *MANY]
        return 200, page(*listed[(request.page - 1) * 10 : request.page * 10], total=len(listed))

    api.answer = answer
    assert stored(fetch_user(api.client(), user("o9", "o34"))) == {"o9": ["p9"], "o34": ["p34"]}
    assert fetch_user(api.client(), user("nowhere")).failure is None


def test_a_malformed_order_is_its_own_problem(api: Api) -> None:
    api.answer = paged([order("A", "a"), {"uuid": "B", "order_items": None}, order("C", "c"), order("D")])
    result = fetch_user(api.client(), user("A", "B", "C", "D"))
    assert stored(result) == {"A": ["a"], "C": ["c"]}
    assert reasons(result) == {"B": Reason.MALFORMED, "D": Reason.NO_PASSES}
    assert result.failure is None


FAILURES = {
    "500": lambda _request: (500, b""),
    "408": lambda _request: (408, b""),
    "not JSON": lambda _request: (200, b"<html>"),
    "wrong shape": lambda _request: (200, {"data": None}),
    "error": lambda _request: (200, page(order("A", "a"), errors=[{"code": 10000}])),
}


def fail_line(_request: Request) -> tuple[int, Any]:
    raise ConnectionError


@pytest.mark.parametrize("answer", [*FAILURES.values(), fail_line], ids=[*FAILURES, "reset"])
@pytest.mark.parametrize("maximum", [5, 1])
def test_a_user_whose_every_request_fails_costs_exactly_its_attempts(
    api: Api, answer: Callable[[Request], tuple[int, Any]], maximum: int
) -> None:
    api.answer = answer
    client = api.client(max_attempts=maximum)
    result = fetch_user(client, user("A", tokens=("k1", "k2")))
    assert api.asked == [("k1", 1)] * maximum
    assert result.failure is Reason.API_ERROR
    assert reasons(result) == {"A": Reason.API_ERROR}
    assert client.stats.drain().retries == maximum - 1


@pytest.mark.slow
def test_a_429_costs_no_attempt_and_the_same_page_is_asked_again(api: Api) -> None:
    whole = paged(MANY)
    api.answer = lambda request: whole(request) if api.asked.count(("k1", request.page)) == 3 else (429, b"")
    api.headers = {"Retry-After": "0.01"}
    client = api.client(max_attempts=1)
    result = fetch_user(client, user("o1", "o11"))
    assert [number for _, number in api.asked] == [1, 1, 1, 2, 2, 2]
    assert (result.failure, stored(result)) == (None, {"o1": ["p1"], "o11": ["p11"]})
    assert client.stats.drain().answers == {"ok": 2, "rate_limited": 4}


@pytest.mark.slow
def test_a_user_who_alone_gets_nothing_but_429_fails_after_the_patience(api: Api) -> None:
    api.answer = lambda request: (429, b"") if request.token == "busy" else (200, page(order("A", "a"), total=1))
    api.headers = {"Retry-After": "0.01"}
    client = api.client(outage_patience=0.3)
    ended = threading.Event()

    def others() -> None:
        while not ended.is_set():
            fetch_user(client, user("A"))

    thread = threading.Thread(target=others)
    thread.start()
    try:
        result = fetch_user(client, user("A", tokens=("busy",)))
    finally:
        ended.set()
        thread.join(10)
    assert result.failure is Reason.API_ERROR
    assert result.detail == "HTTP 429: too many requests"


def test_attempts_are_shared_by_all_pages_and_the_same_page_is_asked_again(api: Api) -> None:
    """Every page fails twice before it comes: the third page meets the fifth failure."""
    whole = paged(MANY)
    api.answer = lambda request: whole(request) if api.asked.count(("k1", request.page)) == 3 else (500, b"")
    result = fetch_user(api.client(), user("o1", "o11", "o21"))
    assert [number for _, number in api.asked] == [1, 1, 1, 2, 2, 2, 3]
    assert result.failure is Reason.API_ERROR
    assert stored(result) == {"o1": ["p1"], "o11": ["p11"]}
    assert reasons(result) == {"o21": Reason.API_ERROR}
    api.server.requests.clear()
    recovered = fetch_user(api.client(max_attempts=7), user("o1", "o11", "o21"))
    assert recovered.failure is None
    assert len(recovered.found) == 3


def test_attempts_are_shared_by_all_tokens(api: Api) -> None:
    def answer(request: Request) -> tuple[int, Any]:
        if request.token == "k1":
            return (500, b"") if len(api.asked) <= 3 else (401, b"")
        return 500, b""

    api.answer = answer
    assert fetch_user(api.client(), user("A", tokens=("k1", "k2"))).failure is Reason.API_ERROR
    assert api.asked == [("k1", 1)] * 4 + [("k2", 1)] * 2


@pytest.mark.parametrize("answer", [(400, b""), (404, b"gone"), (422, {"error": "no"}), (302, b"")], ids=str)
def test_a_refusal_or_a_redirect_fails_the_user_at_once(api: Api, answer: tuple[int, Any]) -> None:
    api.answer = lambda _request: answer
    result = fetch_user(api.client(), user("A", tokens=("k1", "k2")))
    assert api.asked == [("k1", 1)]
    assert result.failure is Reason.API_ERROR
    assert str(answer[0]) in result.detail


REJECTIONS = [(401, b""), (403, b"<html>"), (200, page(errors=[{"code": 50020}])), (500, {"error": "50032"})]


@pytest.mark.parametrize("rejection", REJECTIONS, ids=str)
def test_tokens_are_tried_in_their_order_each_once(api: Api, rejection: tuple[int, Any]) -> None:
    whole = paged(MANY)
    api.answer = lambda request: whole(request) if request.token == "k3" else rejection
    result = fetch_user(api.client(max_attempts=1), user("o1", tokens=("k1", "k2", "k3", "k4")))
    assert api.asked == [("k1", 1), ("k2", 1), ("k3", 1)]
    assert result.failure is None
    assert result.found[0].token == Token("k3")


@pytest.mark.parametrize("rejection", REJECTIONS, ids=str)
def test_a_user_whose_tokens_are_all_rejected_fails_as_that(api: Api, rejection: tuple[int, Any]) -> None:
    api.answer = lambda _request: rejection
    client = api.client()
    result = fetch_user(client, user("A", "B", tokens=("k1", "k2")))
    assert api.asked == [("k1", 1), ("k2", 1)]
    assert result.failure is Reason.TOKEN_REJECTED
    assert set(reasons(result).values()) == {Reason.TOKEN_REJECTED}
    assert client.stats.drain().retries == 0
    assert "k1" not in result.detail


def test_a_token_rejected_midway_keeps_what_it_found_and_the_next_begins_anew(api: Api) -> None:
    whole = paged(MANY)

    def answer(request: Request) -> tuple[int, Any]:
        return (401, b"") if request.token == "k1" and request.page == 3 else whole(request)

    api.answer = answer
    result = fetch_user(api.client(), user("o1", "o15", "o33", tokens=("k1", "k2")))
    assert api.asked == [("k1", n) for n in (1, 2, 3)] + [("k2", n) for n in (1, 2, 3, 4)]
    assert result.failure is None
    assert {one.order.uuid: one.token.reveal() for one in result.found} == {"o1": "k1", "o15": "k1", "o33": "k2"}


def test_a_failure_midway_keeps_what_was_found_and_what_was_learnt(api: Api) -> None:
    listed = [order("A", "a"), order("B"), *MANY]
    whole = paged(listed)
    api.answer = lambda request: whole(request) if request.page == 1 else (404, b"")
    result = fetch_user(api.client(), user("A", "B", "C"))
    assert stored(result) == {"A": ["a"]}
    assert reasons(result) == {"B": Reason.NO_PASSES, "C": Reason.API_ERROR}
    assert result.failure is Reason.API_ERROR


def test_a_user_without_a_token_fails_without_a_request(api: Api) -> None:
    result = fetch_user(api.client(), user("A", tokens=()))
    assert result.failure is Reason.NO_TOKEN
    assert reasons(result) == {"A": Reason.NO_TOKEN}
    assert api.asked == []


def test_orders_without_a_uuid_cost_no_request(api: Api) -> None:
    result = fetch_user(api.client(), user("", "  "))
    assert [one.reason for one in result.left] == [Reason.MALFORMED, Reason.MALFORMED]
    assert result.failure is None
    assert api.asked == []


def test_an_unsendable_token_is_passed_over_like_a_rejected_one(api: Api) -> None:
    api.answer = paged(MANY)
    assert stored(fetch_user(api.client(), user("o1", tokens=("bad\nkey", "k2")))) == {"o1": ["p1"]}
    assert api.asked == [("k2", 1)]


@pytest.mark.parametrize(("status", "paused"), [(503, True), (500, False)])
def test_a_limit_pauses_the_other_users_of_the_process(api: Api, status: int, paused: bool) -> None:
    def answer(request: Request) -> tuple[int, Any]:
        return (status, b"") if request.token == "busy" else (200, page(order("A", "a"), total=1))

    api.answer = answer
    api.headers = {"Retry-After": "60"}
    client = api.client(outage_patience=0.3 if paused else 600.0, max_attempts=1)
    assert fetch_user(client, user("A", tokens=("busy",))).failure is Reason.API_ERROR
    started = time.monotonic()
    assert stored(fetch_user(client, user("A"))) == {"A": ["a"]}
    took = time.monotonic() - started
    assert took > 0.28 if paused else took < 60


def test_there_is_no_wait_after_the_last_attempt(api: Api) -> None:
    api.answer = lambda _request: (500, b"")
    started = time.monotonic()
    fetch_user(api.client(backoff_base=9000.0, backoff_cap=9000.0, max_attempts=1), user("A"))
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("status", [500, 429], ids=["in a backoff", "in a pause"])
def test_a_stop_ends_a_wait_at_once_and_keeps_what_was_found(api: Api, status: int) -> None:
    whole = paged(MANY)
    stop = threading.Event()

    def answer(request: Request) -> Any:
        if request.page == 1:
            return whole(request)
        threading.Timer(0.15, stop.set).start()  # by then the failure has come home, and the wait has begun
        return status, b""

    api.answer = answer
    api.headers = {"Retry-After": "600"}
    client = api.client(stop=stop, backoff_base=600.0, backoff_cap=600.0, outage_patience=600.0)
    started = time.monotonic()
    result = fetch_user(client, user("o1", "o15", " "))
    assert time.monotonic() - started < 30
    assert result.interrupted
    assert result.failure is None
    assert stored(result) == {"o1": ["p1"]}
    assert reasons(result) == {" ": Reason.MALFORMED}


def test_after_a_stop_no_request_is_made(api: Api) -> None:
    stop = threading.Event()
    stop.set()
    assert fetch_user(api.client(stop=stop), user("A")).interrupted
    assert api.asked == []


shuffles = st.lists(st.lists(st.integers(0, 11), max_size=6), max_size=5)


@given(lists=shuffles, wanted=st.sets(st.integers(0, 14), min_size=1, max_size=4), faults=st.sets(st.integers(0, 6)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_pages_and_faults_give_each_wanted_order_one_place(
    api: Api, lists: list[list[int]], wanted: set[int], faults: set[int]
) -> None:
    """Pages with repeats in any order and failures anywhere: never a wrong item, never an order lost or doubled."""
    api.server.requests.clear()
    served: set[int] = set()

    def answer(request: Request) -> tuple[int, Any]:
        if len(api.asked) - 1 in faults:
            return 500, b""
        numbers = lists[request.page - 1] if request.page <= len(lists) else []
        served.update(numbers)
        return 200, page(*[order(f"O{number}", f"p{number}") for number in numbers], total=50)

    api.answer = answer
    result = fetch_user(api.client(backoff_base=0.0001), user(*[f"o{number}" for number in wanted]))
    assert stored(result) == {f"o{number}": [f"p{number}"] for number in wanted & served}
    assert set(reasons(result)) == {f"o{number}" for number in wanted - served}
    assert (result.failure is None) == (len([n for n in faults if n < len(api.asked)]) < 5)
