"""What the code says of the papers: each paper and each section that a comment cites is there."""

from __future__ import annotations

import re

from tests.papers import known
from tests.papers.reading import BY_NAME

_CITED = re.compile(r"(?<![\w/.-])([\w./-]+\.md)(?:#([\w-]+))?")


def test_papers_that_code_cites_are_there() -> None:
    wrong = []
    for name, text in known.code().items():
        for paper, anchor in _CITED.findall(text):
            found = BY_NAME.get(paper)
            if found is None or (anchor and anchor not in found.anchors):
                wrong.append(f"{name}: {paper}{'#' if anchor else ''}{anchor}")
    assert wrong == []
