"""Where a list ends: no listed order is missed while a signal is truthful, and the number of requests is bounded."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import PendingUser, WantedOrder
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.fetch.user_orders import fetch_steps, fetch_user
from tests.support.misbehaving_server import Request
from tests.support.scripted_api import Api, order, page, reasons, stored

ABSENT = "absent"


@dataclass(frozen=True)
class Habits:
    """How a server lists orders: orders a page whatever it is asked for, and what it says of the total and of more.

    `total` is added to the true count; `follows` is what `pagination.next` is where more follows, `ends` where not.
    """

    fills: int = 20
    total: int | str = ABSENT
    follows: Any = ABSENT
    ends: Any = ABSENT
    ignores_page: bool = False

    def answer(self, request: Request, listed: list[Any]) -> tuple[int, Any]:
        number = 1 if self.ignores_page else request.page
        size = min(self.fills, int(request.query["per_page"]))
        part = listed[(number - 1) * size : number * size]
        total = None if isinstance(self.total, str) else max(0, len(listed) + self.total)
        body = page(*part, total=total)
        following = self.follows if number * size < len(listed) else self.ends
        if following != ABSENT:
            body["data"]["pagination"] = {"page": number, "per_page": size, "next": following}
        return 200, body


def orders(count: int) -> list[Any]:
    return [order(f"o{number}", f"p{number}") for number in range(count)]


def user(*numbers: int, user_id: int = 7) -> PendingUser:
    wanted = tuple(WantedOrder(number + 1, f"o{number}") for number in numbers)
    return PendingUser(user_id, (Token(f"k{user_id}"),), wanted)


@pytest.mark.parametrize(
    ("habits", "requests"),
    [
        (Habits(), 10),
        (Habits(total=0), 9),
        (Habits(follows=True, ends=False), 9),
        (Habits(follows="/v4.0/orders?page=2"), 9 + 1),  # the last page is full, and carries no signal
        (Habits(follows=2, ends=None), 9),
        (Habits(total=-100, follows=True, ends=None), 9),
        (Habits(total=100, follows=True, ends=None), 10),
        (Habits(total=0, ends=False, follows=False), 9),
        (Habits(follows=True, ends=True), 10),
    ],
    ids=str,
)
def test_every_order_is_found_where_a_server_fills_fewer_than_it_is_asked_for(
    api: Api, habits: Habits, requests: int
) -> None:
    """The example of a server that gives 20 orders where 100 were asked for."""
    api.answer = lambda request: habits.answer(request, orders(180))
    result = fetch_user(api.client(page_size=100), user(*range(180), 999))
    assert len(stored(result)) == 180
    assert reasons(result) == {"o999": Reason.NOT_FOUND}
    assert len(api.asked) == requests


def test_a_count_below_what_was_seen_is_none(api: Api) -> None:
    api.answer = lambda request: Habits(total=-165).answer(request, orders(180))
    result = fetch_user(api.client(page_size=100), user(*range(180)))
    assert len(stored(result)) == 180


def test_what_one_user_was_given_tells_where_the_list_of_another_ends(api: Api) -> None:
    """The first page may be all that a server fills, so one more is asked. Beside longer pages it is short."""
    lists = {"k1": orders(3), "k2": orders(25), "k3": orders(3), "k4": orders(20)}
    api.answer = lambda request: Habits().answer(request, lists[request.token])
    client = api.client(page_size=100)
    for number in (1, 2, 3, 4):
        assert fetch_user(client, user(999, user_id=number)).failure is None
    assert api.asked == [("k1", 1), ("k1", 2), ("k2", 1), ("k2", 2), ("k3", 1), ("k4", 1), ("k4", 2)]


def test_a_page_as_long_as_was_asked_for_is_full_beside_one_with_an_entry_more(api: Api) -> None:
    lists = {"k1": [None, *orders(20)], "k2": orders(40)}
    api.answer = lambda request: (
        (200, page(*lists["k1"])) if request.token == "k1" else Habits().answer(request, lists["k2"])
    )
    client = api.client(page_size=20)
    assert fetch_user(client, user(999, user_id=1)).failure is None
    assert len(stored(fetch_user(client, user(*range(40), user_id=2)))) == 40


def test_the_pages_still_to_come_are_reckoned_by_what_the_server_fills(api: Api) -> None:
    api.answer = lambda request: Habits(total=0).answer(request, orders(180))
    steps = fetch_steps(api.client(page_size=100), user(999))
    assert [next(steps) for _ in range(8)] == [8, 7, 6, 5, 4, 3, 2, 1]


habits_with_a_truthful_signal = st.one_of(
    st.builds(Habits, fills=st.integers(1, 8)),
    st.builds(Habits, fills=st.integers(1, 8), total=st.integers(-3, 5), follows=st.just(True), ends=st.just(None)),
    st.builds(
        Habits,
        fills=st.integers(1, 8),
        total=st.just(0),
        follows=st.sampled_from([ABSENT, None, False, "", True, "path"]),
        ends=st.sampled_from([ABSENT, None, False, "", True, "path"]),
    ),
    st.builds(Habits, fills=st.integers(1, 8), follows=st.sampled_from([True, "path", 7]), ends=st.just(ABSENT)),
)


@pytest.mark.slow
@given(habits=habits_with_a_truthful_signal, lengths=st.lists(st.integers(0, 20), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_listed_order_is_missed_while_a_signal_is_truthful(api: Api, habits: Habits, lengths: list[int]) -> None:
    lists = {f"k{number}": orders(length) for number, length in enumerate(lengths)}
    api.answer = lambda request: habits.answer(request, lists[request.token])
    client = api.client(page_size=5)
    for number, length in enumerate(lengths):
        api.server.requests.clear()
        result = fetch_user(client, user(*range(length), 999, user_id=number))
        assert len(stored(result)) == length
        assert reasons(result) == {"o999": Reason.NOT_FOUND}
        assert len(api.asked) <= length // min(habits.fills, 5) + 2


@pytest.mark.parametrize(
    "habits",
    [
        Habits(fills=4),
        Habits(fills=4, total=0),
        Habits(fills=4, follows=True, ends=False),
        Habits(fills=4, total=-30, follows="/v4.0/orders", ends=None),
    ],
    ids=str,
)
@pytest.mark.parametrize("pages", [3, 5])
def test_a_list_that_is_read_in_several_tries_comes_to_the_same_end(api: Api, habits: Habits, pages: int) -> None:
    """Each try has a client that knows nothing yet, as in another process. The stop comes with its last answer."""
    wanted, found = user(*range(38), 999), set[str]()
    for _ in range(20):
        stop = threading.Event()
        until = len(api.server.requests) + pages

        def answer(request: Request, until: int = until, stop: threading.Event = stop) -> tuple[int, Any]:
            if len(api.server.requests) >= until:
                stop.set()
            return habits.answer(request, orders(38))

        api.answer = answer
        result = fetch_user(api.client(stop=stop, page_size=10), wanted)
        found |= set(stored(result))
        if not result.interrupted:
            break
        assert reasons(result) == {}
        left = tuple(one for one in wanted.orders if one.uuid not in found)
        wanted = PendingUser(7, wanted.tokens, left, result.bookmark)
    assert found == {f"o{number}" for number in range(38)}
    assert reasons(result) == {"o999": Reason.NOT_FOUND}
    assert {number for _, number in api.asked} == set(range(1, 11))
    assert len(api.asked) <= 10 + 2 * 10
    assert not result.interrupted


anything: st.SearchStrategy[Any] = st.sampled_from([ABSENT, None, False, True, "", "path", 0, 3, [], {"a": 1}])


@given(
    habits=st.builds(
        Habits,
        fills=st.integers(1, 8),
        total=st.integers(-20, 10**9) | st.just(ABSENT),
        follows=anything,
        ends=anything,
        ignores_page=st.booleans(),
    ),
    length=st.integers(0, 20),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_server_says_the_requests_are_bounded(api: Api, habits: Habits, length: int) -> None:
    api.server.requests.clear()
    api.answer = lambda request: habits.answer(request, orders(length))
    result = fetch_user(api.client(page_size=5), user(999))
    assert reasons(result) == {"o999": Reason.NOT_FOUND}
    assert len(api.asked) <= (2 if habits.ignores_page else length // min(habits.fills, 5) + 2)
