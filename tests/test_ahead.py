"""Pages of a long list that idle threads fetch ahead: the same result as page by page, within the same budgets."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytemark_sync.fetching import fetch_user
from bytemark_sync.matching import PendingUser, UserResult
from bytemark_sync.pool import FetchPool
from bytemark_sync.reasons import Reason
from tests.bytemark.server import Request, order
from tests.test_fetching import Api, api, paged, reasons, stored, user

__all__ = ["api"]  # the fixture

Answer = Callable[[Request], tuple[int, Any]]
SIZE = 2


class Counting:
    """Answers after a moment, and knows how many requests were under way at once."""

    def __init__(self, answer: Answer, seconds: float = 0.002) -> None:
        self.answer, self.seconds = answer, seconds
        self.lock = threading.Lock()
        self.under_way = self.most = self.failed = 0

    def __call__(self, request: Request) -> tuple[int, Any]:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        time.sleep(self.seconds)
        answer = self.answer(request)
        with self.lock:
            self.under_way -= 1
            self.failed += answer[0] >= 500
        return answer


def fetch(api: Api, *users: PendingUser, workers: int = 8, **more: Any) -> list[UserResult]:
    """Through a pool, by user."""
    pool = FetchPool(api.client(page_size=SIZE, backoff_base=0.0001, **more), workers)
    for each in users:
        pool.submit(each)
    results = [pool.next(30) for _ in users]
    pool.close()
    assert pool.in_flight == 0
    return sorted((result for result in results if result is not None), key=lambda result: result.user_id)


def summary(result: UserResult) -> tuple[Any, ...]:
    return stored(result), reasons(result), result.failure, result.interrupted


def long_list(pages: int) -> list[Any]:
    return [order(f"o{number}", f"p{number}") for number in range(pages * SIZE)]


def failing(answer: Answer, times: dict[int, int]) -> Answer:
    """Page number -> how often it fails before it is served."""
    left, lock = Counter(times), threading.Lock()

    def failing_answer(request: Request) -> tuple[int, Any]:
        with lock:
            left[request.page] -= 1
            if left[request.page] >= 0:
                return 500, b""
        return answer(request)

    return failing_answer


def test_a_long_list_is_read_side_by_side_and_ends_where_it_would(api: Api) -> None:
    listed = long_list(100)
    counting = api.answer = Counting(paged(listed, SIZE), seconds=0.01)
    (result,) = fetch(api, user("o190"))
    assert stored(result) == {"o190": ["p190"]}
    assert 3 <= counting.most <= 5  # never more than may fail
    assert len(api.asked) <= 96 * 1.1
    assert set(Counter(api.asked).values()) == {1}


def test_a_short_list_is_read_page_by_page(api: Api) -> None:
    counting = api.answer = Counting(paged(long_list(10), SIZE))
    (result,) = fetch(api, user("o19"))
    assert stored(result) == {"o19": ["p19"]}
    assert api.asked == [("k1", number) for number in range(1, 11)]
    assert counting.most == 1


def test_without_total_count_nothing_is_asked_ahead(api: Api) -> None:
    counting = api.answer = Counting(paged(long_list(40), SIZE, total=None))
    fetch(api, user("o79"))
    assert (counting.most, len(api.asked)) == (1, 40)


def test_threads_that_have_users_of_their_own_fetch_nothing_ahead(api: Api) -> None:
    counting = api.answer = Counting(paged(long_list(40), SIZE))
    users = [PendingUser(number, *_rest(user("o79"))) for number in range(1, 9)]
    fetch(api, *users, workers=1)
    assert counting.most == 1
    assert len(api.asked) == 8 * 40


def _rest(one: PendingUser) -> tuple[Any, Any]:
    return one.tokens, one.orders


@pytest.mark.parametrize("down_from", [1, 11, 12, 14, 31, 60])
def test_a_server_that_goes_down_costs_exactly_the_attempts(api: Api, down_from: int) -> None:
    served = paged(long_list(100), SIZE)
    counting = api.answer = Counting(lambda request: (500, b"") if request.page >= down_from else served(request))
    (result,) = fetch(api, user("o199", "o0"))
    assert counting.failed == 5
    assert result.failure is Reason.API_ERROR
    assert result.detail.endswith("(failed requests: 5)")
    assert stored(result) == ({"o0": ["p0"]} if down_from > 1 else {})


def test_a_token_rejected_midway_is_followed_by_the_next_from_the_first_page(api: Api) -> None:
    served = paged(long_list(60), SIZE)

    def answer(request: Request) -> tuple[int, Any]:
        return (401, b"") if request.token == "k1" and request.page >= 40 else served(request)

    api.answer = Counting(answer)
    (result,) = fetch(api, user("o119", tokens=("k1", "k2")))
    assert stored(result) == {"o119": ["p119"]}
    assert [one.token.reveal() for one in result.found] == ["k2"]
    assert max(number for token, number in api.asked if token == "k1") <= 44


def test_a_stop_ends_what_is_ahead_too(api: Api) -> None:
    api.answer = Counting(paged(long_list(200), SIZE), seconds=0.01)
    stop = threading.Event()
    pool = FetchPool(api.client(stop=stop, page_size=SIZE), 8)
    pool.submit(user("o0", "o399"))
    while len(api.asked) < 60:
        time.sleep(0.005)
    stop.set()
    began = time.monotonic()
    result = pool.next(5)
    assert result is not None
    assert result.interrupted
    assert stored(result) == {"o0": ["p0"]}
    assert time.monotonic() - began < 2
    asked = len(api.asked)
    time.sleep(0.1)
    assert len(api.asked) == asked
    pool.close()


@given(
    pages=st.integers(8, 70),
    wanted=st.sets(st.integers(0, 150), min_size=1, max_size=4),
    faults=st.dictionaries(st.integers(1, 70), st.integers(1, 2), max_size=2),
    repeats=st.dictionaries(st.integers(0, 139), st.integers(0, 139), max_size=10),
    lie=st.sampled_from([0, 0, 0, 40, -10]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_result_is_that_of_one_page_at_a_time(
    api: Api, pages: int, wanted: set[int], faults: dict[int, int], repeats: dict[int, int], lie: int
) -> None:
    """Any list with orders repeated anywhere, a `total_count` that lies, and fewer failures than attempts."""
    listed = long_list(pages)
    for place, source in repeats.items():
        if place < len(listed):
            listed[place] = order(f"o{source}", f"p{source}")
    served = paged(listed, SIZE, total=max(0, len(listed) + lie))
    someone = user(*[f"o{number}" for number in sorted(wanted)])
    api.server.requests.clear()
    api.answer = failing(served, faults)
    alone = fetch_user(api.client(page_size=SIZE, backoff_base=0.0001), someone)
    asked_alone = len(api.asked)
    api.server.requests.clear()
    api.answer = Counting(failing(served, faults), seconds=0.0005)
    (together,) = fetch(api, someone)
    assert summary(together) == summary(alone)
    assert len(api.asked) <= asked_alone * 1.1
