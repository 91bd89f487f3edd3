"""The output of `manage.py bytemark_probe`: a table on a terminal, plain lines elsewhere, one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bytemark_sync.probe.verdicts import Check, Verdict

COLORS = {Verdict.HOLDS: "green", Verdict.DIFFERS: "red", Verdict.NOT_SEEN: "dim"}


def json_line(checks: Sequence[Check], recommended: Mapping[str, Any], requests: int) -> str:
    """The object of `--json` (docs/contract.md#managepy-bytemark_probe)."""
    listed = [
        {"name": check.name, "verdict": check.verdict.value, "seen": check.seen, "advice": check.advice}
        for check in checks
    ]
    return json.dumps({"checks": listed, "recommended": dict(recommended), "requests": requests})


def print_table(file: Any, checks: Sequence[Check], *, color: bool) -> None:
    table = Table()
    for column in ("Check", "Verdict", "Seen, and what to do"):
        table.add_column(column, overflow="fold", no_wrap=column == "Verdict")
    for check in checks:
        seen = Text(check.seen)
        if check.advice:
            seen.append(f"\n{check.advice}", style="bold")
        table.add_row(check.title, Text(check.verdict.value, style=COLORS[check.verdict]), seen)
    Console(file=file, no_color=not color, highlight=False).print(table)


def plain_lines(checks: Sequence[Check]) -> Iterator[str]:
    for check in checks:
        yield f"{check.title:<18} {check.verdict.value:<9} {check.seen}"
        if check.advice:
            yield f"{'':<28} {check.advice}"


def recommended_lines(recommended: Mapping[str, Any], set_now: Mapping[str, Any], requests: int) -> Iterator[str]:
    if recommended:
        yield "Recommended settings:"
    for name, value in recommended.items():
        now = set_now.get(name)
        yield f"  {name}={value}" + (" (as it is)" if now == value else f" (now {'unset' if now is None else now})")
    yield f"Requests: {requests}"
