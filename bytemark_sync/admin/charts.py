"""Data for django-unfold's charts. The colours are its CSS variables, so they suit both themes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.utils import timezone

from bytemark_sync.domain.counters import many

PRIMARY, MUTED, WARNING = "var(--color-primary-600)", "var(--color-base-400)", "var(--color-orange-500)"
TEXT = "#8a94a6"
"""Colour of axis text, readable in both themes. A canvas cannot follow the theme's text colour."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. `words` describes it for people who cannot see the canvas, `nothing` stands in place of an empty one."""

    title: str
    data: str
    options: str
    words: str
    empty: bool = False
    is_counting: bool = False
    nothing: str = "Nothing to show yet."
    note: str = ""
    """Under the chart, for everybody."""


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


def minute_chart(
    title: str, minutes: Sequence[datetime], bars: Sequence[tuple[str, str, Sequence[int]]], said: str
) -> Chart:
    """Bars on top of each other for each minute: name, colour and values. Few beside many are visible all the same.

    `said` is the chart in a sentence, shown with it and in place of an empty one.
    """
    data = {
        "labels": [f"{timezone.localtime(minute):%H:%M}" for minute in minutes],
        "datasets": [
            {
                "label": name,
                "data": [value or None for value in values],
                "backgroundColor": colour,
                "maxBarThickness": 18,
                "minBarLength": 3,
                "stack": title,
            }
            for name, colour, values in bars
        ],
    }
    is_empty = not any(any(values) for _, _, values in bars)
    options = _options(legend=True)
    return Chart(title, json.dumps(data), options, f"{title}: {said}", empty=is_empty, nothing=said, note=said)


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
