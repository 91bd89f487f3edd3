"""docs/benchmarks.md is written a section at a time, and the million's check tells any other rows apart."""

from __future__ import annotations

from pathlib import Path

from bytemark_sync.sandbox import ExpectedItem
from tests.benchmark.million import checksum
from tests.benchmark.report import HEADING, Measured, Row, Section, write

ITEM = ExpectedItem(1, "order", "token", "product", "pass")


def written(file: Path, *figures: tuple[str, str], stay: tuple[str, ...] | None = None) -> str:
    sections = [Section(title, f"About {title}.", [Row("What", figure)]) for title, figure in figures]
    write([Measured(section, 7.0) for section in sections], 0.5, stay=stay, file=file)
    return file.read_text()


def test_a_part_that_is_run_alone_replaces_its_own_section(tmp_path: Path) -> None:
    file = tmp_path / "paper"
    before = written(file, ("First", "1 s"), ("Second", "2 s"), ("Third", "3 s"))
    after = written(file, ("Second", "22 s"))
    assert after == before.replace("2 s", "22 s")
    assert written(file, ("Second", "2 s")) == before


def test_a_part_that_is_new_comes_last(tmp_path: Path) -> None:
    file = tmp_path / "paper"
    before = written(file, ("First", "1 s"))
    after = written(file, ("Second", "2 s"))
    assert after.startswith(before)
    assert after.count("\n## ") == 2


def test_the_whole_benchmark_keeps_only_what_it_does_not_measure(tmp_path: Path) -> None:
    file = tmp_path / "paper"
    written(file, ("Gone", "1 s"), ("Apart", "2 s"))
    after = written(file, ("First", "3 s"), stay=("Apart",))
    assert [line for line in after.splitlines() if line.startswith("## ")] == ["## Apart", "## First"]
    assert "2 s" in after


def test_each_section_says_when_and_where_it_was_measured(tmp_path: Path) -> None:
    text = written(tmp_path / "paper", ("First", "1 s"))
    assert text.startswith(HEADING)
    assert "\n## First\n\nRun on 20" in text
    assert "in 7 s; load average 0.5 from other work when the run began.\n\nAbout First.\n\n| What |" in text


def test_the_checksum_is_of_the_rows_in_any_order_and_of_how_often_they_are_there() -> None:
    other = ITEM._replace(pass_uuid="other")
    assert checksum([ITEM, other]) == checksum([other, ITEM])
    different = [[ITEM], [other], [ITEM, ITEM], [other, other], [ITEM._replace(oauth_token="x"), other]]
    assert checksum([ITEM, other]) not in [checksum(rows) for rows in different]
