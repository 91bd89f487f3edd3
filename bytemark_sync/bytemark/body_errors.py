"""The errors that an answer's body may carry, in all their forms (docs/bytemark-api.md#seen-in-several-forms)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import msgspec

TOKEN_CODES = {50020: "invalid session", 50032: "invalid account", 106: "token reset"}
"""Codes that mean "token rejected", on any status (docs/bytemark-api.md#error-codes)."""

OTHER_CODES = {50011: "lost device", 10000: "update required", 400104: "user not registered"}

MAX_DEPTH = 800
"""Lists and objects in one another; a page of orders needs 8. The decoder's own limit is another on each Python, and
none is lower (docs/decisions/0010-typed-decoding.md)."""

UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError, OverflowError)
"""What decoding an answer may raise: bad JSON or UTF-8, too deep nesting, numbers that are too large."""

_CODE_IN_TEXT = re.compile(
    r"\b[0-9]{4,9}\b|(?:^|[(\[#]|\b(?:code|errors?)\b|\btoken\b[^0-9]*)[^\w(\[#]*(106)\b(?!\.\d| ?m?s\b)",
    re.ASCII | re.IGNORECASE,
)
"""Numbers of three digits occur in any text, so 106 counts only where a code may stand."""
_ABSENT = msgspec.Raw()


class _Errors(msgspec.Struct):
    """The members that may carry an error; the same in the envelope and in its `data`."""

    errors: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    code: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


_decoder = msgspec.json.Decoder(_Errors)


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)


_STEPS = bytes.maketrans(b"[{]}", b"\1\1\xff\xff")
_ALL_BUT_BRACKETS_AND_QUOTES = bytes(set(range(256)) - set(b'[{]}"'))


def mend(body: bytes) -> bytes:
    """The body with each lone half of a surrogate pair (a name cut through an emoji) replaced by NUL.

    msgspec refuses the whole text because of one such half. Only the member that holds it is unusable; NUL marks it.
    Raises `ValueError` where lists and objects are nested deeper than `MAX_DEPTH`.
    """
    if _depth(body) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    return _ESCAPE.sub(_mend_escape, body) if _SURROGATE.search(body) else body


def _depth(body: bytes) -> int:
    """How many lists and objects are in one another, brackets in strings not counted. Right where the body is JSON."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return 0
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    steps = unescaped.translate(_STEPS, _ALL_BUT_BRACKETS_AND_QUOTES).replace(b'""', b"")
    outside_strings = b"".join(steps.split(b'"')[::2])
    return max(accumulate(memoryview(outside_strings).cast("b")), default=0)


def _mend_escape(match: re.Match[bytes]) -> bytes:
    escape = match.group()
    return b"\\u0000" if len(escape) == 6 and _SURROGATE.match(escape) else escape


@dataclass(frozen=True, slots=True)
class Refusal:
    """`present`: the answer carries an error. `codes`: its numbers; those that reject the token come first."""

    present: bool = False
    codes: tuple[int, ...] = ()

    @property
    def rejects_token(self) -> bool:
        return any(code in TOKEN_CODES for code in self.codes)

    def words(self) -> str:
        """Only numbers and our own words, because the server's text may repeat the token."""
        if not self.codes:
            return "the answer carries an error without a code"
        known = TOKEN_CODES | OTHER_CODES
        named = [f"{code} ({known[code]})" if code in known else str(code) for code in self.codes[:3]]
        return "the answer carries error " + ", ".join(named)


def read_refusal(body: bytes) -> Refusal:
    """The errors in a body. A body that cannot be read has none; its status or its shape then decides."""
    try:
        envelope = _decoder.decode(mend(body))
    except UNREADABLE:
        return Refusal()
    inner = _members(envelope.data) if envelope.data else None
    present, codes = False, []
    for level in (envelope, inner):
        if level is None:
            continue
        for value in (_value(level.errors), _value(level.error)):
            present = present or bool(value)
            codes += _codes(value)
        # A `code` beside the orders may also mean success, so it counts only if it rejects the token.
        codes += [code for code in _codes(_value(level.code)) if code in TOKEN_CODES]
    ordered = sorted(dict.fromkeys(codes), key=lambda code: code not in TOKEN_CODES)
    return Refusal(present or bool(ordered), tuple(ordered))


def _members(raw: bytes | msgspec.Raw) -> _Errors | None:
    try:
        return _decoder.decode(raw)
    except UNREADABLE:
        return None


def _value(raw: msgspec.Raw) -> Any:
    """Any JSON value. One that cannot be decoded counts as an error and is given as text."""
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        return bytes(raw)[:10_000].decode("utf-8", "replace")


def _codes(value: Any) -> list[int]:
    items = value if isinstance(value, list) else [value]
    return [code for item in items for code in _item_codes(item)]


def _item_codes(item: Any) -> Iterator[int]:
    if isinstance(item, dict):
        code = item.get("code")
        for part in item.values() if code is None else [code]:
            if not isinstance(part, dict | list):
                yield from _item_codes(part)
    elif isinstance(item, str):
        yield from (int(match[1] or match[0]) for match in _CODE_IN_TEXT.finditer(item))
    elif (
        isinstance(item, int | float) and not isinstance(item, bool) and 0 < item < 1_000_000_000 and item == int(item)
    ):
        yield int(item)
