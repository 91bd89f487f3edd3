"""A fetch that breaks off and goes on in a later try: what it asks, and what it says of a list that shifted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import Bookmark, PendingUser, UserResult, WantedOrder
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.fetch.user_orders import MAX_READS, fetch_user
from tests.support.misbehaving_server import Request
from tests.support.scripted_api import Api, order, paged, reasons, stored

Answer = Callable[[Request], tuple[int, Any]]


def user(*uuids: str, tokens: tuple[str, ...] = ("k1",), bookmark: Bookmark | None = None) -> PendingUser:
    wanted = tuple(WantedOrder(int(uuid[1:]), uuid) for uuid in uuids)
    return PendingUser(7, tuple(Token(one) for one in tokens), wanted, bookmark)


def listing(*numbers: int) -> list[Any]:
    return [order(f"o{number}", f"p{number}") for number in numbers]


def left_of(wanted: PendingUser, result: UserResult) -> PendingUser:
    """For the next try: the orders that are not settled."""
    settled = {one.order.id for one in result.found} | {one.order.id for one in result.left}
    orders = tuple(one for one in wanted.orders if one.id not in settled)
    return PendingUser(wanted.user_id, wanted.tokens, orders, result.bookmark)


def fetch(api: Api, wanted: PendingUser, answer: Answer, requests: int = 10_000, **more: Any) -> UserResult:
    """A try whose stop comes with the answer to its last request, of so many."""
    stop = threading.Event()
    until = len(api.server.requests) + requests

    def counted(request: Request) -> tuple[int, Any]:
        if len(api.server.requests) >= until:
            stop.set()
        return answer(request)

    api.answer = counted
    return fetch_user(api.client(stop=stop), wanted, **more)


def pages_asked(api: Api) -> list[int]:
    asked = [number for _, number in api.asked]
    api.server.requests.clear()
    return asked


MANY = listing(*range(60))


def test_a_list_is_read_on_with_its_last_page_and_what_was_settled_is_left_alone(api: Api) -> None:
    wanted = user("o5", "o55", "o99")
    first = fetch(api, wanted, paged(MANY), 4)
    assert (stored(first), reasons(first), first.interrupted) == ({"o5": ["p5"]}, {}, True)
    assert pages_asked(api) == [1, 2, 3, 4]
    second = fetch(api, left_of(wanted, first), paged(MANY))
    assert pages_asked(api) in ([3, 4, 5, 6], [4, 5, 6])  # the stop may have come before the fourth was read
    assert (stored(second), reasons(second)) == ({"o55": ["p55"]}, {"o99": Reason.NOT_FOUND})


@pytest.mark.parametrize(("total", "max_pages"), [("exact", 20), ("endless", 20), (None, 20)])
def test_a_long_list_is_read_in_tries_that_each_get_on(api: Api, total: Any, max_pages: int) -> None:
    """Each has time for four pages, one of which is the last one of the try before."""
    whole = paged(
        listing(*range(1000 if total == "endless" else 155)), total=1_000_000 if total == "endless" else total
    )
    wanted = user("o153", "o9999")
    tries, pages = 0, 0
    found: set[str] = set()
    while True:
        tries += 1
        result = fetch(api, wanted, whole, 4, max_pages=max_pages)
        found |= set(stored(result))
        if not result.interrupted:
            break
        assert result.bookmark is not None
        assert result.bookmark.pages > pages
        pages = result.bookmark.pages
        wanted = left_of(wanted, result)
    ended = max_pages if total == "endless" else 16
    asked = pages_asked(api)
    assert (set(asked), tries < 12, len(asked) <= ended + 2 * tries) == (set(range(1, ended + 1)), True, True)
    assert found == {"o153"}
    assert reasons(result) == {"o9999": Reason.API_ERROR if total == "endless" else Reason.NOT_FOUND}


@pytest.mark.parametrize(
    ("wanted", "then", "asked"),
    [
        ("o58", listing(*range(60)), [5, 6]),
        ("o58", listing(*range(3, 60)), [5, 6]),  # three are gone before the bookmark
        ("o50", listing(*range(3, 60)), [5]),
        ("o50", listing(*range(20, 60)), [5, 1, 2, 3, 4]),  # and here the wanted one went past it
        ("o47", listing(*range(12, 60)), [5, 1, 2, 3, 4]),
        ("o58", listing(99, 98, 97, *range(60)), [5, 6, 7]),
        ("o99", listing(99, 98, 97, *range(60)), [5, 6, 7, 1]),
        ("o58", [], [5, 1]),
    ],
)
def test_what_a_shifted_list_does_not_show_is_looked_for_from_page_1(
    api: Api, wanted: str, then: list[Any], asked: list[int]
) -> None:
    """`then` is the list at the next try, which begins with page 5."""
    mark = fetch_mark(api, paged(MANY), 5)
    result = fetch(api, user(wanted, bookmark=mark), paged(then))
    assert pages_asked(api) == asked
    expected = {} if not then else {wanted: [f"p{wanted[1:]}"]}
    assert stored(result) == expected
    assert reasons(result) == ({} if then else {wanted: Reason.NOT_FOUND})
    assert result.failure is None


def fetch_mark(api: Api, answer: Answer, pages: int, token: str = "k1") -> Bookmark:
    """The bookmark of a try that has read so many pages and failed in the next."""
    whole = answer
    mark = fetch(
        api,
        user("o1000", tokens=(token,)),
        lambda request: whole(request) if request.page <= pages else (500, b""),
        pages + 1,
    ).bookmark
    assert mark is not None
    assert (mark.page, mark.pages) == (pages, pages)
    mark.attempts = 0
    pages_asked(api)
    return mark


def test_an_order_of_a_list_that_keeps_shifting_is_never_called_not_found(api: Api) -> None:
    wanted = user("o58", bookmark=fetch_mark(api, paged(MANY), 5))
    mark = fetch(api, wanted, paged(listing(*range(20, 50))), 3).bookmark  # page 5, and two of the second reading
    assert mark is not None
    assert mark.again
    result = fetch(api, user("o58", bookmark=mark), paged(listing(*range(30, 50))))
    assert (reasons(result), result.failure) == ({"o58": Reason.API_ERROR}, Reason.API_ERROR)
    assert "changed" in result.detail


def test_failed_requests_add_up_over_the_tries(api: Api) -> None:
    mark = fetch_mark(api, paged(MANY), 2)
    mark.attempts = 3
    api.answer = lambda _request: (500, b"")
    result = fetch_user(api.client(), user("o58", bookmark=mark))
    assert result.failure is Reason.API_ERROR
    assert "(failed requests: 5)" in result.detail
    assert pages_asked(api) == [2, 2]


def test_a_later_try_begins_with_the_token_that_was_read_with_and_ends_with_the_others(api: Api) -> None:
    mark = fetch_mark(api, paged(MANY), 5, token="k2")
    whole = paged(MANY)
    api.answer = lambda request: (401, b"") if request.token == "k1" else whole(request)
    wanted = user("o58", tokens=("k1", "k2", "k3"), bookmark=mark)
    assert stored(fetch_user(api.client(), wanted)) == {"o58": ["p58"]}
    assert api.asked == [("k2", 5), ("k2", 6)]
    api.server.requests.clear()
    api.answer = lambda _request: (401, b"")
    assert fetch_user(api.client(), wanted).failure is Reason.TOKEN_REJECTED
    assert api.asked == [("k2", 5), ("k3", 1), ("k1", 1)]
    assert mark.page == 5  # a try changes nothing of what it was given


def test_tokens_that_come_and_go_do_not_keep_a_user_for_ever(api: Api) -> None:
    mark = Bookmark(pages=MAX_READS * 20)
    assert fetch_user(api.client(), user("o1", bookmark=mark), max_pages=20).failure is Reason.API_ERROR
    assert pages_asked(api) == []


changes = st.lists(
    st.tuples(st.integers(0, 4), st.sets(st.integers(0, 14), max_size=12), st.integers(2, 6)), min_size=1, max_size=4
)


@given(changes=changes, size=st.integers(2, 5), wanted=st.sets(st.integers(15, 39), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_shifts_between_tries_no_listed_order_is_called_not_found(
    api: Api, changes: list[tuple[int, set[int], int]], size: int, wanted: set[int]
) -> None:
    """Before each try some orders come in at the front, some go: those that stay are found, or it is said why."""
    api.server.requests.clear()
    numbers = list(range(40))
    looking = user(*(f"o{number}" for number in sorted(wanted)))
    found: set[str] = set()
    for step, (new, gone, requests) in enumerate([*changes, (0, set(), 0)]):
        numbers = [1000 + 10 * step + one for one in range(new)] + [one for one in numbers if one not in gone]
        result = fetch(api, looking, paged(listing(*numbers), size), requests or 10_000)
        found |= set(stored(result))
        if not result.interrupted:
            break
        assert reasons(result) == {}
        looking = left_of(looking, result)
    assert not result.interrupted
    for uuid, reason in reasons(result).items():
        listed = int(uuid[1:]) in numbers
        assert reason is (Reason.API_ERROR if result.failure else Reason.NOT_FOUND)
        assert not listed or result.failure
    assert found | set(reasons(result)) == {f"o{number}" for number in wanted}
