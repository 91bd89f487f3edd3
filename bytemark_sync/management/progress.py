"""The command's progress bar, by rich; log lines appear above it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bytemark_sync.domain.counters import Counts, many
from bytemark_sync.storage.database_retry import retrying
from bytemark_sync.storage.pending import count_users
from bytemark_sync.times import dated


@contextmanager
def progress_bar(*, limit: int | None, narrowed: bool) -> Iterator[Callable[[Counts, int, datetime | None], None]]:
    """Users done of those with pending orders. No total if the run is narrowed to some users."""
    total = None if narrowed else retrying(count_users)
    if total is not None and limit is not None:
        total = min(total, limit)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("users"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[counts]}"),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stderr=True) as bar:
        task = bar.add_task("Syncing", total=total, counts="")

        def update(counts: Counts, in_flight: int, silent_since: datetime | None) -> None:
            text = f"{many(counts.items_created, 'item')}, {counts.users_failed} failed, {in_flight} in flight"
            if silent_since is not None:
                text = f"Bytemark has not answered since {dated(silent_since)}"
            bar.update(task, completed=counts.users, counts=text)

        yield update
