"""Figures as a table: on the terminal, and in docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.support.servers import ROOT

FILE = ROOT / "docs/benchmarks.md"
HEAD = ("What", "Figure", "Target", "")
HEADING = """# Benchmarks

Written by `make bench`. It starts a private MariaDB (durable, as installed), Redis and the local Bytemark sandbox,\
 each in a process of its own, runs the real commands, and stops all. Repeat it with:

    make bench                  # everything but the million
    make bench PARTS=million    # twenty-five minutes on an idle machine; SCALE=20000 prints alone
    make bench QUICK=1          # fewer repetitions and smaller numbers, two minutes, prints alone

A part that is run alone replaces its own section. Read ratios and counts, not seconds: the sandbox, the database\
 and the product share the machine."""


@dataclass(frozen=True)
class Row:
    """`holds` is None where there is no target."""

    what: str
    figure: str
    target: str = ""
    holds: bool | None = None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        return self.what, self.figure, self.target, {None: "", True: "holds", False: "FALLS SHORT"}[self.holds]


@dataclass(frozen=True)
class Section:
    title: str
    note: str
    rows: Sequence[Row]


def terminal(sections: Iterable[Section]) -> str:
    """One table with all rows."""
    sections = list(sections)
    rows = [HEAD, *(row.cells for section in sections for row in section.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [_line(HEAD, widths), "  ".join("-" * width for width in widths)]
    for section in sections:
        lines += ["", section.title, *(_line(row.cells, widths) for row in section.rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell.rjust(width) if column == 1 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()


@dataclass(frozen=True)
class Measured:
    """A part of the benchmark that was run: what it gave, and the seconds that it took."""

    section: Section
    seconds: float


def write(measured: Iterable[Measured], load: float, *, stay: Container[str] | None = None, file: Path = FILE) -> Path:
    """docs/benchmarks.md: each section anew that was measured, in its place, and a new one at the end.

    `load` is the load average when the run began. `stay`: titles of the other sections that stay; None: all do.
    """
    before = _sections(file.read_text()) if file.exists() else {}
    after = {one.section.title: _text(one, load) for one in measured}
    kept = {title: text for title, text in before.items() if title in after or stay is None or title in stay}
    file.write_text("\n\n".join([HEADING, *(kept | after).values()]) + "\n")
    return file


def _sections(text: str) -> dict[str, str]:
    """Title -> the section as it is written, title included."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0].removeprefix("## "): part.strip() for part in parts}


def _text(measured: Measured, load: float) -> str:
    section = measured.section
    took = f"{measured.seconds / 60:.0f} minutes" if measured.seconds >= 90 else f"{measured.seconds:.0f} s"
    lines = [
        f"## {section.title}",
        "",
        f"Run on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), Python"
        f" {platform.python_version()}, in {took}; load average {load:.1f} from other work when the run began.",
        "",
        section.note,
        "",
        "| " + " | ".join(HEAD) + " |",
        "|---|---:|---|---|",
        *("| " + " | ".join(row.cells) + " |" for row in section.rows),
    ]
    return "\n".join(lines)
