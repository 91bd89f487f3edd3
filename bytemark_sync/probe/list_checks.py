"""Checks of the lists: how they are cut into pages, their order, and the orders in them."""

from __future__ import annotations

from bytemark_sync.bytemark.decoding import ListedOrder, MalformedOrder
from bytemark_sync.bytemark.names import safe_name
from bytemark_sync.domain.counters import many
from bytemark_sync.probe.evidence import Evidence, Exchange, Walk
from bytemark_sync.probe.list_order import Direction, find_order
from bytemark_sync.probe.plan import SIZES, brings_new
from bytemark_sync.probe.reading import ABSENT, Reading
from bytemark_sync.probe.shape import Shape, is_rfc_4122
from bytemark_sync.probe.verdicts import Check, differs, holds, not_seen

MAX_PATHS = 40
_NO_LIST = "No list of orders was seen."
_BY_OTHER_SIGNS = "Nothing to set: without it a list is read until its other signs end it."


def page_size(seen: Evidence, now_set: int) -> Check:
    name = "page_size"
    given = [one for one in seen.sizes if one.reading is not None]
    if not given:
        return not_seen(name, _NO_LIST)
    largest = largest_filled(seen)
    tried = [*seen.sizes, *([seen.confirmed] if seen.confirmed else [])]
    listed = "; ".join(f"{one.per_page} asked, {_given(one)}" for one in tried)
    advice = f"Set BYTEMARK_PAGE_SIZE={largest}." if largest and largest != now_set else ""
    filled = max((one.per_page for one in given if _count(one) >= one.per_page and one.per_page in SIZES), default=0)
    said = f"{listed}. The largest that is filled: {filled or 'none'}."
    if is_clamped(seen) or len(given) < len(seen.sizes):
        return differs(name, said, advice or "Fewer, larger pages cannot be had.")
    if not largest:
        return not_seen(name, f"{said} No rider that was asked has so many orders.", "Name riders with many orders.")
    if filled < SIZES[-1]:
        return holds(name, f"{said} No rider that was asked has more orders.", advice)
    return holds(name, said, advice)


def is_clamped(seen: Evidence) -> bool:
    """Whether a page had fewer orders than asked for, though the list has more."""
    given = [one for one in seen.sizes if one.reading is not None]
    most = max(map(_count, given), default=0)
    short = [one for one in given if _count(one) < one.per_page]
    return any(_count(one) < most for one in short) or bool(short and brings_new(short[-1], seen.beyond))


def largest_filled(seen: Evidence) -> int:
    """The largest page size that was really filled; 0 if none was."""
    tried = [*seen.sizes, *([seen.confirmed] if seen.confirmed else [])]
    return max((one.per_page for one in tried if one.reading and _count(one) >= one.per_page), default=0)


def _count(one: Exchange) -> int:
    return len(one.reading.orders) if one.reading else 0


def _given(one: Exchange) -> str:
    return f"{_count(one)} given" if one.reading is not None else one.words


def total_count(seen: Evidence) -> Check:
    name = "total_count"
    if not seen.pages:
        return not_seen(name, _NO_LIST)
    forms = sorted({page.total_form for page in seen.pages})
    without = sum(page.total is None for page in seen.pages)
    if without:
        what = "None has a total_count" if forms == [ABSENT] else f"total_count cannot be read ({', '.join(forms)})"
        return differs(name, f"{what}: {without} of {many(len(seen.pages), 'page')}.", _BY_OTHER_SIGNS)
    wrong = [walk for walk in seen.walks if _wrong_total(walk)]
    if wrong:
        totals = sorted({page.total or 0 for page in wrong[0].pages})
        counted = len(wrong[0].identities)
        end = "" if wrong[0].complete else " so far"
        said = f"A list of {counted}{end} has a total_count of {' and '.join(map(str, totals))}."
        return differs(name, said, "Too low it hides orders, unless pagination.next tells of them. Ask Bytemark.")
    complete = [walk for walk in seen.walks if walk.complete]
    exact = f"It is exact in {many(len(complete), 'list')} counted to the end."
    said = exact if complete else "No list was counted to its end."
    return holds(name, f"In all of {many(len(seen.pages), 'page')}. {said}")


def _wrong_total(walk: Walk) -> bool:
    totals = {page.total for page in walk.pages}
    counted = len(walk.identities)
    return len(totals) > 1 or any(
        total is None or total < counted or (walk.complete and total != counted) for total in totals
    )


def pagination_next(seen: Evidence) -> Check:
    name = "pagination_next"
    if not seen.pages:
        return not_seen(name, _NO_LIST)
    forms = ", ".join(sorted({page.next_form for page in seen.pages} - {ABSENT}))
    if not forms:
        return differs(name, f"None of {many(len(seen.pages), 'page')} has it.", _BY_OTHER_SIGNS)
    hidden = exceeding = there = 0
    for walk in seen.walks:
        for number, page in enumerate(walk.pages, start=1):
            is_last = number == len(walk.pages)
            if is_last and not walk.complete:
                continue
            hidden += not is_last and not page.more
            there += not is_last and bool(page.more)
            exceeding += is_last and bool(page.more)
    if hidden:
        said = f"{many(hidden, 'page')} followed by another had no next ({forms})."
        return differs(name, said, "It hides orders where total_count does not tell of them. Ask Bytemark.")
    if exceeding:
        said = f"{many(exceeding, 'last page')} had a next ({forms})."
        return differs(name, said, "Nothing to set: each list costs one more request.")
    if not there:
        return not_seen(name, f"It is there ({forms}), but no list had a second page.", "Name riders with many orders.")
    return holds(name, f"It tells of more on {many(there, 'page')}, and of no more at the end ({forms}).")


def page_numbers(seen: Evidence) -> Check:
    name = "page_numbers"
    longer = [walk for walk in seen.walks if len(walk.pages) > 1]
    zero = seen.page_zero
    first = seen.sizes[0].reading if seen.sizes else None
    if zero is not None and zero.reading is not None and first is not None:
        new = set(zero.reading.identities) - set(first.identities)
        if new and zero.reading.listed:
            return differs(
                name, f"Page 0 lists {many(len(new), 'order')} that page 1 does not.", "The product begins at page 1."
            )
    if longer:
        return holds(name, f"Pages count from 1, and the next brings other orders ({many(len(longer), 'list')}).")
    if any(_claims_more(walk.pages[0], walk) for walk in seen.walks if walk.pages and walk.complete):
        return differs(name, "There are more orders, but page 2 brings none of them.", "page is ignored: ask Bytemark.")
    return not_seen(name, "No list had a second page.", "Name riders with many orders.")


def _claims_more(page: Reading, walk: Walk) -> bool:
    return bool(page.more) or (page.total or 0) > len(walk.identities)


def same_page_twice(seen: Evidence) -> Check:
    name = "same_page_twice"
    if not seen.repeats:
        return not_seen(name, _NO_LIST)
    other = [pair for pair in seen.repeats if pair[0].identities != pair[1].identities]
    if not other:
        return holds(name, f"The same orders in the same order ({many(len(seen.repeats), 'page')}).")
    first, again = other[0]
    same = set(first.identities) == set(again.identities)
    said = "The same orders in another order." if same else "Other orders than the first time."
    return differs(name, said, "Orders may be missed while a list is read: take the largest page size.")


def list_order(seen: Evidence) -> Check:
    name = "list_order"
    found = find_order(seen)
    if found.direction == Direction.UNKNOWN:
        return not_seen(
            name,
            f"No creation time in the orders, and {many(found.comparisons, 'pair')} of the portal's orders to compare.",
            "Name riders with several orders in the portal.",
        )
    said = (
        f"{found.direction[:1].upper()}{found.direction[1:]}, by {found.by}:"
        f" {many(found.comparisons, 'pair')} on {many(found.pages, 'page')} of {many(found.riders, 'rider')}."
    )
    match found.direction:
        case Direction.NEWEST_FIRST:
            return holds(name, said)
        case Direction.OLDEST_FIRST:
            return holds(name, said, "Pending orders are mostly new, so lists are read to their end: large pages help.")
        case _:
            return differs(
                name, said, "Orders may move between pages while a list is read: take the largest page size."
            )


def order_shape(seen: Evidence) -> Check:
    name = "order_shape"
    orders = [raw for page in seen.pages for raw in page.orders]
    if not orders:
        return not_seen(name, "No order was seen.", "Name riders with orders.")
    shape = Shape()
    for raw in orders:
        shape.take(raw, safe_name)
    paths = [f"{path}: {inner.words}" for path, inner in shape.paths()]
    members = "; ".join(paths[:MAX_PATHS]) + ("; ..." if len(paths) > MAX_PATHS else "")
    bad = {one.identity: one.detail for page in seen.pages for one in page.listed if isinstance(one, MalformedOrder)}
    if bad:
        said = f"{many(len(bad), 'order')} cannot be read: {next(iter(bad.values())).rstrip('.')}. {members}"
        return differs(name, said, "These orders stay pending as malformed; all others are stored.")
    return holds(name, members)


def pass_uuid(seen: Evidence) -> Check:
    name = "pass_uuid"
    uuids = {
        uuid
        for page in seen.pages
        for order in page.listed
        if isinstance(order, ListedOrder)
        for item in order.items
        for uuid in item.pass_uuids
    }
    if not uuids:
        return not_seen(name, "No pass was seen.", "Name riders with orders.")
    other = [uuid for uuid in uuids if not is_rfc_4122(uuid)]
    if not other:
        return not_seen(name, f"All of {len(uuids):,} uuids of passes are RFC 4122 uuids.")
    longest = max(map(len, other))
    return holds(
        name,
        f"{len(other):,} of {len(uuids):,} uuids of passes are no RFC 4122 uuid; the longest has {longest} characters.",
    )
