"""Data for django-unfold's charts. The colours are its CSS variables, so they suit both themes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from bytemark_sync.domain.counters import many

PRIMARY, MUTED, WARNING = "var(--color-primary-600)", "var(--color-base-400)", "var(--color-orange-500)"
TEXT = "#8a94a6"
"""Colour of axis text, readable in both themes. A canvas cannot follow the theme's text colour."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. `words` describes it for people who cannot see the canvas."""

    title: str
    data: str
    options: str
    words: str
    empty: bool = False
    is_counting: bool = False


def not_yet(title: str) -> Chart:
    """A chart whose figures are still being counted."""
    return Chart(title, "", "", f"{title}: being counted.", is_counting=True)


def _options(*, horizontal: bool = False, legend: bool = False) -> str:
    axis: dict[str, Any] = {"beginAtZero": True, "ticks": {"precision": 0, "color": TEXT, "maxTicksLimit": 6}}
    plain: dict[str, Any] = {"grid": {"display": False}, "ticks": {"color": TEXT, "maxRotation": 0, "autoSkip": True}}
    return json.dumps(
        {
            "animation": False,
            "maintainAspectRatio": False,
            "responsive": True,
            "indexAxis": "y" if horizontal else "x",
            "plugins": {"legend": {"display": legend, "labels": {"color": TEXT, "boxWidth": 12}}},
            "scales": {"x": axis, "y": plain} if horizontal else {"x": plain, "y": axis},
        }
    )


def day_chart(title: str, days: Sequence[date], values: Sequence[int] | None, unit: str) -> Chart:
    """One bar for each day. `unit` is in the singular. `values` is None while they are being counted."""
    if values is None:
        return not_yet(title)
    data = {
        "labels": [str(day) for day in days],
        "datasets": [{"label": f"{unit}s", "data": list(values), "backgroundColor": PRIMARY, "maxBarThickness": 18}],
    }
    top = max(values, default=0)
    words = f"{title}: {many(sum(values), unit)} in {len(days)} days, at most {top:,} on a day, {values[-1]:,} today."
    return Chart(title, json.dumps(data), _options(), words, empty=not any(values))


def level_chart(title: str, days: Sequence[date], values: Sequence[int | None], unit: str) -> Chart:
    """One bar for each day that has a value. `values` are levels, not sums, so the last one is the current one."""
    data = {
        "labels": [str(day) for day in days],
        "datasets": [{"label": f"{unit}s", "data": list(values), "backgroundColor": WARNING, "maxBarThickness": 18}],
    }
    known = [value for value in values if value is not None]
    words = f"{title}: {many(known[-1], unit)} after the latest run." if known else f"{title}: no run yet."
    return Chart(title, json.dumps(data), _options(), words, empty=not known)


def bar_chart(title: str, bars: Sequence[tuple[str, int]] | None, unit: str) -> Chart:
    """One horizontal bar for each name. `bars` is None while they are being counted."""
    if bars is None:
        return not_yet(title)
    data = {
        "labels": [name for name, _ in bars],
        "datasets": [
            {"label": f"{unit}s", "data": [n for _, n in bars], "backgroundColor": PRIMARY, "maxBarThickness": 22}
        ],
    }
    words = f"{title}: " + (", ".join(f"{name} {n:,}" for name, n in bars) or "none") + "."
    return Chart(title, json.dumps(data), _options(horizontal=True), words, empty=not any(n for _, n in bars))
