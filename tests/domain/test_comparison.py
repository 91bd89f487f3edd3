"""An order's stored rows against its listed passes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bytemark_sync.domain.comparison import FindingKind, compare, compare_left
from bytemark_sync.domain.matching import LeftOrder, PassItem, WantedOrder
from bytemark_sync.domain.reasons import Reason

ORDER = WantedOrder(1, "o1")


def kinds(listed: list[PassItem], stored: list[PassItem]) -> list[tuple[str, str]]:
    return [(each.kind.value, each.pass_uuid) for each in compare(listed, stored)]


def test_letter_case_and_blanks_make_no_difference() -> None:
    assert kinds([PassItem("Product", "Pass-A")], [PassItem(" PRODUCT ", " pass-a")]) == []


def test_details_name_both_products() -> None:
    (found,) = compare([PassItem("new", "a")], [PassItem("old", "a")])
    assert (found.kind, found.missing) == (FindingKind.PRODUCT_DIFFERS, None)
    assert "old" in found.detail
    assert "new" in found.detail


def test_a_missing_pass_carries_the_row_that_mends_it() -> None:
    (found,) = compare([PassItem("p", "A")], [])
    assert (found.kind, found.missing) == (FindingKind.PASS_MISSING, PassItem("p", "A"))


def test_an_order_listed_without_passes_knows_none_of_them() -> None:
    left = LeftOrder(ORDER, Reason.NO_PASSES, "")
    assert [each.kind for each in compare_left(left, [PassItem("p", "a")])] == [FindingKind.PASS_UNKNOWN]


def test_of_a_failed_user_only_what_is_certain_is_said() -> None:
    rows = [PassItem("p", "a"), PassItem("p", "A ")]
    for reason in (Reason.API_ERROR, Reason.TOKEN_REJECTED, Reason.NO_TOKEN, Reason.MALFORMED):
        found = list(compare_left(LeftOrder(ORDER, reason, ""), rows))
        assert [(each.kind, each.pass_uuid) for each in found] == [(FindingKind.STORED_TWICE, "a")]
    found = list(compare_left(LeftOrder(ORDER, Reason.NOT_FOUND, "not listed"), rows[:1]))
    assert [(each.kind, each.detail) for each in found] == [(FindingKind.NOT_LISTED, "not listed")]


passes = st.sampled_from("abcdef")
items = st.builds(PassItem, st.sampled_from(["x", "y"]), passes)


@given(listed=st.lists(items, max_size=6, unique_by=lambda item: item.pass_uuid), stored=st.lists(items, max_size=8))
def test_every_difference_is_told_once_and_nothing_else(listed: list[PassItem], stored: list[PassItem]) -> None:
    known = {item.pass_uuid: item.product_uuid for item in listed}
    rows = [item.pass_uuid for item in stored]
    expected = [("pass_missing", one) for one in known if one not in rows]
    expected += [("pass_unknown", one) for one in set(rows) if one not in known]
    expected += [
        ("product_differs", one)
        for one in set(rows) & set(known)
        if any(item.product_uuid != known[one] for item in stored if item.pass_uuid == one)
    ]
    expected += [("stored_twice", one) for one in set(rows) if rows.count(one) > 1]
    assert sorted(kinds(listed, stored)) == sorted(expected)
