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


def test_every_decision_is_cited_where_it_is_held() -> None:
    """Whoever reads the code comes to the reason from there; a record that nothing cites any more is out of date."""
    cited = {paper for text in known.code().values() for paper, _ in _CITED.findall(text)}
    records = {name for name in BY_NAME if re.match(r"docs/decisions/\d", name)}
    assert records
    assert records - cited == set()
