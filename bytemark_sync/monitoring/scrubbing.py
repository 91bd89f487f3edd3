"""What texts of others are cut to, before they leave the process."""

from __future__ import annotations

import re

_QUOTE = re.compile("['\"]")
_EMAIL = re.compile(r"[^\s@'\"<>]+@[^\s@'\"<>]+")


def statement_without_values(statement: str) -> str:
    """A statement up to its first text value: values include riders' tokens."""
    before, quote, _ = statement.partition("'")
    return before + ("..." if quote else "")


def without_values(text: str) -> str:
    """The same for a text in which names may stand between double quotes too."""
    found = _QUOTE.search(text)
    return f"{text[: found.start()]}..." if found else text


def without_emails(text: str) -> str:
    return _EMAIL.sub("[e-mail]", text)
