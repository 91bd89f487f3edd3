"""Tells the names of members from data used as keys, as in a map keyed by uuids."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z$_@][A-Za-z_.$-]{0,37}[0-9]{0,2}", re.ASCII)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", re.ASCII)
_HEX = re.compile(r"[a-f]{6,}", re.IGNORECASE | re.ASCII)
_HEX_WITH_DASHES = re.compile(r"[0-9a-f-]{8,}", re.IGNORECASE | re.ASCII)
MAX_WORDS = 8
MAX_WORD = 20
DATA = "(a name that looks like data)"


def is_name(text: str) -> bool:
    """Whether the text can be a member's name. What looks like a uuid, number, e-mail or token is not one."""
    if not _NAME.fullmatch(text) or _HEX_WITH_DASHES.fullmatch(text):
        return False
    words = _WORDS.findall(text)
    if len(words) > MAX_WORDS or not words or any(len(word) > MAX_WORD or _HEX.fullmatch(word) for word in words):
        return False
    # Letters at random change their case all the time.
    return sum(map(len, words)) >= 2.5 * len(words) or len(words) <= 2


def safe_name(text: str) -> str:
    """The text if it is a name, else `DATA`."""
    return text if is_name(text) else DATA
