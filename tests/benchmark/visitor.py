"""A person who looks at the admin of a real web server every few seconds, and a monitor that asks it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Self

import requests

from tests.support.admin_site import PASSWORD, answers, start_web
from tests.support.harness import Portal, manage
from tests.support.servers import free_port, wait_for

EVERY_SECONDS = 2.0
USER = "bench"
METRICS_TOKEN = "made-up-for-the-benchmark"
LISTS = "/admin/bytemark_sync"
PAGES = {
    "Dashboard": "/admin/",
    "Pending orders": f"{LISTS}/pendingorder/",
    "Riders": f"{LISTS}/portaluser/",
    "Runs": f"{LISTS}/syncrun/",
    "The run under way": f"{LISTS}/syncrun/{{run}}/change/",
    "Bytemark's limit": f"{LISTS}/syncrun/limit/",
    "Orders": f"{LISTS}/order/",
    "Items": f"{LISTS}/orderitem/",
    "/healthz": "/healthz",
    "/metrics": "/metrics",
}
FINE = {"/healthz": (200, 503)}
"""It may have to complain; whatever it says, it answers."""


@dataclass
class Times:
    """Seconds of each opening of a page, and what was wrong with those that failed."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.seconds) if self.seconds else 0.0

    @property
    def worst(self) -> float:
        return max(self.seconds, default=0.0)


@contextmanager
def web(folder: Path, portal: Portal, env: dict[str, str]) -> Iterator[tuple[str, int]]:
    """gunicorn as the README starts it, with a superuser; its address, and the pid of its first process."""
    password = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    args = ("createsuperuser", "--noinput", "--username", USER, "--email", "bench@example.com")
    made = manage(*args, database_url=portal.url, env=env | password)
    assert made.status == 0, made.stderr
    port = free_port()
    process = start_web(port, portal.url, env, folder, threads=8)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/admin/login/"), 30, "the web server answers")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(20)


class Visitor:
    """`with Visitor(url, run) as visitor:`; opens one page after the other, with two seconds between them."""

    def __init__(self, url: str, run: int) -> None:
        self.times = {name: Times() for name in PAGES}
        self._url, self._run = url, run
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {METRICS_TOKEN}"
        # As a proxy asks: gunicorn closes what was idle for two seconds, perhaps just when the next request is sent.
        self._session.headers["Connection"] = "close"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="visitor", daemon=True)

    def __enter__(self) -> Self:
        login = f"{self._url}/admin/login/"
        self._session.get(login, timeout=60)
        form = {"username": USER, "password": PASSWORD, "csrfmiddlewaretoken": self._session.cookies["csrftoken"]}
        answer = self._session.post(login, form, headers={"Referer": login}, allow_redirects=False, timeout=60)
        assert answer.status_code == 302, answer.status_code
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(120)

    def _work(self) -> None:
        for name, path in cycle(PAGES.items()):
            self._open(name, self._url + path.format(run=self._run))
            if self._end.wait(EVERY_SECONDS):
                return

    def _open(self, name: str, url: str) -> None:
        started = time.monotonic()
        try:
            status = self._session.get(url, timeout=60, allow_redirects=False).status_code
        except requests.RequestException as error:
            self.times[name].failed.append(type(error).__name__)
            return
        self.times[name].seconds.append(time.monotonic() - started)
        if status not in FINE.get(name, (200,)):
            self.times[name].failed.append(str(status))
