"""Matching, pure: whatever the pages look like, the stored items are those of the wanted orders that were listed."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bytemark_sync.bytemark.decoding import decode_page
from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import Matcher, PassItem, WantedOrder
from bytemark_sync.domain.reasons import Reason
from tests.support.scripted_api import order

KEY = Token("made-up-key")


def take(matcher: Matcher, *orders: Any, token: Token = KEY) -> Matcher:
    matcher.take(decode_page(json.dumps({"orders": orders}).encode()).orders, token)
    return matcher


def reasons(matcher: Matcher) -> dict[int, Reason]:
    return {left.order.id: left.reason for left in matcher.result(Reason.NOT_FOUND, "not listed")[1]}


def items(matcher: Matcher) -> dict[int, list[tuple[str, str]]]:
    found = matcher.result(Reason.NOT_FOUND, "not listed")[0]
    return {one.order.id: [(item.product_uuid, item.pass_uuid) for item in one.items] for one in found}


def test_uuids_match_whatever_their_letter_case_and_blanks_and_are_stored_as_listed() -> None:
    matcher = take(Matcher([WantedOrder(1, " ab-CD ")]), order("AB-cd ", "Pass-1", product="Prod-X"))
    assert matcher.settled
    (found,), left = matcher.result(Reason.NOT_FOUND, "")
    assert (found.order, found.token, found.items) == (
        WantedOrder(1, " ab-CD "),
        KEY,
        (PassItem("Prod-X", "Pass-1"),),
    )
    assert left == ()


def test_every_wanted_order_has_one_place_and_its_own_reason() -> None:
    wanted = [WantedOrder(n, uuid) for n, uuid in enumerate(["A", "B", "C", "D", " ", ""])]
    wanted.append(WantedOrder(6, None))  # type: ignore[arg-type]
    matcher = take(Matcher(wanted), order("A", "p"), order("B"), {"uuid": "C"}, order("X", "q"))
    assert items(matcher) == {0: [("PRODUCT-1", "p")]}
    assert reasons(matcher) == {
        1: Reason.NO_PASSES,
        2: Reason.MALFORMED,
        3: Reason.NOT_FOUND,
        4: Reason.MALFORMED,
        5: Reason.MALFORMED,
        6: Reason.MALFORMED,
    }
    assert not matcher.settled


def test_a_blank_uuid_never_matches_and_never_waits() -> None:
    matcher = Matcher([WantedOrder(1, "  ")])
    assert matcher.settled
    assert reasons(take(matcher, order(" ", "p"), order("", "p"), {"uuid": None})) == {1: Reason.MALFORMED}


def test_orders_that_share_a_uuid_each_get_the_items() -> None:
    matcher = take(Matcher([WantedOrder(1, "A"), WantedOrder(2, "a ")]), order("A", "p", "q"))
    assert items(matcher)[1] == items(matcher)[2] == [("PRODUCT-1", "p"), ("PRODUCT-1", "q")]


def test_a_pass_listed_twice_counts_once_as_first_spelt() -> None:
    matcher = Matcher([WantedOrder(1, "A")])
    take(matcher, order("A", "Pass", "pass", " PASS "), order("a", "pass", "other"))
    assert items(matcher) == {1: [("PRODUCT-1", "Pass"), ("PRODUCT-1", "other")]}


def test_a_good_listing_beats_a_malformed_one_in_either_order() -> None:
    for listings in ([{"uuid": "A"}, order("A", "p")], [order("A", "p"), {"uuid": "A"}]):
        assert items(take(Matcher([WantedOrder(1, "A")]), *listings)) == {1: [("PRODUCT-1", "p")]}


def test_a_malformed_listing_settles_nothing_for_a_good_one_may_follow() -> None:
    assert not take(Matcher([WantedOrder(1, "A")]), {"uuid": "A"}).settled
    assert take(Matcher([WantedOrder(1, "A")]), order("A")).settled


def test_an_order_has_the_token_that_brought_its_first_pass() -> None:
    matcher = Matcher([WantedOrder(1, "A")])
    second = Token("made-up-key-2")
    take(matcher, order("A"))
    take(matcher, order("A", "p"), token=second)
    take(matcher, order("A", "p", "q"))
    assert matcher.result(Reason.NOT_FOUND, "")[0][0].token is second


def test_details_fit_the_column() -> None:
    matcher = take(Matcher([WantedOrder(1, "A"), WantedOrder(2, "B")]), {"uuid": "A", "order_items": 7})
    left = matcher.result(Reason.API_ERROR, "x" * 2000)[1]
    assert {len(one.detail) <= 500 for one in left} == {True}
    assert "order_items" in left[0].detail


names = st.sampled_from(["a", "b", "c", "d", "e"])


def spelt(draw: st.DrawFn, name: str) -> str:
    name = name.upper() if draw(st.booleans()) else name
    return draw(st.sampled_from(["", " ", "\t"])) + name + draw(st.sampled_from(["", " "]))


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, list[str]], list[list[Any]], list[str]]:
    """A truth (order -> passes), pages that list it in any way besides junk, and wanted uuids."""
    truth = {name: draw(st.lists(st.sampled_from(["p", "q", "r"]), unique=True)) for name in draw(st.sets(names))}
    junk = st.sampled_from([None, 7, "x", {}, {"uuid": 3}, {"uuid": None, "order_items": []}, order("zz", "p")])
    pages: list[list[Any]] = []
    for _ in range(draw(st.integers(0, 4))):
        page: list[Any] = []
        for _ in range(draw(st.integers(0, 5))):
            name = draw(names)
            what = draw(st.integers(0, 3))
            if what == 0:
                page.append(draw(junk))
            elif what == 1:
                page.append({"uuid": spelt(draw, name), "order_items": draw(st.sampled_from([None, 7, [None]]))})
            elif name in truth:
                passes = [spelt(draw, f"{name}-{one}") for one in truth[name]]
                page.append(order(spelt(draw, name), *passes, *passes[:1], product=f"product-{name}"))
        pages.append(page)
    return truth, pages, [spelt(draw, name) for name in draw(st.lists(names, max_size=5))]


@given(histories())
def test_stored_items_are_those_of_the_wanted_orders_that_were_listed_each_once(
    history: tuple[dict[str, list[str]], list[list[Any]], list[str]],
) -> None:
    truth, pages, uuids = history
    wanted = [WantedOrder(number, uuid) for number, uuid in enumerate(uuids)]
    matcher = Matcher(wanted)
    listed: set[str] = set()
    spoiled: set[str] = set()
    for page in pages:
        take(matcher, *page)
        for one in page:
            if isinstance(one, dict) and isinstance(one.get("uuid"), str):
                good = isinstance(one["order_items"], list) and None not in one["order_items"]
                (listed if good else spoiled).add(one["uuid"].strip().lower())
    stored = items(matcher)
    left = reasons(matcher)
    for one in wanted:
        name = one.uuid.strip().lower()
        passes = truth.get(name, []) if name in listed else []
        got = [(product, uuid.lower()) for product, uuid in stored.get(one.id, [])]
        assert sorted(got) == sorted((f"product-{name}", f"{name}-{uuid}") for uuid in passes)
        if not passes:
            unlisted = Reason.MALFORMED if name in spoiled else Reason.NOT_FOUND
            assert left[one.id] is (Reason.NO_PASSES if name in listed else unlisted)
    assert sorted([*stored, *left]) == [one.id for one in wanted]
    assert matcher.settled == all(uuid.strip().lower() in listed for uuid in uuids)
