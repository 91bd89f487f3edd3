"""`/livez` and `/readyz`: for whom, and what a database that is away or hangs does to them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.wsgi import get_wsgi_application
from django.test import Client

from tests.support.children import spawn
from tests.support.harness import manage, places
from tests.support.servers import ROOT, clean_environment, free_port, wait_for

ENV = {
    "SECRET_KEY": "made-up-but-long-and-with-many-different-letters-0123456789",
    "ALLOWED_HOSTS": "admin.example",
    "SITE_URL": "https://admin.example",
}
READY = "from django.test import Client; print(Client(headers={'host': 'pod'}).get('/readyz').status_code)"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/livez", "/livez/", "/readyz", "/readyz/"])
@pytest.mark.parametrize("host", ["admin.example", "10.0.0.7:8000", "no such; host", ""])
def test_a_probe_is_answered_under_any_name_by_plain_http(settings: Any, path: str, host: str) -> None:
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["admin.example"], True
    for method in ("get", "head"):
        answer = getattr(Client(headers={"host": host}), method)(path)
        assert answer.status_code == 200
        assert answer["Cache-Control"] == "no-store"
        assert not answer.cookies
    assert Client(headers={"host": host}).post(path).status_code == 405


@pytest.mark.django_db
def test_only_the_probes_are_for_everybody(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["admin.example"]
    for path in ("/healthz", "/livez/more", "/admin/livez", "/"):
        assert Client(headers={"host": "10.0.0.7"}).get(path).status_code == 400


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/healthz", "/static/bytemark_sync/admin.css", "/admin/login/", "/nowhere"]
)
def test_nothing_is_sent_for_head(path: str) -> None:
    """Asked as a server asks. Django's client would take a body away, and gunicorn too, with a warning each time."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    statuses: list[str] = []

    def start_response(status: str, *_: object) -> Callable[[bytes], object]:
        statuses.append(status)
        return lambda _body: None

    asked = {"REQUEST_METHOD": "HEAD", "PATH_INFO": path, "HTTP_HOST": "testserver"}
    answer = get_wsgi_application()(environ | asked, start_response)
    assert (b"".join(answer), len(statuses)) == (b"", 1)


def test_a_process_that_lives_says_so_without_the_database(client: Client) -> None:
    assert client.get("/livez").status_code == 200  # pytest-django refuses every query of a test without a mark


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "is away"])
def test_without_the_database_the_process_lives_and_is_not_ready(hangs: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as database:  # takes connections, and never says a word
        port = database.getsockname()[1]
        if not hangs:
            database.close()
        with web_server(f"mysql://u:p@127.0.0.1:{port}/x?connect_timeout=1&read_timeout=1") as web:
            assert (status(web, "/livez"), status(web, "/readyz"), status(web, "/livez")) == (200, 503, 200)


@pytest.mark.server
def test_both_databases_must_be_there(server_url: str) -> None:
    for env, answer in ((ENV, "200"), (ENV | {"PORTAL_DATABASE": "gone"}, "503")):
        done = manage("shell", "-v", "0", "-c", READY, database_url=server_url, env=env)
        assert done.stdout.strip() == answer, done.stderr


@contextmanager
def web_server(url: str) -> Iterator[int]:
    """gunicorn on the database of `url`; its port, once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--no-control-socket", "project.wsgi"]
    environment = clean_environment(places(url) | ENV)
    web = spawn(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: status(port, "/livez") > 0, 60, "the web server answers")
        yield port
    finally:
        web.terminate()
        web.wait(30)


def status(port: int, path: str) -> int:
    """Of a request by plain http with a host name that nobody has allowed; 0 if nobody answers."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: no_such|host\r\nConnection: close\r\n\r\n".encode())
        return int(connection.recv(65536).split()[1])
    return 0
