"""The shape of what a probe saw, kept by an allow-list: names, types, lengths, counts, salted hashes. Never a value.

Each field below is filled by hand from an answer; nothing of an answer is copied as it came. The salt is made anew for
each recording and thrown away, so that a hash says only that two places held the same text.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

from bytemark_sync.bytemark.account_errors import LoginRefused
from bytemark_sync.bytemark.body_errors import OTHER_CODES, TOKEN_CODES, read_refusal
from bytemark_sync.bytemark.decoding import ListedOrder, MalformedOrder
from bytemark_sync.bytemark.names import is_name
from bytemark_sync.domain.matching import normalise
from bytemark_sync.probe.answer_checks import CACHE_HEADERS, RATE_HEADER
from bytemark_sync.probe.evidence import Evidence
from bytemark_sync.probe.list_checks import is_clamped, largest_filled, page_numbers
from bytemark_sync.probe.list_order import Direction, find_order
from bytemark_sync.probe.reading import Reading
from bytemark_sync.probe.shape import Shape, is_rfc_4122
from bytemark_sync.probe.verdicts import Verdict


class RecordedUuid(msgspec.Struct):
    """`mark`: a salted hash; `length` in characters."""

    mark: str
    length: int
    rfc_4122: bool


class RecordedItem(msgspec.Struct):
    product: RecordedUuid
    passes: list[RecordedUuid]


class RecordedOrder(msgspec.Struct, omit_defaults=True):
    """`rank`: which of the rider's orders in the portal it is, by their ids; -1: the portal does not have it."""

    uuid: RecordedUuid
    items: list[RecordedItem] = []
    rank: int = -1
    malformed: bool = False


class RecordedRider(msgspec.Struct):
    """`orders` are the first of the list; `length` counts all, as far as that is known."""

    orders: list[RecordedOrder]
    length: int


class Recording(msgspec.Struct, omit_defaults=True):
    """`total_count` and `next`: a form of the sandbox's faults, or empty if all is well. `page_limit`: 0 for none.

    `wrong_login_cause`: a `LoginCause`, or empty where a made-up user's login was not asked for, or not refused.
    """

    format: int
    envelope: str
    riders: list[RecordedRider]
    order: Shape
    outer: list[str] = []
    inner: list[str] = []
    headers: list[str] = []
    total_count: str = ""
    next: str = ""
    page_limit: int = 0
    ignores_page: bool = False
    reorders: bool = False
    list_order: str = ""
    wrong_token_status: int = 401
    wrong_token_code: int = 0
    wrong_login_cause: str = ""


FORMAT = 1


def record(seen: Evidence) -> Recording | None:
    """`None` if no list was seen."""
    return _Recorder(seen).recording() if seen.pages else None


def write(recording: Recording, path: Path) -> None:
    """Write a new file, whole or not at all. Raises `FileExistsError`, `OSError`."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(recording), indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)
    finally:
        part.unlink(missing_ok=True)


class _Recorder:
    def __init__(self, seen: Evidence) -> None:
        self._seen = seen
        self._salt = secrets.token_bytes(32)

    def recording(self) -> Recording:
        seen = self._seen
        order = Shape()
        for page in seen.pages:
            for raw in page.orders:
                order.take(raw, self._name)
        found = find_order(seen)
        return Recording(
            format=FORMAT,
            envelope=seen.pages[0].envelope,
            riders=[self._rider(number) for number in seen.accepted],
            order=order,
            outer=self._names(page.outer for page in seen.pages),
            inner=self._names(page.inner for page in seen.pages),
            headers=sorted(self._headers()),
            total_count=_total_form(seen),
            next=_next_form(seen),
            page_limit=_page_limit(seen),
            ignores_page=page_numbers(seen).verdict == Verdict.DIFFERS and not _zero_differs(seen),
            reorders=any(first.identities != again.identities for first, again in seen.repeats),
            list_order="" if found.direction == Direction.UNKNOWN else found.direction.value,
            wrong_token_status=(seen.wrong_token.answer.status or 401) if seen.wrong_token else 401,
            wrong_token_code=_code(seen),
            wrong_login_cause=_login_cause(seen),
        )

    def _mark(self, text: str) -> str:
        return hashlib.sha256(self._salt + text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _name(self, text: str) -> str:
        return text if is_name(text) else f"hashed-{self._mark(text)}"

    def _names(self, several: Iterable[Iterable[str]]) -> list[str]:
        return sorted({self._name(name) for names in several for name in names})

    def _headers(self) -> set[str]:
        """Names of known headers. The name of another one may be data."""
        sent = {header for one in self._seen.exchanges for header in one.answer.headers}
        rates = {header for header in sent if RATE_HEADER.fullmatch(header) and is_name(header)}
        return sent & {*CACHE_HEADERS, *rates}

    def _uuid(self, text: str) -> RecordedUuid:
        return RecordedUuid(self._mark(normalise(text)), len(text), is_rfc_4122(text))

    def _rider(self, number: int) -> RecordedRider:
        pages = self._pages(number)
        ids = {normalise(order.uuid): order.id for order in self._seen.riders[number].orders if order.uuid}
        ranks = {uuid: rank for rank, uuid in enumerate(sorted(ids, key=lambda uuid: ids[uuid]))}
        listed = {order.identity: order for page in pages for order in page.listed}
        orders = [self._order(order, ranks) for order in listed.values()]
        complete = any(walk.rider == number and walk.complete for walk in self._seen.walks)
        is_true = _total_form(self._seen) in ("", "text")
        total = 0 if complete or not is_true else max((page.total or 0 for page in pages), default=0)
        return RecordedRider(orders, max(len(orders), min(total, 10_000)))

    def _pages(self, number: int) -> list[Reading]:
        """The pages that hold the longest beginning of the rider's list."""
        firsts = [one for one in self._seen.exchanges if one.rider == number and one.page == 1]
        single = [[one.reading] for one in firsts if one.reading is not None]
        walked = [walk.pages for walk in self._seen.walks if walk.rider == number]
        return max([*single, *walked], key=lambda pages: sum(len(page.orders) for page in pages), default=[])

    def _order(self, order: ListedOrder | MalformedOrder, ranks: dict[str, int]) -> RecordedOrder:
        rank = ranks.get(normalise(order.uuid), -1) if order.uuid else -1
        if isinstance(order, MalformedOrder):
            return RecordedOrder(self._uuid(order.uuid or order.identity), [], rank, malformed=True)
        items = [
            RecordedItem(self._uuid(item.product_uuid), [self._uuid(uuid) for uuid in item.pass_uuids])
            for item in order.items
        ]
        return RecordedOrder(self._uuid(order.uuid), items, rank)


def _total_form(seen: Evidence) -> str:
    forms = {page.total_form for page in seen.pages if page.total is None}
    if forms:
        return {"absent": "absent", "null": "null", "number": "float"}.get(forms.pop(), "negative")
    for walk in seen.walks:
        counted = len(walk.identities)
        totals = [page.total or 0 for page in walk.pages]
        if min(totals, default=counted) < counted:
            return "small"
        if walk.complete and max(totals, default=counted) > counted:
            return "big"
    return "text" if any(page.total_form == "text" for page in seen.pages) else ""


def _next_form(seen: Evidence) -> str:
    pages = seen.pages
    if all(page.more is None for page in pages):
        return "absent"
    if any(not page.more for walk in seen.walks for page in walk.pages[:-1]):
        return "null"
    ends = [walk.pages[-1] for walk in seen.walks if walk.complete and walk.pages]
    if any(page.more for page in ends):
        return "always"
    more = {page.next_form for page in pages if page.more}
    last = {page.next_form for page in ends}
    if "text" in more:
        return "empty" if "text" in last else "path"
    if "boolean" in more:
        return "false" if "boolean" in last else "true"
    return ""


def _page_limit(seen: Evidence) -> int:
    if not is_clamped(seen):
        return 0
    given = [len(one.reading.orders) for one in seen.sizes if one.reading is not None]
    return max([*given, largest_filled(seen)])


def _zero_differs(seen: Evidence) -> bool:
    return all(len(walk.pages) > 1 for walk in seen.walks)


def _code(seen: Evidence) -> int:
    """The first code that the product knows; another one is not kept."""
    body = seen.wrong_token.answer.body if seen.wrong_token else None
    codes = read_refusal(body).codes if body else ()
    return next((code for code in codes if code in TOKEN_CODES | OTHER_CODES), 0)


def _login_cause(seen: Evidence) -> str:
    error = seen.wrong_login.error if seen.wrong_login else None
    return error.cause.value if isinstance(error, LoginRefused) else ""
