"""What counts as a change of the answers' shape, and what does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytemark_sync.bytemark.shape import SEEN, Shape, paths_of
from bytemark_sync.domain.drift import MIN_ANSWERS, Change, compare, is_comparable


def shape(*answers: tuple[int, Any]) -> Shape:
    """Of so many answers of each kind."""
    whole = Shape()
    for times, value in answers:
        found = paths_of(json.dumps(value).encode())
        one = {path: dict.fromkeys((SEEN, *types), times) for path, types in found.items()}
        whole.merge(Shape(times, members=one))
    return whole


def changes(before: Shape, now: Shape) -> list[tuple[str, str]]:
    return [(each.word, each.path) for each in compare(before, now)]


PLAIN = {"orders": [{"uuid": "a", "note": "x", "product": {"uuid": "p"}}], "total_count": 1}
NO_NOTE = {"orders": [{"uuid": "a", "product": {"uuid": "p"}}], "total_count": 1}
NO_PRODUCT = {"orders": [{"uuid": "a", "note": "x"}], "total_count": 1}
NULL_PRODUCT = {"orders": [{"uuid": "a", "note": "x", "product": None}], "total_count": 1}
OTHER_TYPE = {"orders": [{"uuid": "a", "note": 7, "product": {"uuid": "p"}}], "total_count": 1}
EMPTY = {"orders": [], "total_count": 0}


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (shape((50, PLAIN)), shape((500, PLAIN)), []),
        (shape((50, NO_NOTE)), shape((50, PLAIN)), [("new", "orders[].note")]),
        (shape((50, PLAIN)), shape((50, NO_NOTE)), [("gone", "orders[].note")]),
        (shape((50, PLAIN)), shape((50, OTHER_TYPE)), [("another type", "orders[].note")]),
        (shape((50, PLAIN)), shape((50, NO_PRODUCT)), [("gone", "orders[].product")]),
        (shape((50, PLAIN)), shape((50, NULL_PRODUCT)), [("another type", "orders[].product")]),
        (shape((50, PLAIN)), shape((50, {"list": []})), [("new", "list"), ("gone", "orders"), ("gone", "total_count")]),
        # A small run, and one without an order, do not see everything.
        (shape((50, PLAIN)), shape((MIN_ANSWERS - 1, NO_NOTE)), []),
        (shape((MIN_ANSWERS - 1, PLAIN)), shape((50, NO_NOTE)), []),
        (shape((50, PLAIN)), shape((50, EMPTY)), []),
        (shape((50, EMPTY)), shape((50, PLAIN)), []),
        (shape((50, PLAIN)), shape((50, EMPTY), (5, NO_NOTE)), []),
        # Members that some answers have, and values that are null at times.
        (shape((20, PLAIN), (30, NO_NOTE)), shape((40, NO_NOTE)), []),
        (shape((40, NO_NOTE)), shape((20, PLAIN), (30, NO_NOTE)), []),
        (shape((500, PLAIN), (500, NO_NOTE)), shape((500, NO_NOTE)), [("gone", "orders[].note")]),
        (shape((200, NO_NOTE)), shape((500, PLAIN), (100, NO_NOTE)), [("new", "orders[].note")]),
        (shape((50, PLAIN)), shape((48, PLAIN), (2, NULL_PRODUCT)), []),
        (shape((25, PLAIN), (25, NULL_PRODUCT)), shape((50, PLAIN)), []),
        (shape((50, {"pagination": {"next": 2}})), shape((50, {"pagination": {"next": None}})), []),
        (shape((50, {"pagination": {"next": None}})), shape((50, {"pagination": {"next": False}})), []),
        (
            shape((50, {"pagination": {"next": 2}})),
            shape((50, {"pagination": {"next": "/orders"}})),
            [("another type", "pagination.next")],
        ),
        (shape((50, {"n": 1})), shape((50, {"n": 1.5})), []),
    ],
)
def test_what_counts_as_a_change(before: Shape, now: Shape, found: list[tuple[str, str]]) -> None:
    assert changes(before, now) == found


def test_what_a_full_shape_lacks_proves_nothing() -> None:
    full = Shape(50, is_full=True, members=shape((50, NO_NOTE)).members)
    assert changes(shape((50, PLAIN)), full) == []
    assert changes(full, shape((50, PLAIN))) == []


def test_a_change_comes_back_from_json_as_it_was() -> None:
    (change,) = compare(shape((50, PLAIN)), shape((50, OTHER_TYPE)))
    assert change == Change("orders[].note", ("text",), ("number",))
    assert Change.from_json(json.loads(json.dumps(change.to_json()))) == change


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_same_answers_never_differ_however_many_there_are(before: int, now: int) -> None:
    assert compare(shape((before, PLAIN)), shape((now, PLAIN))) == []
    assert is_comparable(shape((now, PLAIN))) == (now >= MIN_ANSWERS)
