"""Compares an order's stored items with what Bytemark lists for it (`manage.py audit_order_items`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from bytemark_sync.domain.matching import LeftOrder, PassItem, normalise
from bytemark_sync.domain.reasons import AuditMeaning


class FindingKind(StrEnum):
    PASS_MISSING = "pass_missing"  # noqa: S105 - a transit pass
    PASS_UNKNOWN = "pass_unknown"  # noqa: S105 - a transit pass
    PRODUCT_DIFFERS = "product_differs"
    NOT_LISTED = "order_not_listed"
    STORED_TWICE = "stored_twice"


FINDING_LABELS = {
    FindingKind.PASS_MISSING: "pass missing here",
    FindingKind.PASS_UNKNOWN: "pass unknown to Bytemark",
    FindingKind.PRODUCT_DIFFERS: "product differs",
    FindingKind.NOT_LISTED: "order not listed",
    FindingKind.STORED_TWICE: "stored twice",
}
FINDING_CHOICES = [(kind.value, label) for kind, label in FINDING_LABELS.items()]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is wrong with an order. `missing` is the row that would repair it, if a row can."""

    kind: FindingKind
    pass_uuid: str
    detail: str
    missing: PassItem | None = None


def compare(listed: Sequence[PassItem], stored: Sequence[PassItem]) -> Iterator[Difference]:
    """How the rows of an order differ from its listed passes. Letter case and blanks of uuids do not matter."""
    rows = _by_pass(stored)
    known = {normalise(item.pass_uuid): item for item in listed}
    for key, item in known.items():
        if key not in rows:
            yield Difference(
                FindingKind.PASS_MISSING, item.pass_uuid, f"Bytemark lists it with product {item.product_uuid}.", item
            )
            continue
        other = [row.product_uuid for row in rows[key] if normalise(row.product_uuid) != normalise(item.product_uuid)]
        if other:
            detail = f"Stored with product {other[0]}; Bytemark lists product {item.product_uuid}."
            yield Difference(FindingKind.PRODUCT_DIFFERS, item.pass_uuid, detail)
    for key, same in rows.items():
        if key not in known:
            detail = "Stored, but Bytemark does not list it in this order."
            yield Difference(FindingKind.PASS_UNKNOWN, same[0].pass_uuid, detail)
    yield from stored_twice(stored)


def compare_left(left: LeftOrder, stored: Sequence[PassItem]) -> Iterator[Difference]:
    """The same for an order that the pages did not give as a whole: what can be said of it for certain."""
    match left.reason.record.audit:
        case AuditMeaning.LISTED_EMPTY:
            yield from compare((), stored)
        case AuditMeaning.NOT_LISTED:
            yield Difference(FindingKind.NOT_LISTED, "", left.detail)
            yield from stored_twice(stored)
        case AuditMeaning.NOT_COMPARED:
            yield from stored_twice(stored)
        case unknown:
            assert_never(unknown)


def stored_twice(stored: Sequence[PassItem]) -> Iterator[Difference]:
    for same in _by_pass(stored).values():
        if len(same) > 1:
            yield Difference(FindingKind.STORED_TWICE, same[0].pass_uuid, f"{len(same)} rows hold this pass.")


def _by_pass(stored: Sequence[PassItem]) -> dict[str, list[PassItem]]:
    rows: dict[str, list[PassItem]] = {}
    for row in stored:
        rows.setdefault(normalise(row.pass_uuid), []).append(row)
    return rows
