"""A process that plans one run of everything into batches, as a worker of the queue does; prints JSON."""

from __future__ import annotations

import json
import time

import django


def main() -> None:
    django.setup()
    from bytemark_sync.models import SyncRun, Trigger
    from bytemark_sync.queue.planning import plan
    from bytemark_sync.queue.requests import request_run

    run = request_run(trigger=Trigger.COMMAND).run
    assert run is not None
    started = time.monotonic()
    plan(run.pk)
    seconds = time.monotonic() - started
    run = SyncRun.objects.get(pk=run.pk)
    assert run.planned_at is not None
    print(json.dumps({"seconds": seconds, "users": run.users_planned, "batches": run.batches.count()}))


if __name__ == "__main__":
    main()
