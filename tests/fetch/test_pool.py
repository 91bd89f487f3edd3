"""The pool of threads: whose turn it is, and that any number of threads gives what one page after the other gives."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import PendingUser, UserResult, WantedOrder
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.fetch.pool import FetchPool
from bytemark_sync.fetch.user_orders import fetch_user
from tests.support.misbehaving_server import Request
from tests.support.scripted_api import Api, order, paged, reasons, stored

Answer = Callable[[Request], tuple[int, Any]]
SIZE = 2


class Counting:
    """Answers after a moment, and knows how many requests were under way at once, in all and of one token."""

    def __init__(self, answer: Answer, seconds: float = 0.002) -> None:
        self.answer, self.seconds = answer, seconds
        self.lock = threading.Lock()
        self.under_way: Counter[str] = Counter()
        self.most = self.most_of_one = 0

    def __call__(self, request: Request) -> tuple[int, Any]:
        with self.lock:
            self.under_way[request.token] += 1
            self.most = max(self.most, self.under_way.total())
            self.most_of_one = max(self.most_of_one, *self.under_way.values())
        time.sleep(self.seconds)
        answer = self.answer(request)
        with self.lock:
            self.under_way[request.token] -= 1
        return answer


def rider(number: int, *wanted: int, tokens: tuple[str, ...] = ()) -> PendingUser:
    keys = tokens or (f"k{number}",)
    orders = tuple(WantedOrder(number * 1000 + one, f"o{one}") for one in wanted)
    return PendingUser(number, tuple(Token(key) for key in keys), orders)


def fetch(api: Api, *users: PendingUser, workers: int = 8, **more: Any) -> list[UserResult]:
    """Through a pool, by user."""
    pool = FetchPool(api.client(page_size=SIZE, backoff_base=0.0001, **more), workers)
    for each in users:
        pool.submit(each)
    results = []
    while pool.in_flight:
        result = pool.next(30)
        results += [result] if result is not None else []
    pool.close()
    return sorted(results, key=lambda result: result.user_id)


def summary(result: UserResult) -> tuple[Any, ...]:
    return result.user_id, stored(result), reasons(result), result.failure, result.detail, result.interrupted


def long_list(pages: int) -> list[Any]:
    return [order(f"o{number}", f"p{number}") for number in range(pages * SIZE)]


def test_users_are_fetched_side_by_side_and_each_page_by_page(api: Api) -> None:
    counting = api.answer = Counting(paged(long_list(20), SIZE), seconds=0.01)
    results = fetch(api, *[rider(number, 39) for number in range(1, 9)], workers=4)
    assert [stored(result) for result in results] == [{"o39": ["p39"]}] * 8
    for number in range(1, 9):
        assert [page for token, page in api.asked if token == f"k{number}"] == list(range(1, 21))
    assert (counting.most, counting.most_of_one) == (4, 1)


def test_new_users_have_the_first_turns_and_then_the_longest_list(api: Api) -> None:
    lists = {"k1": 2, "k2": 6, "k3": 4}
    submitted = threading.Event()

    def answer(request: Request) -> tuple[int, Any]:
        assert submitted.wait(10)
        return paged(long_list(lists[request.token]), SIZE)(request)

    api.answer = answer
    pool = FetchPool(api.client(page_size=SIZE), 1)
    for number in (1, 2, 3):
        pool.submit(rider(number, 99))
    submitted.set()
    assert all(pool.next(30) for _ in lists)
    pool.close()
    left = [(token, lists[token] - page) for token, page in api.asked]
    assert left[:3] == [("k1", 1), ("k2", 5), ("k3", 3)]
    # From then on the longest list first: no page leaves more behind it than the one before.
    assert left[3:5] == [("k2", 4), ("k2", 3)]
    assert [pages for _, pages in left[3:]] == sorted((pages for _, pages in left[3:]), reverse=True)
    assert len(left) == 12


@pytest.mark.parametrize("down_from", [1, 2, 31])
def test_a_server_that_goes_down_costs_exactly_the_attempts(api: Api, down_from: int) -> None:
    served = paged(long_list(100), SIZE)
    api.answer = Counting(lambda request: (500, b"") if request.page >= down_from else served(request))
    (result,) = fetch(api, rider(1, 199, 0))
    assert [page for _, page in api.asked] == [*range(1, down_from), *[down_from] * 5]
    assert result.failure is Reason.API_ERROR
    assert result.detail.endswith("(failed requests: 5)")
    assert stored(result) == ({"o0": ["p0"]} if down_from > 1 else {})


def test_a_token_rejected_midway_is_followed_by_the_next_from_the_first_page(api: Api) -> None:
    served = paged(long_list(60), SIZE)

    def answer(request: Request) -> tuple[int, Any]:
        return (401, b"") if request.token == "k1" and request.page >= 40 else served(request)

    api.answer = Counting(answer)
    (result,) = fetch(api, rider(1, 119, tokens=("k1", "k2")))
    assert stored(result) == {"o119": ["p119"]}
    assert [one.token.reveal() for one in result.found] == ["k2"]
    assert api.asked == [*(("k1", page) for page in range(1, 41)), *(("k2", page) for page in range(1, 61))]


def test_a_stop_ends_every_user_and_keeps_what_was_found(api: Api) -> None:
    api.answer = Counting(paged(long_list(200), SIZE), seconds=0.01)
    stop = threading.Event()
    pool = FetchPool(api.client(stop=stop, page_size=SIZE), 2)
    for number in (1, 2, 3):
        pool.submit(rider(number, 0, 399))
    while len(api.asked) < 60:
        time.sleep(0.005)
    stop.set()
    results = [pool.next(30) for _ in range(3)]
    asked = len(api.asked)
    for result in results:
        assert result is not None
        assert result.interrupted
        assert stored(result) == {"o0": ["p0"]}
    time.sleep(0.1)
    assert len(api.asked) == asked
    pool.close()


@pytest.mark.slow
@pytest.mark.parametrize("refused", [1, 5, 1000])
def test_threads_that_cannot_be_started_are_tried_again_and_missed_by_nobody(
    api: Api, refused: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The system refuses so many starts: the pool's own alone, for the server of this test needs threads too."""
    start, left = threading.Thread.start, [refused]

    def reluctant(thread: threading.Thread) -> None:
        if thread.name.startswith("fetch-") and left[0] > 0:
            left[0] -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", reluctant)
    counting = api.answer = Counting(paged(long_list(8), SIZE), seconds=0.01)
    with caplog.at_level(logging.WARNING):
        results = fetch(api, *[rider(number, 15, 99) for number in range(1, 11)], workers=3)
    assert [summary(result) for result in results] == [
        (number, {"o15": ["p15"]}, {"o99": Reason.NOT_FOUND}, None, "", False) for number in range(1, 11)
    ]
    assert len(api.asked) == 10 * 8
    assert counting.most == (1 if refused == 1000 else 3)
    assert [record.getMessage() for record in caplog.records] == [
        "Only 0 of 3 threads could be started (can't start new thread). The run goes on, but more slowly."
    ]


@pytest.mark.slow
@given(
    pages=st.integers(1, 12),
    wanted=st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=3), min_size=1, max_size=4),
    faults=st.dictionaries(st.tuples(st.integers(1, 4), st.integers(1, 12)), st.integers(1, 3), max_size=4),
    repeats=st.dictionaries(st.integers(0, 23), st.integers(0, 23), max_size=10),
    lie=st.sampled_from([0, 0, 0, 20, -6]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_results_are_those_of_one_user_after_the_other(
    api: Api,
    pages: int,
    wanted: list[set[int]],
    faults: dict[tuple[int, int], int],
    repeats: dict[int, int],
    lie: int,
) -> None:
    """Any list with orders repeated anywhere, a `total_count` that lies, pages that fail a few times or for good."""
    listed = long_list(pages)
    for place, source in repeats.items():
        if place < len(listed):
            listed[place] = order(f"o{source}", f"p{source}")
    served = paged(listed, SIZE, total=max(0, len(listed) + lie))
    users = [rider(number, *sorted(numbers)) for number, numbers in enumerate(wanted, 1)]

    def failing() -> Answer:
        left, lock = (
            Counter({(f"k{number}", page): times for (number, page), times in faults.items()}),
            threading.Lock(),
        )

        def answer(request: Request) -> tuple[int, Any]:
            with lock:
                left[request.token, request.page] -= 1
                if left[request.token, request.page] >= 0:
                    return 500, b""
            return served(request)

        return answer

    api.server.requests.clear()
    api.answer = failing()
    alone = [fetch_user(api.client(page_size=SIZE, backoff_base=0.0001), each) for each in users]
    asked_alone = Counter(api.asked)
    api.server.requests.clear()
    counting = api.answer = Counting(failing(), seconds=0.0005)
    together = fetch(api, *users, workers=3)
    assert [summary(result) for result in together] == [summary(result) for result in alone]
    # Where a user comes to the last attempt, page 1 of one who was answered is asked for once more (Outages).
    given_up = sum(result.failure is not None for result in alone)
    more = Counter(api.asked) - asked_alone
    assert asked_alone - Counter(api.asked) == Counter()
    assert (more.total() <= given_up, {page for _, page in more} <= {1}) == (True, True), more
    assert counting.most_of_one == 1 or more
