"""The result of a run, in words and links."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.safestring import SafeString

from bytemark_sync.admin.labels import OF_NEWER, Known, badge, in_words, link
from bytemark_sync.domain.comparison import FINDING_LABELS, FindingKind
from bytemark_sync.domain.counters import Found, many
from bytemark_sync.domain.run_kinds import Figures
from bytemark_sync.models import SyncRun
from bytemark_sync.storage.finding_counts import found_by

LABELS = Known({kind.value: label for kind, label in FINDING_LABELS.items()}, in_words)
MEANINGS = Known(
    {
        FindingKind.PASS_MISSING: "Bytemark lists a pass that is not stored. An audit with --repair stores it.",
        FindingKind.PASS_UNKNOWN: "A stored pass that Bytemark does not list in this order.",
        FindingKind.PRODUCT_DIFFERS: "The pass is stored with another product.",
        FindingKind.NOT_LISTED: "Bytemark lists no such order for this user.",
        FindingKind.STORED_TWICE: "Several rows hold the same pass.",
    },
    lambda _: OF_NEWER.meaning,
)


@dataclass(frozen=True, slots=True)
class Result:
    """What the run has done. `remaining` links to what needs a person's attention."""

    done: str
    remaining: SafeString | str


def results(runs: Iterable[SyncRun]) -> dict[int, Result]:
    """The result of each run, with one query for all of them."""
    runs = list(runs)
    found = found_by([run.pk for run in runs if run.kind_record.has_findings])
    return {run.pk: _result(run, found.get(run.pk)) for run in runs}


def _result(run: SyncRun, found: Found | None) -> Result:
    done = run.kind_record.done(Figures.of(run, found or Found()))
    return Result(f"{done}{_renewed(run)}", _left(run) if found is None else _findings(run, found))


def _left(run: SyncRun) -> SafeString | str:
    left = run.orders - run.orders_synced
    attempts = reverse("admin:bytemark_sync_orderattempt_changelist")
    return link(f"{attempts}?run={run.pk}", f"{many(left, 'order')} left") if left > 0 else "-"


def _findings(run: SyncRun, found: Found) -> SafeString | str:
    words = many(found.total, "finding")
    return link(_findings_url(run), words) if found.total else words


def _renewed(run: SyncRun) -> str:
    renewed = f", {many(run.tokens_renewed, 'token')} renewed" if run.tokens_renewed else ""
    return f"{renewed}, logins stopped" if run.logins_stopped else renewed


def findings_table(run: SyncRun, found: Found) -> dict[str, Any]:
    """The table of findings by kind, with links to their lists."""
    kinds = sorted(found.kinds.items(), key=lambda row: -row[1])
    return {
        "title": "Findings, by kind",
        "headers": ["Finding", "Number", "What it means"],
        "rows": [
            [
                badge(LABELS[kind], "warning"),
                link(_findings_url(run, kind), many(count, "finding")),
                SafeString(f'<span class="whitespace-normal">{MEANINGS[kind]}</span>'),
            ]
            for kind, count in kinds
        ],
    }


def _findings_url(run: SyncRun, kind: str = "") -> str:
    query = {"run": run.pk} | ({"kind__exact": kind} if kind else {})
    return f"{reverse('admin:bytemark_sync_auditfinding_changelist')}?{urlencode(query)}"
