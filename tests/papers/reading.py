"""What the papers name: links, code, headings and tables, as a Markdown reader sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.servers import ROOT

_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Code:
    """A span of code, or with `language` (perhaps empty) a block of it."""

    text: str
    language: str | None = None

    @property
    def words(self) -> list[str]:
        return self.text.split()


@dataclass
class Table:
    """Cells as they are written; `heading` is the one above the table."""

    heading: str
    rows: list[list[str]] = field(default_factory=list)

    @property
    def head(self) -> list[str]:
        return self.rows[0]

    @property
    def body(self) -> list[list[str]]:
        return self.rows[1:]


@dataclass
class Paper:
    path: Path
    codes: list[Code] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    tables: list[Table] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    def tables_with(self, first: str, *, below: str = "") -> list[Table]:
        """Those whose first column is called `first`, below the heading `below` where it is given."""
        return [each for each in self.tables if each.head[0] == first and below in ("", each.heading)]


def read(path: Path) -> Paper:
    paper = Paper(path)
    heading = ""
    tokens = _MARKDOWN.parse(path.read_text())
    for number, token in enumerate(tokens):
        if token.type in ("fence", "code_block"):
            paper.codes.append(Code(token.content, token.info.strip()))
        elif token.type == "table_open":
            paper.tables.append(Table(heading))
        elif token.type == "tr_open":
            paper.tables[-1].rows.append([])
        elif token.type == "inline":
            before = tokens[number - 1].type
            if before == "heading_open":
                heading = "".join(child.content for child in token.children or ())
                paper.headings.append(heading)
                paper.anchors.add(slug(heading))
            elif before in ("th_open", "td_open"):
                paper.tables[-1].rows[-1].append(token.content)
            _inline(paper, token)
    return paper


def _inline(paper: Paper, token: Token) -> None:
    for child in token.children or ():
        if child.type == "code_inline":
            paper.codes.append(Code(child.content))
        elif child.type == "link_open":
            paper.links.append(str(child.attrs["href"]))
        elif child.type == "image":
            paper.links.append(str(child.attrs["src"]))


def slug(heading: str) -> str:
    """The anchor that code hosts make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def spans(cell: str) -> Iterator[str]:
    """The spans of code in a table's cell."""
    yield from re.findall(r"`([^`]+)`", cell)


PAPERS = [read(path) for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])]
BY_NAME = {paper.name: paper for paper in PAPERS}
