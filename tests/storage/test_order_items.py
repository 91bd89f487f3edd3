"""Storing, directly: what one call writes, row by row, and what it leaves alone. Races: test_exactly_once.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import Model, QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import FoundOrder, LeftOrder, PassItem, WantedOrder
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import Order, OrderAttempt, OrderItem, OrderOutcome, StoredOrder, SyncRun, Trigger
from bytemark_sync.storage.order_items import Finding, Written, write

pytestmark = pytest.mark.django_db
REFERENCE = datetime(2026, 1, 10, 3, 0, tzinfo=UTC)
KEY = Token("made-up-key")
PASSES = (PassItem("product-1", "pass-1"), PassItem("product-2", "pass-2"))


@pytest.fixture
def run() -> SyncRun:
    return SyncRun.objects.create(trigger=Trigger.COMMAND)


def portal(*ids: int, amount: str = "0") -> None:
    Order.objects.bulk_create(
        Order(id=each, order_uuid=f" Uuid-{each} ", user_id=7, oauth_token="old-key", amount=amount) for each in ids
    )


def found(order_id: int, *items: PassItem, token: Token = KEY) -> FoundOrder:
    return FoundOrder(WantedOrder(order_id, f"uuid-{order_id}"), token, items or PASSES)


def left(order_id: int, reason: Reason = Reason.NOT_FOUND, detail: str = "not there") -> LeftOrder:
    return LeftOrder(WantedOrder(order_id, f"uuid-{order_id}"), reason, detail)


def finding(*orders: FoundOrder | LeftOrder, user: int = 7, mark: str = "mark") -> Finding:
    return Finding(
        user,
        mark,
        [order for order in orders if isinstance(order, FoundOrder)],
        [order for order in orders if isinstance(order, LeftOrder)],
    )


def store(run: SyncRun, *findings: Finding, reference: datetime = REFERENCE) -> Written:
    return write(findings, run_id=run.pk, reference=reference)


def rows(query: type[Model] | QuerySet[Model], *fields: str) -> list[tuple[object, ...]]:
    query = query._default_manager.all() if isinstance(query, type) else query
    return list(query.order_by("pk").values_list(*fields))


def item_rows() -> list[tuple[object, ...]]:
    return rows(OrderItem, "order_id", "order_uuid", "oauth_token", "product_uuid", "pass_uuid")


def test_a_row_a_pass_with_the_token_that_fetched_it_and_the_uuid_of_the_order_table(run: SyncRun) -> None:
    portal(1, 2, 3)
    Order.objects.filter(pk=3).update(user_id=8)
    before = timezone.now()
    written = store(run, finding(found(1)), finding(found(3, PASSES[1], token=Token("other")), user=8))
    assert written == Written(stored={1, 3}, left=set(), items=3)
    assert item_rows() == [
        (1, " Uuid-1 ", "made-up-key", "product-1", "pass-1"),
        (1, " Uuid-1 ", "made-up-key", "product-2", "pass-2"),
        (3, " Uuid-3 ", "other", "product-2", "pass-2"),
    ]
    assert rows(StoredOrder, "order_id", "run_id", "user_id", "items") == [(1, run.pk, 7, 2), (3, run.pk, 8, 1)]
    assert all(before <= row.stored_at <= timezone.now() for row in StoredOrder.objects.all())
    assert rows(OrderOutcome) == rows(OrderAttempt) == []


def test_an_order_row_without_a_uuid_is_stored_with_an_empty_one(run: SyncRun) -> None:
    portal(1)
    Order.objects.update(order_uuid=None)
    store(run, finding(FoundOrder(WantedOrder(1, ""), KEY, PASSES[:1])))
    assert item_rows() == [(1, "", "made-up-key", "product-1", "pass-1")]


def test_nothing_to_write_asks_the_database_nothing(run: SyncRun, django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert store(run) == Written(set(), set(), 0)
        assert store(run, finding()) == Written(set(), set(), 0)


def test_the_order_rows_are_locked_before_anything_else_is_read(run: SyncRun) -> None:
    portal(1)
    with CaptureQueriesContext(connection) as queries:
        store(run, finding(found(1), left(2)))
    assert "bytemark_orders" in queries.captured_queries[0]["sql"]


@pytest.mark.parametrize("other", [found(1), left(1)], ids=["found", "left"])
def test_an_order_that_somebody_else_has_stored_is_left_alone_and_loses_its_reason(
    run: SyncRun, other: FoundOrder | LeftOrder
) -> None:
    portal(1, 2)
    OrderItem.objects.create(order_id=1, order_uuid="x", oauth_token="x", product_uuid="x", pass_uuid="x")
    OrderOutcome.objects.create(order_id=1, user_id=7, reason=Reason.NOT_FOUND)
    OrderOutcome.objects.create(order_id=2, user_id=7, reason=Reason.NOT_FOUND)
    assert store(run, finding(other)) == Written(set(), set(), 0)
    assert item_rows() == [(1, "x", "x", "x", "x")]
    assert rows(OrderOutcome, "order_id") == [(2,)]
    assert rows(StoredOrder) == rows(OrderAttempt) == []


def test_an_order_that_was_not_asked_for_is_not_touched(run: SyncRun) -> None:
    portal(1, 2)
    OrderItem.objects.create(order_id=2, order_uuid="x", oauth_token="x", product_uuid="x", pass_uuid="x")
    OrderOutcome.objects.create(order_id=2, user_id=7, reason=Reason.NOT_FOUND)
    store(run, finding(found(1)))
    assert rows(OrderOutcome, "order_id") == [(2,)]


def test_what_is_stored_is_told_by_the_order_of_an_item_and_not_by_its_own_key(run: SyncRun) -> None:
    portal(5, 6)
    OrderItem.objects.create(id=5, order_id=6, order_uuid="x", oauth_token="x", product_uuid="x", pass_uuid="x")
    assert store(run, finding(found(5, PASSES[0]), found(6))) == Written({5}, set(), 1)


def test_an_order_stored_by_somebody_else_stops_no_other_of_the_same_call(run: SyncRun) -> None:
    portal(1, 2, 3)
    OrderItem.objects.create(order_id=1, order_uuid="x", oauth_token="x", product_uuid="x", pass_uuid="x")
    written = store(run, finding(found(1), found(2, PASSES[0]), left(3)))
    assert written == Written({2}, {3}, 1)
    assert rows(OrderItem, "order_id") == [(1,), (2,)]
    assert rows(StoredOrder, "order_id", "items") == [(2, 1)]


@pytest.mark.parametrize("amount", ["0.00", "2.50", "", None])
def test_an_order_that_is_no_longer_free_or_gone_gets_nothing(run: SyncRun, amount: str) -> None:
    portal(1, amount=amount)
    assert store(run, finding(found(1)), finding(left(2), left(1))) == Written(set(), set(), 0)
    assert item_rows() == rows(StoredOrder) == rows(OrderOutcome) == rows(OrderAttempt) == []


@pytest.mark.parametrize("owner", [None, 8])
def test_an_order_that_changed_hands_meanwhile_gets_nothing_and_stops_no_other(run: SyncRun, owner: int | None) -> None:
    portal(1, 2, 3)
    Order.objects.filter(pk__in=(1, 2)).update(user_id=owner)
    assert store(run, finding(found(1), left(2), found(3))) == Written({3}, set(), 2)
    assert rows(OrderOutcome) == rows(OrderAttempt) == []
    # What was fetched for the new owner counts, and counts once.
    if owner:
        both = (finding(found(1, PASSES[0]), left(2)), finding(found(1, PASSES[1]), left(2), user=owner))
        assert store(run, *both, finding(found(1), user=owner)) == Written({1}, {2}, 1)
        assert rows(OrderItem, "pass_uuid")[-1] == ("pass-2",)
        assert rows(StoredOrder, "order_id", "user_id") == [(1, owner), (3, 7)]
        assert rows(OrderOutcome, "order_id", "user_id") == [(2, owner)]


def test_an_order_that_is_stored_loses_its_reason_and_no_other_does(run: SyncRun) -> None:
    portal(1, 2)
    for order_id in (1, 2):
        OrderOutcome.objects.create(order_id=order_id, user_id=7, reason=Reason.NO_PASSES)
    store(run, finding(found(1)))
    assert rows(OrderOutcome, "order_id") == [(2,)]


def test_stored_again_after_its_items_were_deleted_an_order_tells_of_the_last_time(run: SyncRun) -> None:
    portal(1, 2)
    store(run, finding(found(1), found(2)))
    OrderItem.objects.filter(order_id=1).delete()
    second = SyncRun.objects.create(trigger=Trigger.COMMAND)
    assert store(second, finding(found(1, PASSES[0]))) == Written({1}, set(), 1)
    assert rows(StoredOrder, "order_id", "run_id", "items") == [(1, second.pk, 1), (2, run.pk, 2)]


def test_an_order_found_and_left_in_one_call_is_stored(run: SyncRun) -> None:
    portal(1)
    assert store(run, finding(left(1)), finding(found(1))) == Written({1}, set(), 2)
    assert rows(OrderOutcome) == rows(OrderAttempt) == []


def test_a_left_order_has_its_outcome_and_a_line_in_its_story(run: SyncRun) -> None:
    portal(1, 2)
    Order.objects.filter(pk=2).update(user_id=8)
    before = timezone.now()
    written = store(run, finding(left(1, Reason.MALFORMED, "d" * 600)), finding(left(2, Reason.API_ERROR), user=8))
    assert written == Written(set(), {1, 2}, 0)
    fields = (
        "order_id",
        "user_id",
        "reason",
        "detail",
        "attempts",
        "tokens",
        "last_run_id",
        "next_at",
        "deferred_days",
    )
    assert rows(OrderOutcome, *fields) == [
        (1, 7, "malformed", "d" * 500, 1, "mark", run.pk, None, 0),
        (2, 8, "api_error", "not there", 1, "mark", run.pk, None, 0),
    ]
    assert rows(OrderAttempt, "order_id", "run_id", "reason", "detail") == [
        (1, run.pk, "malformed", "d" * 500),
        (2, run.pk, "api_error", "not there"),
    ]
    now = timezone.now()
    for outcome in OrderOutcome.objects.all():
        assert before <= outcome.first_at == outcome.last_at <= now
        assert outcome.first_at == OrderAttempt.objects.get(order_id=outcome.order_id).at
    assert item_rows() == []


def test_a_further_attempt_counts_and_keeps_when_it_began(run: SyncRun) -> None:
    portal(1, 2)
    began = timezone.now() - timedelta(days=3)
    OrderOutcome.objects.create(
        order_id=1, user_id=7, reason=Reason.API_ERROR, attempts=4, first_at=began, last_at=began, tokens="old"
    )
    OrderOutcome.objects.create(order_id=2, user_id=7, reason=Reason.NO_TOKEN, attempts=9, first_at=began)
    store(run, finding(left(1, Reason.MALFORMED, "now this")))
    outcome = OrderOutcome.objects.get(order_id=1)
    assert (outcome.attempts, outcome.first_at, outcome.reason, outcome.detail) == (5, began, "malformed", "now this")
    assert (outcome.tokens, outcome.last_run_id) == ("mark", run.pk)
    assert outcome.last_at > began + timedelta(days=2)
    assert rows(OrderOutcome, "order_id", "attempts") == [(1, 5), (2, 9)]


DAY = timedelta(days=1)
PAST, COMING = timezone.now() - DAY, timezone.now() + 2 * DAY


@pytest.mark.parametrize(
    ("reason", "before", "days"),
    [
        # The first time.
        (Reason.NOT_FOUND, None, 1),
        (Reason.NO_PASSES, None, 1),
        (Reason.TOKEN_REJECTED, None, 1),
        # The wait doubles once it is over, up to thirty days.
        (Reason.NOT_FOUND, (1, PAST, "mark"), 2),
        (Reason.NO_PASSES, (2, PAST, "mark"), 4),
        (Reason.NOT_FOUND, (8, PAST, "mark"), 16),
        (Reason.NOT_FOUND, (15, PAST, "mark"), 30),
        (Reason.NOT_FOUND, (16, PAST, "mark"), 30),
        (Reason.NOT_FOUND, (30, PAST, "mark"), 30),
        # A try ahead of time does not lengthen it.
        (Reason.NOT_FOUND, (4, COMING, "mark"), 4),
        # An interlude of another kind, which left no time, does.
        (Reason.NOT_FOUND, (4, None, "mark"), 8),
        # A changed token begins anew.
        (Reason.TOKEN_REJECTED, (16, PAST, "another"), 1),
        (Reason.NOT_FOUND, (16, COMING, "another"), 1),
        # A reason that defers nothing keeps the wait for later, under the same tokens.
        (Reason.API_ERROR, (4, COMING, "mark"), 4),
        (Reason.MALFORMED, (4, PAST, "mark"), 4),
        (Reason.NO_TOKEN, (4, PAST, "another"), 0),
        (Reason.API_ERROR, None, 0),
    ],
)
def test_how_long_an_order_waits(
    run: SyncRun, reason: Reason, before: tuple[int, datetime | None, str] | None, days: int
) -> None:
    portal(1)
    if before:
        waited, next_at, tokens = before
        OrderOutcome.objects.create(
            order_id=1, user_id=7, reason=Reason.NOT_FOUND, deferred_days=waited, next_at=next_at, tokens=tokens
        )
    store(run, finding(left(1, reason)))
    outcome = OrderOutcome.objects.get(order_id=1)
    defers = reason in (Reason.NOT_FOUND, Reason.NO_PASSES, Reason.TOKEN_REJECTED)
    # An hour less than whole days, so that a daily run finds it over.
    due = REFERENCE + timedelta(days=days, hours=-1) if defers else None
    assert (outcome.deferred_days, outcome.next_at) == (days, due)


def test_a_great_many_are_written_in_slices(run: SyncRun) -> None:
    portal(*range(1, 1202))
    orders = [found(each, PASSES[0]) for each in range(1, 1101)]
    written = store(run, finding(*orders, *(left(each) for each in range(1101, 1202))))
    assert (len(written.stored), len(written.left), written.items) == (1100, 101, 1100)
    assert OrderItem.objects.count() == StoredOrder.objects.count() == 1100
    assert OrderOutcome.objects.count() == OrderAttempt.objects.count() == 101
