"""Decoding of a page: what is accepted, what is one order's problem, what is the page's."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytemark_sync.bytemark.body_errors import MAX_DEPTH
from bytemark_sync.bytemark.decoding import ListedItem, ListedOrder, MalformedOrder, Page, decode_page
from bytemark_sync.bytemark.errors import BytemarkError, Kind, TryAgain
from tests.support.scripted_api import order, page


def decode(value: Any) -> Page:
    return decode_page(json.dumps(value).encode())


def only(value: Any) -> ListedOrder | MalformedOrder:
    (found,) = decode({"orders": [value]}).orders
    return found


GOOD = ListedOrder("A-1", (ListedItem("PRODUCT-1", ("p1", "p2")),))


@pytest.mark.parametrize(
    "body",
    [
        page(order("A-1", "p1", "p2"), total=1),
        {"orders": [order("A-1", "p1", "p2")], "total_count": 1},
        {"data": None, "orders": [order("A-1", "p1", "p2")], "total_count": 1},
        {"data": [], "orders": [order("A-1", "p1", "p2")], "total_count": 1},
        {"data": {}, "orders": [order("A-1", "p1", "p2")], "total_count": 1},
        {"orders": None, "data": {"orders": [order("A-1", "p1", "p2")], "total_count": 1, "page_count": "x"}},
    ],
    ids=["envelope", "bare", "null data", "list data", "empty data", "null orders beside data"],
)
def test_the_envelope_and_the_bare_object_are_both_pages(body: Any) -> None:
    assert decode(body) == Page((GOOD,), 1)


def test_uuids_lose_surrounding_blanks_and_keep_their_letter_case() -> None:
    assert only(order(" a-B ", " P-q\t", product=" pR ")) == ListedOrder("a-B", (ListedItem("pR", ("P-q",)),))


def test_a_pass_uuid_need_not_be_a_uuid() -> None:
    found = only(order("A", "x" * 58, "y" * 255))
    assert isinstance(found, ListedOrder)
    assert found.items[0].pass_uuids == ("x" * 58, "y" * 255)


@pytest.mark.parametrize("items", [[], [{"product": {"uuid": "P"}, "passes": []}]])
def test_an_order_without_passes_is_well_formed(items: Any) -> None:
    assert isinstance(only({"uuid": "A", "order_items": items}), ListedOrder)


def broken(**item: Any) -> dict[str, Any]:
    whole = {"uuid": "i", "product": {"uuid": "P"}, "passes": [{"uuid": "p"}]} | item
    return {"uuid": "A-1", "order_items": [{k: v for k, v in whole.items() if v != "absent"}]}


@pytest.mark.parametrize(
    "value",
    [
        {"uuid": "A-1"},
        {"uuid": "A-1", "order_items": None},
        {"uuid": "A-1", "order_items": {}},
        {"uuid": "A-1", "order_items": [None]},
        {"uuid": "A-1", "order_items": ["x"]},
        broken(product="absent"),
        broken(product=None),
        broken(product="P"),
        broken(product={}),
        broken(product={"uuid": None}),
        broken(product={"uuid": 7}),
        broken(product={"uuid": " "}),
        broken(product={"uuid": "x" * 256}),
        broken(passes="absent"),
        broken(passes=None),
        broken(passes={}),
        broken(passes="p"),
        broken(passes=[None]),
        broken(passes=["p"]),
        broken(passes=[{}]),
        broken(passes=[{"uuid": None}]),
        broken(passes=[{"uuid": 12}]),
        broken(passes=[{"uuid": ""}]),
        broken(passes=[{"uuid": "\n "}]),
        broken(passes=[{"uuid": "x" * 256}]),
        broken(passes=[{"uuid": "a\x00b"}]),
        broken(passes=[{"uuid": "good"}, {"uuid": ""}]),
        broken(passes=[], product=None),
    ],
    ids=lambda value: json.dumps(value)[:80],
)
def test_a_malformed_order_keeps_its_uuid_and_spares_its_neighbours(value: Any) -> None:
    found = decode({"orders": [order("B", "p"), value, order("C", "q")]}).orders
    assert [type(one) for one in found] == [ListedOrder, MalformedOrder, ListedOrder]
    assert found[1].uuid == "A-1"
    assert found[1].identity == "a-1"
    assert isinstance(found[1], MalformedOrder)
    assert found[1].detail


@pytest.mark.parametrize("value", [None, 7, "A", [], {}, {"uuid": None}, {"uuid": " "}, {"uuid": "x" * 256}])
def test_an_order_without_a_uuid_is_known_by_its_content(value: Any) -> None:
    first, again, other = decode({"orders": [value, value, {"uuid": None, "n": 1}]}).orders
    assert isinstance(first, MalformedOrder)
    assert first.uuid is None
    assert first.identity == again.identity != other.identity


@pytest.mark.parametrize(
    "raw",
    [
        b'{"uuid": "A", "order_items": [{"product": {"uuid": "P"}, "passes": [{"uuid": "\xff"}]}]}',
        b'{"uuid": "A", "order_items": [{"product": {"uuid": "P"}, "passes": [{"uuid": "\\ud800"}]}]}',
        b'{"uuid": "A", "order_items": [{"product": {"uuid": "\\udfffx"}, "passes": []}]}',
        b'{"uuid": "A", "order_items": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"uuid": "A", "order_items": ' + b"9" * 6000 + b"}",
    ],
    ids=["invalid UTF-8", "half a surrogate pair", "other half", "deep", "huge number"],
)
def test_text_that_no_column_holds_is_malformed(raw: bytes) -> None:
    (found, neighbour) = decode_page(b'{"orders": [' + raw + b', {"uuid": "B", "order_items": []}]}').orders
    assert isinstance(found, MalformedOrder)
    assert found.uuid == "A"
    assert neighbour == ListedOrder("B", ())


def test_of_duplicate_keys_one_counts() -> None:
    body = (
        b'{"orders": [], "orders": [{"uuid": "A", "uuid": "B", "order_items": []}], "total_count": 9, "total_count": 1}'
    )
    assert decode_page(body) == Page((ListedOrder("B", ()),), 1)


def test_a_name_cut_through_an_emoji_spoils_nothing() -> None:
    head = b'{"orders": [{"uuid": "A-1", "name": "x\\ud83d", "note": "\\\\ud83d \\ud83d\\ude00 \\\\\\ud83d",'
    body = head + b'"order_items": [{"product": {"uuid": "PRODUCT-1"}, "passes": [{"uuid": "p\\ud83d\\ude00"}]}]}]}'
    assert decode_page(body).orders == (ListedOrder("A-1", (ListedItem("PRODUCT-1", ("p\U0001f600",)),)),)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (0, 0),
        (12, 12),
        ("12", 12),
        (" 12 ", 12),
        ("12.0", 12),
        (12.0, 12),
        (None, None),
        (-1, None),
        ("-1", None),
        (12.5, None),
        ("12.5", None),
        ("many", None),
        ("inf", None),
        ("nan", None),
        ("", None),
        (True, None),
        ([], None),
        ({}, None),
        ([3], None),
        (10**400, 10**400),
    ],
)
def test_total_count_is_a_whole_number_or_nothing(value: Any, count: int | None) -> None:
    assert decode_page(b'{"orders": [], "total_count": ' + json.dumps(value).encode() + b"}").total_count == count


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", Kind.NOT_JSON),
        (b"<html></html>", Kind.NOT_JSON),
        (b'{"data": {"orders": [', Kind.NOT_JSON),
        (b'{"orders": []} extra', Kind.NOT_JSON),
        (b"\xff\xfe", Kind.NOT_JSON),
        (b"[" * 200_000, Kind.NOT_JSON),
        (b"[]", Kind.WRONG_SHAPE),
        (b"null", Kind.WRONG_SHAPE),
        (b'"text"', Kind.WRONG_SHAPE),
        (b"{}", Kind.WRONG_SHAPE),
        (b'{"data": {}}', Kind.WRONG_SHAPE),
        (b'{"data": null}', Kind.WRONG_SHAPE),
        (b'{"orders": null}', Kind.WRONG_SHAPE),
        (b'{"data": {"orders": {}}}', Kind.WRONG_SHAPE),
        (b'{"orders": "none"}', Kind.WRONG_SHAPE),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_page_is_a_failed_request(body: bytes, kind: Kind) -> None:
    with pytest.raises(TryAgain) as caught:
        decode_page(body)
    assert caught.value.kind is kind


def test_nesting_without_end_raises_nothing_else() -> None:
    for body in (b'{"data": ' + b'{"data":' * 100_000, b'{"orders": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}"):
        with pytest.raises(TryAgain):
            decode_page(body)


NESTED = {
    "lists": lambda depth: b"[" * depth + b"]" * depth,
    "objects": lambda depth: b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1),
}


@pytest.mark.parametrize("nested", NESTED.values(), ids=NESTED)
def test_nesting_ends_at_one_depth_on_every_python(nested: Callable[[int], bytes]) -> None:
    """The decoder's own limit depends on Python's version and on the stack that is left."""
    body = b'{"orders": [], "more": %s}'
    assert decode_page(body % nested(MAX_DEPTH - 1)) == Page((), None)
    with pytest.raises(TryAgain) as caught:
        decode_page(body % nested(MAX_DEPTH))
    assert caught.value.kind is Kind.NOT_JSON


def test_brackets_side_by_side_or_in_a_text_are_no_nesting() -> None:
    texts = json.dumps(["[" * 2_000, '"' + "{" * 2_000, "\\" + "[" * 2_000, '\\"' + "[" * 2_000])
    body = b'{"orders": [%s], "a": %s}' % (json.dumps(order("A-1", "p")).encode(), texts.encode())
    assert [one.uuid for one in decode_page(body).orders] == ["A-1"]
    assert decode_page(b'{"orders": [], "a": [%s{}]}' % (b"[], {}, " * 2_000)) == Page((), None)


def test_brackets_in_texts_hide_no_nesting() -> None:
    hidden = b'["]", ' * MAX_DEPTH + b"0" + b', "["]' * MAX_DEPTH
    with pytest.raises(TryAgain):
        decode_page(b'{"orders": [], "more": %s}' % hidden)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
nearly_item = st.fixed_dictionaries(
    {},
    optional={
        "product": anything | st.fixed_dictionaries({"uuid": anything | st.just("P")}),
        "passes": anything | st.lists(anything | st.fixed_dictionaries({"uuid": anything | st.text()}), max_size=3),
    },
)
nearly_order = anything | st.fixed_dictionaries(
    {}, optional={"uuid": anything | st.text(), "order_items": anything | st.lists(anything | nearly_item, max_size=3)}
)
nearly_page = st.fixed_dictionaries(
    {}, optional={"orders": anything | st.lists(nearly_order, max_size=4), "total_count": anything}
)


@given(nearly_page | st.fixed_dictionaries({"data": nearly_page | anything}) | anything)
def test_random_json_decodes_to_storable_uuids_or_raises_our_error(value: Any) -> None:
    with contextlib.suppress(BytemarkError):
        for one in decode(value).orders:
            uuids = [one.uuid]
            if isinstance(one, ListedOrder):
                uuids += [item.product_uuid for item in one.items]
                uuids += [uuid for item in one.items for uuid in item.pass_uuids]
            for uuid in uuids:
                if uuid is not None:
                    uuid.encode("utf-8")
                    assert 0 < len(uuid) <= 255
                    assert uuid == uuid.strip()
                    assert "\x00" not in uuid


@given(st.binary(), st.integers(0, 200))
def test_random_bytes_raise_our_error_alone(junk: bytes, position: int) -> None:
    body = json.dumps(page(order("A-1", "p1"), total=1)).encode()
    for attempt in (junk, body[:position] + junk + body[position:], body[:position]):
        with contextlib.suppress(BytemarkError):
            decode_page(attempt)


@pytest.mark.parametrize(
    ("value", "more"),
    [
        ("/v4.0/orders?page=2", True),
        (True, True),
        (2, True),
        (0, True),
        ({"href": None}, True),
        ([2], True),
        (None, False),
        (False, False),
        ("", False),
        (" ", False),
        ([], False),
        ({}, False),
    ],
    ids=json.dumps,
)
def test_next_tells_of_more_unless_it_is_null_false_or_empty(value: Any, more: bool) -> None:
    for envelope in (lambda inner: inner, lambda inner: {"data": inner}):
        assert decode(envelope({"orders": [], "pagination": {"page": 1, "next": value}})).has_next is more


@pytest.mark.parametrize("value", [None, {}, {"page": 1}, [], [{"next": True}], "next", 7, True], ids=json.dumps)
def test_an_answer_without_next_tells_nothing_by_it(value: Any) -> None:
    assert decode({"orders": [], "pagination": value}).has_next is None
    assert decode({"orders": []}).has_next is None


@pytest.mark.parametrize("value", [b"9" * 6000, b'"\\udc00"', b'"\\ud83dx"'], ids=["huge", "half", "other half"])
def test_a_next_that_cannot_be_read_is_not_empty(value: bytes) -> None:
    assert decode_page(b'{"orders": [], "pagination": {"next": ' + value + b"}}").has_next is True
