"""Typed decoding of a page of orders (docs/bytemark-api.md).

A malformed order does not spoil the rest of its page (docs/decisions/0010-typed-decoding.md).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from bytemark_sync.bytemark.body_errors import UNREADABLE, mend
from bytemark_sync.bytemark.errors import Kind, TryAgain

MAX_UUID = 255
"""Characters; the portal's columns hold no more. A pass uuid need not follow RFC 4122
(docs/bytemark-api.md#known)."""

_ABSENT = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class ListedItem:
    product_uuid: str
    pass_uuids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListedOrder:
    """A well-formed order; uuids without surrounding blanks, letter case as listed."""

    uuid: str
    items: tuple[ListedItem, ...]

    @property
    def identity(self) -> str:
        """What makes two listings the same order, for the loop guard."""
        return self.uuid.lower()


@dataclass(frozen=True, slots=True)
class MalformedOrder:
    """An order that cannot be used. `identity` is its uuid, or its content if it has no uuid."""

    uuid: str | None
    identity: str
    detail: str


@dataclass(frozen=True, slots=True)
class Page:
    """`total_count` is `None` if the answer has none that can be read, `has_next` if it has no `pagination.next`."""

    orders: tuple[ListedOrder | MalformedOrder, ...]
    total_count: int | None
    has_next: bool | None = None


class _Product(msgspec.Struct):
    uuid: str


class _Pass(msgspec.Struct):
    uuid: str


class _Item(msgspec.Struct):
    product: _Product
    passes: list[_Pass]


class _Order(msgspec.Struct):
    uuid: str
    order_items: list[_Item]


class _OnlyUuid(msgspec.Struct):
    uuid: str


class _Members(msgspec.Struct):
    data: msgspec.Raw = _ABSENT
    orders: msgspec.Raw = _ABSENT
    total_count: msgspec.Raw = _ABSENT
    pagination: msgspec.Raw = _ABSENT


class _Pagination(msgspec.Struct):
    next: msgspec.Raw = _ABSENT


_whole = msgspec.json.Decoder(msgspec.Raw)
_members = msgspec.json.Decoder(_Members)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_order = msgspec.json.Decoder(_Order)
_only_uuid = msgspec.json.Decoder(_OnlyUuid)
_pagination = msgspec.json.Decoder(_Pagination)


class _Unusable(ValueError):
    """A uuid that cannot be stored; the text says which and why."""


def decode_page(body: bytes) -> Page:
    """The page in a body, with or without the `data` envelope. Raises `TryAgain` (not_json, wrong_shape)."""
    members = _inner(body)
    try:
        listed = _list.decode(members.orders) if members.orders else None
    except UNREADABLE:
        listed = None
    if listed is None:
        raise TryAgain(Kind.WRONG_SHAPE, "the answer is JSON, but holds no list of orders")
    orders = tuple(_decode_order(raw) for raw in listed)
    return Page(orders, _total_count(members.total_count), _has_next(members.pagination))


def _inner(body: bytes) -> _Members:
    try:
        body = mend(body)
        _whole.decode(body)
    except UNREADABLE:
        raise TryAgain(Kind.NOT_JSON, f"the answer is not JSON ({len(body)} bytes)") from None
    try:
        outer = _members.decode(body)
    except UNREADABLE:
        raise TryAgain(Kind.WRONG_SHAPE, "the answer is JSON, but not an object") from None
    try:
        inner = _members.decode(outer.data) if outer.data else None
    except UNREADABLE:
        inner = None
    return inner if inner is not None and (inner.orders or not outer.orders) else outer


def _decode_order(raw: msgspec.Raw) -> ListedOrder | MalformedOrder:
    try:
        order = _order.decode(raw)
        items = tuple(
            ListedItem(_usable(item.product.uuid, "product"), tuple(_usable(one.uuid, "pass") for one in item.passes))
            for item in order.order_items
        )
        return ListedOrder(_usable(order.uuid, "order"), items)
    except UNREADABLE as error:
        return _malformed(raw, error)


def _usable(uuid: str, what: str) -> str:
    text = uuid.strip()
    if not text or len(text) > MAX_UUID:
        raise _Unusable(f"the {what} uuid is blank" if not text else f"the {what} uuid is longer than {MAX_UUID}")
    # No column can hold NUL or half of a surrogate pair.
    if "\x00" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
        raise _Unusable(f"the {what} uuid holds characters that are no text")
    return text


def _malformed(raw: msgspec.Raw, error: BaseException) -> MalformedOrder:
    try:
        uuid: str | None = _usable(_only_uuid.decode(raw).uuid, "order")
    except UNREADABLE:
        uuid = None
    identity = uuid.lower() if uuid is not None else hashlib.sha256(raw).hexdigest()
    return MalformedOrder(uuid, identity, _words(error))


def _words(error: BaseException) -> str:
    """msgspec's messages name types and paths, never values."""
    if isinstance(error, _Unusable | msgspec.ValidationError):
        return str(error)[:300]
    return "the order is not readable JSON"


def _total_count(raw: msgspec.Raw) -> int | None:
    """A count of orders: a whole number of 0 or more, also as text or as 12.0. Anything else is ignored."""
    if not raw:
        return None
    try:
        value = msgspec.json.decode(raw)
        if isinstance(value, str):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
            return None
        return int(value)
    except UNREADABLE:
        return None


def _has_next(raw: msgspec.Raw) -> bool | None:
    """Whether `pagination.next` tells of more: any value but null, false and what is empty (docs/bytemark-api.md)."""
    try:
        value = _pagination.decode(raw).next if raw else _ABSENT
    except UNREADABLE:
        return None
    if not value:
        return None
    try:
        found = msgspec.json.decode(value)
    except UNREADABLE:
        return True  # a value that is too deep or too large is not empty
    if isinstance(found, str):
        found = found.strip()
    return found is not None and found is not False and found not in ("", [], {})
