"""The limiter lets through what it says and no more, over all connections together. Its counts say the same."""

from __future__ import annotations

import time

import pytest

from bytemark_sync.sandbox import Limit, Sandbox, World, parse_limit
from bytemark_sync.sandbox.limits import Limiter
from tests.support.raw_http import RIDER, ask, uuids

WORLD = World.sample(users=3, listed=(25, 25), seed=5)


def let_through(limiter: Limiter, seconds: float, each: float) -> list[float]:
    """The times at which requests were let through, in virtual time. One is made each `each` seconds."""
    times = [number * each for number in range(round(seconds / each))]
    return [now for now in times if limiter.refuses(now, now) is None]


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    limiter = Limiter(Limit(rate=50, burst=10))
    through = let_through(limiter, seconds=20, each=0.0078125)
    assert 10 + 50 * 20 - 1 <= len(through) <= 10 + 50 * 20
    assert sum(now < 0.1 for now in through) >= 10
    assert 490 <= sum(5 <= now < 15 for now in through) <= 510
    assert limiter.counts.allowed == len(through)
    assert limiter.counts.refused == 20 * 128 - len(through)
    assert limiter.counts.by_second["7"][0] in (49, 50, 51)
    assert sum(limiter.counts.by_second["7"]) == 128


def test_a_bucket_is_never_fuller_than_its_burst() -> None:
    limiter = Limiter(Limit(rate=8, burst=8))
    assert limiter.refuses(0, 0) is None
    assert sum(limiter.refuses(1000, 1000) is None for _ in range(100)) == 8


def test_a_window_gives_its_quota_at_once_and_nothing_more_until_the_next() -> None:
    limiter = Limiter(Limit(quota=600, window=10))
    through = let_through(limiter, seconds=30, each=0.0078125)
    assert [sum(start <= now < start + 10 for now in through) for start in (0, 10, 20)] == [600, 600, 600]
    assert max(now for now in through if now < 10) < 5
    assert limiter.refuses(1005, 1005) is None  # windows without a request count as well
    assert sum(limiter.refuses(1009.9, 1009) is None for _ in range(700)) == 599
    assert limiter.refuses(1010, 1010) is None


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("rate=2,burst=1", ""),
        ("rate=2,burst=1,retry_after=7", "7"),
        ("rate=0.4,burst=1,retry_after=reset", "3"),
        ("quota=1,window=10,retry_after=reset", "10"),
        ("quota=1,window=10", ""),
    ],
)
def test_retry_after_as_it_was_asked_for(spec: str, text: str) -> None:
    limiter = Limiter(parse_limit(spec))
    assert limiter.refuses(0, 0) is None
    assert limiter.refuses(0, 0) == text


def test_the_limit_is_on_all_requests_and_can_be_changed_while_it_serves() -> None:
    with Sandbox(WORLD, limit="quota=3,window=600,retry_after=9") as sandbox:
        answers = [ask(sandbox, token=rider.tokens[0]) for rider in WORLD.riders + WORLD.riders[:2]]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[3].headers["retry-after"] == "9"
        assert len(answers[3].body) < 100
        assert answers[3].json["data"] is None
        stats = sandbox.stats()
        assert (stats.requests, stats.statuses) == (5, {"200": 3, "429": 2})
        assert (stats.limit.allowed, stats.limit.refused, stats.faults) == (3, 2, {"limit": 2})
        assert [sum(column) for column in zip(*stats.limit.by_second.values(), strict=True)] == [3, 2]
        assert time.time() - 60 < stats.first_at <= stats.last_at <= time.time()
        sandbox.set_limit("rate=0.001,burst=1")
        assert [ask(sandbox).status for _ in range(2)] == [200, 429]
        assert "retry-after" not in ask(sandbox).headers
        sandbox.set_limit(None)
        assert [ask(sandbox).status for _ in range(5)] == [200] * 5
        assert sandbox.stats().limit.allowed == 0
        sandbox.set_limit(Limit(quota=1, window=600))
        sandbox.reset()
        assert [ask(sandbox).status for _ in range(3)] == [200] * 3


def test_a_refused_request_reaches_no_fault() -> None:
    with Sandbox(WORLD, limit="quota=2,window=600", faults="status:status=500,nth=2") as sandbox:
        assert [ask(sandbox).status for _ in range(3)] == [200, 500, 429]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nonsense", "name=value"),
        ("rate=x", "rate"),
        ("rate=0", "rate must be more than 0"),
        ("burst=5", "either a rate or a quota"),
        ("rate=5,quota=5,window=1", "either a rate or a quota"),
        ("quota=5", "go together"),
        ("rate=5,window=1", "go together"),
        ("quota=5,window=1,burst=2", "burst goes with rate"),
        ("rate=5,burst=0.5", "at least 1"),
        ("rate=5,retry_after=soon", "retry_after=soon"),
        ("rate=5,colour=red", "colour"),
        ("{", "."),
    ],
)
def test_an_unusable_limit_is_refused_with_what_is_wrong(spec: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_limit(spec)


def test_limits_as_text_and_as_json() -> None:
    assert parse_limit("") is None
    assert parse_limit("rate=100, burst=20,retry_after=1") == Limit(rate=100, burst=20, retry_after="1")
    assert parse_limit('{"quota": 600, "window": 10}') == parse_limit("quota=600,window=10")


def test_a_clamped_page_is_filled_from_where_the_page_before_ended() -> None:
    plain = [order.uuid for order in RIDER.orders]
    with Sandbox(WORLD, faults="clamp:size=7") as sandbox:
        pages = [ask(sandbox, page) for page in range(1, 5)]
        assert [uuids(page) for page in pages] == [plain[:7], plain[7:14], plain[14:21], plain[21:]]
        assert [page.json["data"]["pagination"]["next"] for page in pages] == [2, 3, 4, None]
        assert {page.json["data"]["total_count"] for page in pages} == {25}
        sandbox.set_faults("clamp")  # 20, which is more than the 10 that are asked for
        assert uuids(ask(sandbox)) == plain[:10]


PATH = "/v4.0/orders?page=2&per_page=10"


@pytest.mark.parametrize(
    ("form", "more", "end"),
    [("path", PATH, None), ("true", True, None), ("false", True, False), ("empty", PATH, ""), ("null", None, None)],
)
def test_each_form_of_next(form: str, more: object, end: object) -> None:
    with Sandbox(WORLD, faults=f"next:form={form}") as sandbox:
        pages = [ask(sandbox, page).json["data"]["pagination"] for page in (1, 3)]
        assert [page["next"] for page in pages] == [more, end]


def test_each_signal_can_be_missing_alone_and_a_wrong_total_leaves_next_true() -> None:
    with Sandbox(WORLD, faults="next:form=absent") as sandbox:
        inner = ask(sandbox).json["data"]
        assert (inner["total_count"], "next" in inner["pagination"]) == (25, False)
        sandbox.set_faults("total_count:form=absent")
        inner = ask(sandbox).json["data"]
        assert ("total_count" in inner, inner["pagination"]["next"]) == (False, 2)
        for form in ("small", "big"):
            sandbox.set_faults(f"total_count:form={form}")
            pages = [ask(sandbox, page).json["data"] for page in (1, 2, 3)]
            assert [page["pagination"]["next"] for page in pages] == [2, 3, None]
            assert pages[0]["total_count"] != 25
        sandbox.set_faults("next:form=always")
        assert ask(sandbox, 9).json["data"]["pagination"]["next"] == 10


def test_not_modified_has_no_body() -> None:
    with Sandbox(WORLD, faults="status:status=304") as sandbox:
        raw = ask(sandbox)
        assert (raw.status, raw.body) == (304, b"")
