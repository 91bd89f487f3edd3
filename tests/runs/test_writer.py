"""The writer: each transaction with its counts, the hold on a batch, a repeated commit, refused rows, a closed run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from bytemark_sync.bytemark.stats import ApiSample
from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.counters import Counts
from bytemark_sync.domain.matching import (
    Bookmark,
    FoundOrder,
    LeftOrder,
    PassItem,
    PendingUser,
    UserResult,
    WantedOrder,
)
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    BatchStatus,
    Order,
    OrderItem,
    OrderOutcome,
    RunOutage,
    RunStatus,
    StoredOrder,
    SyncBatch,
    SyncRun,
    Trigger,
)
from bytemark_sync.runs import writer as writer_module
from bytemark_sync.runs.run_rows import BatchClaim, ClaimLost, RunClosed
from bytemark_sync.runs.writer import DryRunWriter, SyncWriter, Worked
from bytemark_sync.storage.database_retry import RowRefused, in_transaction
from bytemark_sync.storage.pending import DueUser

pytestmark = pytest.mark.django_db
NumQueries = Any


@pytest.fixture
def run() -> SyncRun:
    return SyncRun.objects.create(trigger=Trigger.COMMAND, status=RunStatus.RUNNING)


def claimed(run: SyncRun, *users: int) -> BatchClaim:
    ids = list(users or (7,))
    batch = SyncBatch.objects.create(run=run, number=1, user_ids=ids, status=BatchStatus.RUNNING, worker="me")
    return BatchClaim(batch.pk, "me", ids)


KEY = Token("made-up-key")


def wanted(user_id: int, number: int) -> WantedOrder:
    """An order in the portal's table, too."""
    order_id = user_id * 100 + number
    Order.objects.get_or_create(pk=order_id, defaults={"order_uuid": f"o{order_id}", "user_id": user_id, "amount": "0"})
    return WantedOrder(order_id, f"o{order_id}")


def worked(
    user_id: int, *, found: int = 0, left: tuple[Reason, ...] = (), unseen: int = 0, failure: Reason | None = None
) -> Worked:
    """A user with so many orders of two passes each, those left, and those that an interrupted fetch did not see."""
    orders = [wanted(user_id, number) for number in range(1, 1 + found + len(left) + unseen)]
    result = UserResult(
        user_id,
        tuple(
            FoundOrder(order, KEY, (PassItem("product", f"{order.uuid}a"), PassItem("product", f"{order.uuid}b")))
            for order in orders[:found]
        ),
        tuple(LeftOrder(order, reason, "words") for order, reason in zip(orders[found:], left, strict=False)),
        failure=failure,
        interrupted=bool(unseen),
        bookmark=Bookmark(token=KEY, page=3, pages=3) if unseen else None,
    )
    return Worked(DueUser(PendingUser(user_id, (KEY,), tuple(orders)), "mark"), result)


def stored() -> list[int]:
    """The orders that have items, which must be both of theirs, and a record."""
    ids = sorted(OrderItem.objects.values_list("order_id", flat=True))
    assert ids[::2] == ids[1::2] == sorted(StoredOrder.objects.values_list("order_id", flat=True))
    return ids[::2]


def reasons() -> dict[int, str]:
    return dict(OrderOutcome.objects.values_list("order_id", "reason"))


@contextmanager
def refusing(condition: str, table: str = "bytemark_order_items") -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TRIGGER refuses BEFORE INSERT ON {table} WHEN {condition} BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        yield
        cursor.execute("DROP TRIGGER refuses")


# --- Each transaction with its counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("of_a_batch", [False, True])
def test_orders_outcomes_and_counts_are_written_together(run: SyncRun, of_a_batch: bool) -> None:
    claim = claimed(run, 7, 8, 9) if of_a_batch else None
    writer = SyncWriter(run, threading.Event(), claim)
    first = writer.flush(
        [
            worked(7, found=2, left=(Reason.NOT_FOUND, Reason.NO_PASSES)),
            worked(8, left=(Reason.API_ERROR, Reason.API_ERROR), failure=Reason.API_ERROR),
        ],
        ApiSample(requests=6, retries=4, answers={"ok": 2, "server_error": 4}),
    )
    assert first.counts == Counts(
        users=2,
        users_failed=1,
        orders=6,
        orders_synced=2,
        orders_not_found=1,
        orders_without_passes=1,
        items_created=4,
        api_requests=6,
        retries=4,
    )
    assert [(user_id, order.order.id) for user_id, order in first.left] == [(7, 703), (7, 704), (8, 801), (8, 802)]
    second = writer.flush([worked(9, found=1)], ApiSample(requests=1, answers={"ok": 1}))
    assert stored() == [701, 702, 901]
    assert reasons() == {703: "not_found", 704: "no_passes", 801: "api_error", 802: "api_error"}
    run.refresh_from_db()
    whole = Counts()
    whole.add(first.counts)
    whole.add(second.counts)
    assert Counts.of(run) == whole
    row = SyncBatch.objects.get() if of_a_batch else run
    assert (row.answers, row.writes) == ({"ok": 3, "server_error": 4}, 2)
    if of_a_batch:
        assert (SyncBatch.objects.get().user_ids, run.answers, run.writes) == ([], {}, 0)


def test_a_dry_run_counts_the_same_and_writes_nothing(run: SyncRun) -> None:
    users = [worked(7, found=2, left=(Reason.MALFORMED,)), worked(8, found=1, unseen=2)]
    sample = ApiSample(requests=3, answers={"ok": 3})
    dry = DryRunWriter()
    dry.beat()
    counts = dry.flush(users, sample)
    assert (stored(), reasons()) == ([], {})
    assert SyncWriter(run, threading.Event()).flush(users, sample) == counts


def test_many_orders_take_several_transactions_and_users_and_requests_count_once(
    run: SyncRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "ORDERS_PER_TRANSACTION", 2)
    writer = SyncWriter(run, threading.Event(), claimed(run, 7, 8))
    writer.flush([worked(7, found=3, left=(Reason.NOT_FOUND,) * 2), worked(8, found=1)], ApiSample(requests=4))
    run.refresh_from_db()
    assert Counts.of(run) == Counts(
        users=2, orders=6, orders_synced=4, orders_not_found=2, items_created=8, api_requests=4
    )
    assert (SyncBatch.objects.get().writes, SyncBatch.objects.get().user_ids) == (3, [])


# --- The hold on a batch ----------------------------------------------------------------------------------------------


def test_a_batch_keeps_who_is_still_to_work_and_how_far_a_broken_off_user_is(run: SyncRun) -> None:
    claim = claimed(run, 7, 8, 9)
    writer = SyncWriter(run, threading.Event(), claim)
    writer.flush([worked(8, found=1)], ApiSample())
    assert SyncBatch.objects.get().user_ids == claim.user_ids == [7, 9]
    flushed = writer.flush([worked(9, found=1, unseen=2)], ApiSample())
    assert (flushed.counts.users, flushed.counts.orders, flushed.counts.orders_synced) == (0, 1, 1)
    batch = SyncBatch.objects.get()
    assert batch.user_ids == [7, 9]
    assert set(batch.bookmarks) == {"9"}
    assert (batch.bookmarks["9"]["page"], batch.bookmarks["9"]["orders"]) == (3, [902, 903])
    assert KEY.reveal() not in str(batch.bookmarks)
    writer.flush([worked(9, found=3)], ApiSample())
    batch.refresh_from_db()
    assert (batch.user_ids, batch.bookmarks, stored()) == ([7], {}, [801, 901, 902, 903])


@pytest.mark.parametrize(
    "other", [{"worker": "another"}, {"status": BatchStatus.QUEUED}, {"writes": 5}], ids=["worker", "queued", "written"]
)
def test_whose_batch_belongs_to_another_writes_nothing_more(run: SyncRun, other: dict[str, Any]) -> None:
    writer = SyncWriter(run, threading.Event(), claimed(run))
    SyncBatch.objects.update(**other)
    before = (SyncRun.objects.values().get(), SyncBatch.objects.values().get())
    with pytest.raises(ClaimLost):
        writer.flush([worked(7, found=1, left=(Reason.NOT_FOUND,))], ApiSample(requests=3))
    with pytest.raises(ClaimLost):
        writer.beat()
    assert (SyncRun.objects.values().get(), SyncBatch.objects.values().get()) == before
    assert (stored(), reasons()) == ([], {})


# --- A commit whose answer is lost ------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_a_batch", [False, True])
def test_a_transaction_that_is_repeated_after_its_commit_takes_no_effect(
    run: SyncRun, of_a_batch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is lost between the commit and its answer, so that the same transaction is made again."""

    def twice(transaction: Callable[[], None]) -> None:
        in_transaction(transaction)
        in_transaction(transaction)

    writer = SyncWriter(run, threading.Event(), claimed(run) if of_a_batch else None)
    monkeypatch.setattr(writer_module, "in_transaction", twice)
    flushed = writer.flush([worked(7, found=2, left=(Reason.NOT_FOUND,))], ApiSample(requests=3, answers={"ok": 3}))
    assert flushed.counts == Counts(
        users=1, orders=3, orders_synced=2, orders_not_found=1, items_created=4, api_requests=3
    )
    writer.flush([], ApiSample(requests=1, answers={"ok": 1}))
    run.refresh_from_db()
    flushed.counts.api_requests += 1
    assert Counts.of(run) == flushed.counts
    row = SyncBatch.objects.get() if of_a_batch else run
    assert (row.writes, row.answers) == (2, {"ok": 4})
    assert (stored(), OrderOutcome.objects.get().attempts) == ([701, 702], 1)


# --- Rows that the database refuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("of_a_batch", [False, True])
def test_a_refused_order_is_found_by_halves_and_left_alone(run: SyncRun, of_a_batch: bool) -> None:
    writer = SyncWriter(run, threading.Event(), claimed(run, 7, 8, 9) if of_a_batch else None)
    users = [worked(7, found=3), worked(8, found=4, left=(Reason.NO_PASSES,)), worked(9, found=2)]
    with refusing("NEW.order_id IN (801, 804)"):
        flushed = writer.flush(users, ApiSample(requests=5, answers={"ok": 5}))
    assert flushed.counts == Counts(
        users=3,
        orders=10,
        orders_synced=7,
        orders_without_passes=1,
        orders_invalid=2,
        items_created=14,
        api_requests=5,
    )
    run.refresh_from_db()
    assert Counts.of(run) == flushed.counts
    assert stored() == [701, 702, 703, 802, 803, 901, 902]
    assert reasons() == {801: "malformed", 804: "malformed", 805: "no_passes"}
    row = SyncBatch.objects.get() if of_a_batch else run
    assert row.answers == {"ok": 5}
    if of_a_batch:
        assert SyncBatch.objects.get().user_ids == []


def test_an_order_whose_reason_is_refused_too_ends_the_work(run: SyncRun) -> None:
    writer = SyncWriter(run, threading.Event())
    with refusing("NEW.order_id = 702", "bytemark_sync_outcome"), pytest.raises(RowRefused):
        writer.flush([worked(7, found=1, left=(Reason.NOT_FOUND,))], ApiSample(requests=1))
    assert (stored(), reasons()) == ([701], {})


# --- The run's row: one statement while all is as expected, a look at it only when it is not --------------------------


@pytest.mark.parametrize("of_a_batch", [False, True])
def test_a_sign_of_life_is_one_statement_a_row(
    run: SyncRun, of_a_batch: bool, django_assert_num_queries: NumQueries
) -> None:
    stop = threading.Event()
    writer = SyncWriter(run, stop, claimed(run) if of_a_batch else None)
    for _ in range(2):
        with django_assert_num_queries(2 if of_a_batch else 1):
            writer.beat()
        with django_assert_num_queries(4 if of_a_batch else 3):  # within a savepoint of the test's transaction
            writer.flush([], ApiSample())
    assert not stop.is_set()


@pytest.mark.parametrize("of_a_batch", [False, True])
def test_a_stop_is_seen_by_the_next_write_and_what_was_fetched_is_still_counted(run: SyncRun, of_a_batch: bool) -> None:
    stop = threading.Event()
    writer = SyncWriter(run, stop, claimed(run) if of_a_batch else None)
    SyncRun.objects.update(stop_requested=True)
    for requests in (3, 5):
        writer.flush([], ApiSample(requests=requests))
        assert stop.is_set()
    run.refresh_from_db()
    assert (run.api_requests, run.status) == (8, RunStatus.RUNNING)


@pytest.mark.parametrize("of_a_batch", [False, True])
@pytest.mark.parametrize("asked_to_stop", [False, True])
def test_a_run_that_others_closed_is_written_no_more(run: SyncRun, of_a_batch: bool, asked_to_stop: bool) -> None:
    writer = SyncWriter(run, threading.Event(), claimed(run) if of_a_batch else None)
    SyncRun.objects.update(status=RunStatus.FAILED, stop_requested=asked_to_stop)
    before = SyncRun.objects.values().get()
    with pytest.raises(RunClosed):
        writer.flush([], ApiSample(requests=3))
    with pytest.raises(RunClosed):
        writer.beat()
    assert SyncRun.objects.values().get() == before


def test_a_run_whose_row_went_back_in_a_crash_is_written_on(run: SyncRun) -> None:
    writer = SyncWriter(run, threading.Event())
    for _ in range(2):
        writer.flush([], ApiSample(requests=1))
    SyncRun.objects.update(writes=1, api_requests=1)
    writer.flush([], ApiSample(requests=5))
    run.refresh_from_db()
    assert (run.writes, run.api_requests) == (3, 6)


# --- Outages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_a_batch", [False, True])
def test_an_outage_begins_once_and_ends_with_the_next_good_answer(run: SyncRun, of_a_batch: bool) -> None:
    writer = SyncWriter(run, threading.Event(), claimed(run) if of_a_batch else None)
    since = timezone.now() - timedelta(minutes=3)
    for seconds in (0, 5):
        writer.silent(since + timedelta(seconds=seconds))
    writer.flush([], ApiSample(requests=4, answers={"server_error": 4}))
    writer.beat()
    assert outages() == [(since, False)]
    writer.flush([], ApiSample(requests=1, answers={"ok": 1}))
    assert outages() == [(since, True)]
    ended = RunOutage.objects.get().ended_at
    writer.flush([], ApiSample(requests=1, answers={"ok": 1}))
    assert RunOutage.objects.get().ended_at == ended
    writer.silent(since + timedelta(minutes=5))
    assert outages() == [(since, True), (since + timedelta(minutes=5), False)]
    run.refresh_from_db()
    assert run.silent_since == since + timedelta(minutes=5)


def test_another_process_that_is_answered_ends_the_outage_and_a_stop_is_seen(run: SyncRun) -> None:
    since = timezone.now() - timedelta(minutes=3)
    SyncWriter(run, threading.Event(), claimed(run)).silent(since)
    other_run = SyncRun.objects.create(trigger=Trigger.COMMAND, status=RunStatus.RUNNING)
    SyncWriter(other_run, threading.Event()).silent(since)
    SyncRun.objects.filter(pk=run.pk).update(stop_requested=True)
    stop = threading.Event()
    SyncWriter(run, stop).flush([], ApiSample(requests=1, answers={"token_rejected": 1}))
    assert stop.is_set()
    assert {(each.run_id, each.ended_at is None) for each in RunOutage.objects.all()} == {
        (run.pk, False),
        (other_run.pk, True),
    }


def test_good_answers_that_are_written_late_do_not_cut_an_outage_in_two(run: SyncRun) -> None:
    """A process writes answers up to two seconds after it has had them; another has noted the outage meanwhile."""
    since = timezone.now() - timedelta(seconds=4)
    first, second = (SyncWriter(run, threading.Event()) for _ in range(2))
    first.silent(since)
    second.flush([], ApiSample(requests=1, answers={"ok": 1}))
    assert outages() == [(since, True)]
    second.silent(since + timedelta(seconds=1))
    assert outages() == [(since, False)]
    second.flush([], ApiSample(requests=1, answers={"ok": 1}))
    assert outages() == [(since, True)]


def outages() -> list[tuple[datetime, bool]]:
    """Beginnings, and whether they have ended."""
    return [(each.began_at, each.ended_at is not None) for each in RunOutage.objects.order_by("pk")]
