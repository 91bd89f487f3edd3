"""What a run's counts add up to, and that no order left behind is missing in its summary."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import pytest

from bytemark_sync.domain.counters import Counts, Flushed, Totals, done_of, many
from bytemark_sync.domain.matching import LeftOrder, WantedOrder
from bytemark_sync.domain.reasons import Reason, user_failures
from bytemark_sync.models import SyncRun

NAMES = [each.name for each in fields(Counts)]


def numbered(first: int) -> Counts:
    """Counts that are all different, so that none can stand in for another."""
    return Counts(**{name: first + number for number, name in enumerate(NAMES)})


def left(order_id: int, reason: Reason, detail: str = "") -> LeftOrder:
    return LeftOrder(WantedOrder(order_id, f"order-{order_id}"), reason, detail)


def test_counts_add_up_name_by_name_and_leave_the_other_as_it_is() -> None:
    one, other = numbered(1), numbered(100)
    one.add(other)
    assert one.as_dict() == {name: 101 + 2 * number for number, name in enumerate(NAMES)}
    assert other == numbered(100)


def test_nothing_added_changes_nothing() -> None:
    counts = numbered(1)
    counts.add(Counts())
    assert counts == numbered(1)


def test_a_rows_counts_are_its_columns_of_the_same_names() -> None:
    row = SimpleNamespace(**numbered(5).as_dict(), status="partial")
    assert Counts.of(row) == numbered(5)


def test_the_runs_table_has_each_count_with_nought_to_begin_with() -> None:
    assert Counts.of(SyncRun()) == Counts()


@pytest.mark.parametrize(
    ("reason", "column"),
    [
        (Reason.NOT_FOUND, "orders_not_found"),
        (Reason.NO_PASSES, "orders_without_passes"),
        (Reason.MALFORMED, "orders_invalid"),
    ],
)
def test_an_order_left_for_a_reason_of_its_own_has_a_count_of_its_own(reason: Reason, column: str) -> None:
    counts = Counts()
    counts.count_left([reason, reason])
    assert counts == Counts(**{column: 2})


@pytest.mark.parametrize("reason", sorted(user_failures()))
def test_orders_of_a_failed_user_are_told_by_the_user(reason: Reason) -> None:
    counts = Counts()
    counts.count_left([reason])
    assert counts == Counts()


def test_what_two_writes_did_is_one_sum() -> None:
    first = Flushed(numbered(1), [(7, left(1, Reason.NOT_FOUND))])
    first.add(Flushed(numbered(2), [(8, left(2, Reason.NO_PASSES))]))
    assert first.counts.users == 1 + 2
    assert [(user_id, order.order.id) for user_id, order in first.left] == [(7, 1), (8, 2)]


def test_totals_group_what_was_left_by_reason_with_an_example_and_count_each_user_once() -> None:
    totals = Totals()
    totals.add(
        Flushed(
            Counts(users=2, orders=4),
            [
                (7, left(1, Reason.NOT_FOUND, "first words")),
                (7, left(2, Reason.NOT_FOUND, "other words")),
                (8, left(3, Reason.NOT_FOUND)),
                (8, left(4, Reason.MALFORMED, "no uuid")),
            ],
        )
    )
    totals.add(Flushed(Counts(users=1, orders=1), [(9, left(5, Reason.NOT_FOUND, "later words"))]))
    assert totals.counts == Counts(users=3, orders=5)
    assert set(totals.reasons) == {Reason.NOT_FOUND, Reason.MALFORMED}
    missing, malformed = totals.reasons[Reason.NOT_FOUND], totals.reasons[Reason.MALFORMED]
    assert (missing.orders, missing.users) == (4, 3)
    assert (missing.example_user, missing.example_detail) == (7, "first words")
    assert (malformed.orders, malformed.users, malformed.example_user, malformed.example_detail) == (1, 1, 8, "no uuid")


def test_every_order_left_is_in_a_group_of_the_summary_whatever_its_reason() -> None:
    totals = Totals()
    every = list(Reason)
    totals.add(Flushed(Counts(), [(number, left(number, reason)) for number, reason in enumerate(every, 1)]))
    assert {reason: group.orders for reason, group in totals.reasons.items()} == dict.fromkeys(every, 1)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (many(1, "user"), "1 user"),
        (many(0, "user"), "0 users"),
        (many(2000, "user"), "2,000 users"),
        (many(2, "pass", "passes"), "2 passes"),
        (many(1, "pass", "passes"), "1 pass"),
        (done_of(5, 12, "user"), "5 of 12 users"),
        (done_of(0, 1, "user"), "0 of 1 user"),
        (done_of(5, 0, "user"), "5 users"),
    ],
)
def test_numbers_are_written_as_people_write_them(said: str, words: str) -> None:
    assert said == words
