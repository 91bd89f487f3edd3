"""Blocks of code that the papers tell people to run, for the tests that run them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

from tests.support.servers import PASSWORD, ROOT


def block(paper: str, name: str) -> str:
    """The block behind `<!-- test: name -->`."""
    return block_behind(paper, f"<!-- test: {name} -->")


def block_behind(paper: str, mark: str) -> str:
    """The first block of code behind `mark`."""
    text = (ROOT / paper).read_text(encoding="utf-8")
    found = re.search(r"^ *```\w+\n(.*?)^ *```", text[text.index(mark) :], re.DOTALL | re.MULTILINE)
    assert found
    return textwrap.dedent(found[1])


def installation(names: Mapping[str, str]) -> list[str]:
    """README, step 2: the statements that make the product's database and its user, with the tests' password."""
    text = with_names(block_behind("README.md", "## On a real portal"), names).replace("a long password", PASSWORD)
    return statements(text)


def statements(text: str) -> list[str]:
    return [each for each in text.split(";") if each.strip()]


def with_names(text: str, names: Mapping[str, str]) -> str:
    """The databases and users under the names that they have in the test. `bytemark_sync` is the app's name too."""
    app = r"(?<!app = ')(?<!migrate )(?<!--plan )"
    return re.sub(rf"{app}\b(\w+)\b", lambda found: names.get(found[1], found[1]), text)
