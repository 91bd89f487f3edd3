"""The table of outages: since when Bytemark did not answer a run, until when, and how long that was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils import timezone

from bytemark_sync.admin.labels import duration, moment, page_of
from bytemark_sync.models import RunOutage
from bytemark_sync.models.runs import ALIVE


def outages_table(outages: Iterable[RunOutage], *, names_run: bool = False) -> dict[str, Any]:
    """A row for each outage, with a link to its run if `names_run`."""
    headers = ["Not answered since", "Answered again", "Silence"]
    return {
        "title": "Bytemark did not answer",
        "headers": ["Run", *headers] if names_run else headers,
        "rows": [_row(each, names_run=names_run) for each in outages],
    }


def _row(outage: RunOutage, *, names_run: bool) -> list[object]:
    """An outage that the run did not outlast may have gone on after its end."""
    run = outage.run
    until = outage.ended_at or run.finished_at or timezone.now()
    again = moment(outage.ended_at, "not yet" if run.status in ALIVE else "not before the run ended")
    row: list[object] = [moment(outage.began_at), again, duration((until - outage.began_at).total_seconds())]
    return [page_of("syncrun", run.pk, run), *row] if names_run else row
