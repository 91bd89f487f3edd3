"""Figures that no page waits for, and lists whose rows are looked for beside the request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from bytemark_sync.admin import resync, run_page
from bytemark_sync.admin.background_counts import WAIT, WAIT_FOR_ANY, Watched, WatchedEach
from bytemark_sync.admin.pagination import CountedPaginator, KeyedPaginator
from bytemark_sync.admin.pending_filters import this_minute
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import Order, OrderItem, SyncRun
from bytemark_sync.storage.pending import pending_orders
from tests.support.admin_data import fill
from tests.support.admin_pages import APP, listed, page, words
from tests.support.servers import wait_for

PATIENCE_SECONDS = 30.0


class Slow:
    """Gives its values one by one, each when it is let."""

    def __init__(self, *values: Any) -> None:
        self.values = values
        self.let = [threading.Event() for _ in values]
        self.asked = 0

    def __call__(self) -> Iterator[Any]:
        self.asked += 1
        for value, let in zip(self.values, self.let, strict=True):
            assert let.wait(PATIENCE_SECONDS)
            yield value


@pytest.mark.django_db(transaction=True)
class TestWatched:
    def test_a_page_does_not_wait_for_the_first_value_but_gets_the_next(self) -> None:
        slow = Slow(7)
        watched = Watched(slow)
        assert watched.latest() is None
        assert watched.latest() is None
        assert slow.asked == 1, "one thread, however many pages ask"
        slow.let[0].set()
        wait_for(lambda: watched.latest() == 7, PATIENCE_SECONDS, "the value is there")

    def test_the_best_value_so_far_is_shown_while_a_better_one_is_worked_out(self) -> None:
        slow = Slow(50, 100_000)
        slow.let[0].set()
        watched = Watched(slow)
        wait_for(lambda: watched.latest(WAIT_FOR_ANY) == 50, PATIENCE_SECONDS, "the first value is there")
        slow.let[1].set()
        wait_for(lambda: watched.latest() == 100_000, PATIENCE_SECONDS, "the better one is there")

    def test_a_cheap_value_is_always_what_is_true_now(self) -> None:
        true = [1]
        watched = Watched(lambda: iter(true))
        for value in (1, 2, 3):
            true[0] = value
            wait_for(lambda: watched.latest() == true[0], PATIENCE_SECONDS, "the new value is there")

    def test_a_dear_value_is_kept_and_shown_at_once(self) -> None:
        calls: list[float] = []

        def dear() -> Iterator[int]:
            calls.append(time.monotonic())
            time.sleep(WAIT * 1.5)
            yield len(calls)

        watched = Watched(dear)
        wait_for(lambda: watched.latest() == 1, PATIENCE_SECONDS, "the value is there")
        assert [watched.latest() for _ in range(20)] == [1] * 20
        assert len(calls) == 1

    def test_a_failure_keeps_the_last_value_and_the_next_page_asks_again(self) -> None:
        answers: list[int | None] = [1]

        def compute() -> Iterator[int]:
            if answers[0] is None:
                raise OSError("the database is away")
            yield answers[0]

        watched = Watched(compute)
        wait_for(lambda: watched.latest() == 1, PATIENCE_SECONDS, "the value is there")
        answers[0] = None
        assert watched.latest() == 1
        answers[0] = 2
        wait_for(lambda: watched.latest() == 2, PATIENCE_SECONDS, "the new value is there")

    def test_the_last_ones_asked_for_are_kept(self) -> None:
        each: WatchedEach[int] = WatchedEach(2)
        a = each.of("a", lambda: iter([1]))
        b = each.of("b", lambda: iter([2]))
        assert each.of("a", lambda: iter([1])) is a
        each.of("c", lambda: iter([3]))
        assert each.of("a", lambda: iter([1])) is a
        assert each.of("b", lambda: iter([2])) is not b


@pytest.mark.django_db(transaction=True)
def test_the_page_of_a_run_that_has_ended_does_not_wait_for_its_reasons(logged_in: Callable[[str], Client]) -> None:
    client = logged_in("operator")
    run = fill().runs[-1]
    url, again = f"{APP}syncrun/{run.pk}/change/", 'hx-select="#run-figures"'
    slow = Slow([("not_found", 3)])
    run_page.LEFT.of((run.pk, run.status), slow).begin()
    html = page(client, url)
    assert "The rest is being counted" in html
    assert again in html
    assert f'hx-get="{url}"' in html
    slow.let[0].set()
    wait_for(lambda: "Left pending, by reason" in page(client, url), PATIENCE_SECONDS, "the reasons are there")
    assert again not in page(client, url)


@pytest.mark.django_db(transaction=True)
class TestLists:
    def test_pages_hold_each_row_once_in_order(self) -> None:
        fill(stored=30, pending=130)
        rows = pending_orders().order_by("-pk")
        wanted = list(rows.values_list("pk", flat=True))
        for kind in (CountedPaginator, KeyedPaginator):
            paginator = kind(rows, 50)
            wait_for(lambda paginator=paginator: _recounted(paginator) == 130, PATIENCE_SECONDS, "counted")  # type: ignore[misc]
            pages = [[row.pk for row in paginator.page(number).object_list] for number in paginator.page_range]
            assert pages == [wanted[:50], wanted[50:100], wanted[100:]], kind

    def test_an_order_that_was_stored_since_the_list_was_read_is_not_shown(self) -> None:
        filled = fill()
        paginator = KeyedPaginator(pending_orders().order_by("-pk"), 50)
        wait_for(lambda: _recounted(paginator) == len(filled.pending), PATIENCE_SECONDS, "counted")
        gone = filled.pending[0]
        OrderItem.objects.create(order=gone, order_uuid="u", oauth_token="t", product_uuid="p", pass_uuid="x")
        shown = {row.pk for row in paginator.page(1).object_list}
        assert shown == {order.pk for order in filled.pending} - {gone.pk}

    def test_the_first_rows_are_shown_while_the_rest_is_counted(self) -> None:
        fill(stored=0, pending=70)
        rows = Order.objects.order_by("-pk")
        paginator = KeyedPaginator(rows, 50)
        first, whole = paginator.look()
        paginator.found = first
        assert paginator.is_counting
        assert [row.pk for row in paginator.page(1).object_list] == [row.pk for row in rows[:50]]
        assert not paginator.is_looking
        assert list(paginator.page(2).object_list) == []
        assert paginator.is_looking
        assert whole.is_whole
        assert list(whole.keys) == [row.pk for row in rows]

    def test_every_list_says_what_is_true_now(self, logged_in: Callable[[str], Client]) -> None:
        client = logged_in("operator")
        filled = fill()
        pending = {order.pk for order in filled.pending}

        def shows(url: str, number: int, text: str) -> Callable[[], bool]:
            def look() -> bool:
                html = page(client, APP + url)
                return len(listed(html)) == number and text in words(html)

            return look

        wait_for(shows("pendingorder/", 28, "28 pending orders"), PATIENCE_SECONDS, "all are listed and counted")
        order = filled.pending[0]
        OrderItem.objects.create(order=order, order_uuid="u", oauth_token="t", product_uuid="p", pass_uuid="x")
        assert set(listed(page(client, f"{APP}pendingorder/"))) == pending - {order.pk}
        wait_for(shows("pendingorder/", 27, "27 pending orders"), PATIENCE_SECONDS, "it is counted too")
        wait_for(shows("orderitem/?product=p", 1, "1 item"), PATIENCE_SECONDS, "its item is listed")

    def test_the_question_before_a_resync_waits_for_no_count(self, logged_in: Callable[[str], Client]) -> None:
        user = fill().riders_left_for(Reason.MALFORMED)[0]
        client, url = logged_in("operator"), f"{APP}pendingorder/resync/?q={user}&reason=malformed"
        slow = Slow(resync.Counts(orders=7, users=3))
        for minute in (this_minute(), this_minute() + timedelta(minutes=1)):
            wanted = resync.Wanted(reason="malformed", search=str(user))
            resync._counts.of((wanted, minute), slow).begin()
        html = page(client, url)
        assert "Being counted" in html
        assert 'hx-select="#counts"' in html
        assert "Resync now" in html
        client.post(url)
        assert SyncRun.objects.filter(trigger="admin").count() == 1
        slow.let[0].set()
        wait_for(lambda: "3 users, 7 pending orders" in words(page(client, url)), PATIENCE_SECONDS, "counted")


def _recounted(paginator: CountedPaginator) -> int | None:
    for name in ("known_count", "found", "count"):
        paginator.__dict__.pop(name, None)
    return paginator.known_count
