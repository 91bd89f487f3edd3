"""A process that opens the dashboard, and every list of the admin under every filter, as a manager would; prints JSON.

Which lists and filters there are is asked of the admin itself, so that a new one is measured too. The first time of a
page is that of a child which has opened nothing but a page without any list: nothing is remembered, no count made.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import django

FIRST, LATER = 0.400, 0.150
"""Targets in seconds, in the server: a page's first time in a process, and any time after that."""
REFERENCE_SECONDS = 0.0077
"""What `REFERENCE` takes on the machine for which the targets are meant, while it is idle."""
ROUNDS, TIMES = 6, 4
"""Each page is opened by a process of its own, and `TIMES` times again; one that misses a target is opened again in the
next round. The best counts: the machine is shared, and whatever else it does only adds."""
VALUES = 4
"""Values tried of a filter with more: the first and the last."""
RUNS = 1_000
REFERENCE = "/admin/password_change/"
MORE = {
    "order": ("?p=100", "?q=00000000-0000-4000-a000-000000777777", "?q=1000777"),
    "pendingorder": ("?p=100", "?o=1", "?reason=never_tried&age=week", "?reason=no_passes&age=week", "?q=1000777"),
    "orderitem": ("?p=100", "?product=product-3&day={today}", "?q=pass-77"),
    "syncrun": ("?q=5",),
}


def main() -> None:
    """Arguments: parts of the names to measure; all without."""
    django.setup()
    from django.contrib.auth.models import User
    from django.db import connections
    from django.test import Client

    user, _ = User.objects.get_or_create(username="bench", defaults={"is_superuser": True, "is_staff": True})
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    _fill_runs()
    client.get(REFERENCE)  # the URLs are loaded
    urls = {name: url for name, url in pages(user) if not sys.argv[1:] or any(each in name for each in sys.argv[1:])}
    client.get("/admin/auth/group/")  # a list's templates are
    found: dict[str, dict[str, float]] = {}
    for _ in range(ROUNDS):
        for name in [name for name in urls if name not in found or is_late(found[name])]:
            connections.close_all()
            times = _in_a_child(client, urls[name])
            found[name] = {key: min(value, found.get(name, times)[key]) for key, value in times.items()}
    print(json.dumps(found))


def is_late(times: dict[str, float], slower: float = 1.0) -> bool:
    return times["first"] > FIRST * slower or times["later"] > LATER * slower


def _fill_runs() -> None:
    """The runs of which the benchmark's rows speak: their columns are Django's business."""
    from datetime import timedelta

    from django.utils import timezone

    from bytemark_sync.models import RunStatus, SyncRun, Trigger

    statuses, triggers, now = list(RunStatus), list(Trigger), timezone.now()
    if not SyncRun.objects.exists():
        SyncRun.objects.bulk_create(
            SyncRun(
                trigger=triggers[number % len(triggers)],
                # None is alive: a page then follows it.
                status=statuses[2 + number % (len(statuses) - 2)],
                created_at=now - timedelta(hours=RUNS - number),
                finished_at=now - timedelta(hours=RUNS - number),
                users=100,
                orders=100,
                orders_synced=90,
                items_created=90,
            )
            for number in range(RUNS)
        )


def pages(user: Any) -> Iterator[tuple[str, str]]:
    """(name, address) of the dashboard, of each list without and with each value of each filter, and of each resync."""
    from django.contrib import admin
    from django.test import RequestFactory
    from django.urls import reverse
    from django.utils import timezone

    yield "Dashboard", "/admin/"
    for model, screen in sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label):
        request = RequestFactory().get("/")
        request.user = user
        if not screen.has_module_permission(request):
            continue
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        title = str(model._meta.verbose_name_plural).capitalize()
        yield title, url
        queries = [query for spec in screen.get_changelist_instance(request).filter_specs for query in _values(spec)]
        more = MORE.get(str(model._meta.model_name), ()) if model._meta.app_label == "bytemark_sync" else ()
        for query in (*queries, *(each.format(today=timezone.localdate().isoformat()) for each in more)):
            yield f"{title} {query}", url + query
        if model._meta.model_name == "pendingorder":
            for query in ("", *queries):
                yield f"Resync {query}".strip(), f"{url}resync/{query}"


def _values(spec: Any) -> Iterator[str]:
    """The query strings that a filter offers; of a field for a number, one that there is."""
    name = getattr(spec, "parameter_name", None) or spec.lookup_kwarg
    choices = (
        getattr(spec, "lookup_choices", None) or getattr(spec.field, "flatchoices", None) or [("1", ""), ("0", "")]
    )
    values = [str(value) for value, *_ in choices if str(value)] or ["7"]
    for value in values if len(values) <= 2 * VALUES else values[:VALUES] + values[-VALUES:]:
        yield "?" + urlencode({name: value})


def _in_a_child(client: Any, url: str) -> dict[str, float]:
    """Seconds of the first opening, of the best later one, and of the reference, in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with os.fdopen(write, "w") as pipe:
            try:
                json.dump(_measure(client, url), pipe)
            except BaseException as error:
                json.dump({"error": f"{url}: {error!r}"}, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer: dict[str, Any] = json.loads(pipe.read())
    os.waitpid(child, 0)
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer


def _measure(client: Any, url: str) -> dict[str, float]:
    reference = min(_open(client, REFERENCE) for _ in range(TIMES))
    first = _open(client, url)
    return {"first": first, "later": min(_open(client, url) for _ in range(TIMES)), "reference": reference}


def _open(client: Any, url: str) -> float:
    started = time.monotonic()
    response = client.get(url, follow=True)
    seconds = time.monotonic() - started
    assert response.status_code == 200, (url, response.status_code)
    return seconds


if __name__ == "__main__":
    main()
