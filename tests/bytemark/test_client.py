"""The client against a real server over sockets that answers as badly as servers do."""

from __future__ import annotations

import gzip
import json
import queue
import socket
import ssl
import subprocess
import threading
import time
import traceback
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bytemark_sync import __version__
from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.bytemark.errors import BytemarkError, GiveUp, Interrupted, Kind, RateLimited, TokenRejected, TryAgain
from bytemark_sync.bytemark.gate import Gate
from bytemark_sync.bytemark.outage import Witness
from bytemark_sync.bytemark.pace_state import Lease
from bytemark_sync.bytemark.token import Token
from tests.support.misbehaving_server import Handler, Request, dripping, hang, reset, send, sending, serve
from tests.support.scripted_api import order, page
from tests.support.servers import wait_for

KEY = Token("made-up-key")
OK = b"HTTP/1.1 200 OK\r\n"
BODY = json.dumps(page(order("A", "p"), total=1)).encode()
HANG_UP_SECONDS = 10


def hang_up_late(_sock: socket.socket) -> None:
    time.sleep(HANG_UP_SECONDS)


def client(url: str, **more: Any) -> BytemarkClient:
    own = {key: more.pop(key) for key in ("stop", "ca_file") if key in more}
    times = {"connect_timeout": 2.0, "read_timeout": 0.3, "request_deadline": 0.35}
    backoff = {"backoff_base": 0.01, "backoff_cap": 0.2}
    return BytemarkClient(BytemarkSettings(url, **(times | backoff | more)), **own)


def failure(url: str, **more: Any) -> BytemarkError:
    """The error of one request, which must not name the token anywhere, and which the statistics must count."""
    one = client(url, **more)
    with pytest.raises(BytemarkError) as caught:
        one.get_page(KEY, 1)
    assert KEY.reveal() not in "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert one.stats.drain().answers == {caught.value.kind.value: 1}
    return caught.value


def answering(status: int = 200, body: Any = BODY, headers: dict[str, str] | None = None) -> Handler:
    return lambda _request, sock: send(sock, status, body, headers)


def test_one_page_is_one_get_with_page_size_token_and_name() -> None:
    with serve(answering()) as server:
        found = client(server.url, page_size=25).get_page(KEY, 3)
    (request,) = server.requests
    assert [one.uuid for one in found.orders] == ["A"]
    assert (request.method, request.path) == ("GET", "/v4.0/orders")
    assert request.query == {"page": "3", "per_page": "25"}
    assert request.headers["authorization"] == "Bearer made-up-key"
    assert request.headers["accept"] == "application/json"
    assert request.headers["accept-encoding"] == "gzip"
    assert request.headers["user-agent"] == f"bytemark-sync/{__version__}"
    assert "cookie" not in request.headers


def test_the_probe_gets_an_answer_as_it_came() -> None:
    with serve(answering(503, b"later", {"Retry-After": "7", "X-Rate-Limit": "5"})) as server:
        one = client(server.url)
        found = one.get_answer(KEY, 2, 50)
        assert one.stats.drain().requests == 0
    assert (found.status, found.body, found.retry_after) == (503, b"later", "7")
    assert found.headers["x-rate-limit"] == "5"
    assert found.seconds > 0
    assert [(one.query, one.headers["authorization"]) for one in server.requests] == [
        ({"page": "2", "per_page": "50"}, "Bearer made-up-key")
    ]


@pytest.mark.parametrize(
    ("status", "body", "lets_through"),
    [
        (200, BODY, True),
        (500, b"", True),
        (200, b"<html>", True),
        (200, b"{}", True),
        (404, b"", True),
        (429, b"", False),
    ],
)
def test_any_answer_but_429_shows_the_pace_that_the_request_was_let_through(
    status: int, body: bytes, lets_through: bool
) -> None:
    """Otherwise, while all is refused, a user whose requests fail would hold everybody up for half a minute."""
    with serve(answering(status, body)) as server, suppress(BytemarkError):
        one = client(server.url)
        one.get_page(KEY, 1)
    assert one.gate.report().counted == lets_through


def test_connections_are_kept_and_cookies_refused() -> None:
    with serve(answering(headers={"Set-Cookie": "session=other-rider; Path=/"})) as server:
        one = client(server.url)
        for number in range(1, 6):
            one.get_page(Token(f"key-{number}"), number)
    assert server.connections == 1
    assert [request.token for request in server.requests] == [f"key-{number}" for number in range(1, 6)]
    assert not any("cookie" in request.headers for request in server.requests)
    assert one.stats.drain().answers == {"ok": 5}


def test_error_answers_keep_the_connection_too() -> None:
    with serve(answering(404, b'{"error": "no"}')) as server:
        one = client(server.url)
        for _ in range(3):
            with pytest.raises(GiveUp):
                one.get_page(KEY, 1)
    assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(status: int) -> None:
    with serve(answering()) as elsewhere, serve(answering(status, b"", {"Location": elsewhere.url + "/x"})) as server:
        error = failure(server.url)
    assert isinstance(error, GiveUp)
    assert error.kind is Kind.REDIRECT
    assert elsewhere.requests == []
    assert len(server.requests) == 1


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serve(answering()) as proxy, serve(answering()) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        client(server.url).get_page(KEY, 1)
    assert proxy.requests == []
    assert server.requests[0].headers["authorization"] == "Bearer made-up-key"


@pytest.mark.parametrize("value", ["two\nlines", "a\r\nX: y", "schlüssel", "€", "a\x00b", "\ud800", "  ", "a\tb"])
def test_a_token_that_cannot_be_sent_is_rejected_without_a_request_or_a_trace(value: str) -> None:
    with serve(answering()) as server, pytest.raises(TokenRejected) as caught:
        client(server.url).get_page(Token(value), 1)
    assert server.requests == []
    if value.strip():
        assert value not in "".join(traceback.format_exception(caught.value))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    ],
    ids=["status", "header name", "headers", "100", "body", "body to the end", "chunks", "chunk size", "trailers"],
)
def test_a_server_that_drips_ends_at_the_deadline(start: bytes, drop: bytes) -> None:
    with serve(dripping(start, drop)) as server:
        started = time.monotonic()
        error = failure(server.url)
        took = time.monotonic() - started
    assert isinstance(error, TryAgain)
    assert error.kind is Kind.DEADLINE  # nothing else ends it: the server never does
    assert took > 0.3


def test_the_end_of_a_drip_is_not_waited_for_to_close_the_connection() -> None:
    gone = threading.Event()

    def handler(request: Request, sock: socket.socket) -> None:
        try:
            dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" ")(request, sock)
        except OSError:
            gone.set()

    with serve(handler) as server:
        failure(server.url)
        assert gone.wait(10)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"], ids=["headers", "body"])
def test_a_silent_server_ends_at_the_read_timeout(start: bytes) -> None:
    with serve(sending(start, then=hang_up_late)) as server:
        started = time.monotonic()
        error = failure(server.url, read_timeout=0.2, request_deadline=60.0)
        took = time.monotonic() - started
    assert isinstance(error, TryAgain)
    assert error.kind is Kind.TIMEOUT  # before the deadline, and before the server hung up
    assert took > 0.15


def test_a_silence_that_began_late_still_ends_at_the_deadline() -> None:
    """The time of one read is cut to what is left: whole, it would end with the test's patience."""
    with serve(sending(OK, b"X: y\r\n", pause=0.2, then=hang_up_late)) as server:
        started = time.monotonic()
        error = failure(server.url, read_timeout=60.0, request_deadline=0.5)
        took = time.monotonic() - started
    assert error.kind is Kind.DEADLINE
    assert took < HANG_UP_SECONDS


def test_a_slow_answer_within_its_times_is_fine() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    whole = head + BODY
    pieces = [whole[start : start + 20] for start in range(0, len(whole), 20)]
    with serve(sending(*pieces, pause=0.02)) as server:
        assert len(client(server.url, request_deadline=5.0).get_page(KEY, 1).orders) == 1


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", Kind.CONNECTION),
        (b"nonsense\r\n\r\n", Kind.CONNECTION),
        (b"HTTP/1.1 abc\r\n\r\n", Kind.CONNECTION),
        (b"HTTP/9.9 200 OK\r\n\r\n", Kind.CONNECTION),
        (OK + b"X: " + b"y" * 70_000 + b"\r\n\r\n", Kind.CONNECTION),
        (OK + b"X: y\r\n" * 150 + b"\r\n", Kind.CONNECTION),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}", Kind.CONNECTION),
        (OK + b"Content-Length: 1000\r\n\r\n" + BODY, Kind.CUT),
        (OK + b"Content-Length: 1000\r\n\r\n", Kind.CUT),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", Kind.CUT),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", Kind.CUT),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{\r\n", Kind.CUT),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!", Kind.CUT),
        (OK + b"\r\n" + BODY[:-5], Kind.NOT_JSON),
        (OK + b"Content-Length: 20\r\n\r\n" + BODY, Kind.NOT_JSON),
        (OK + b"Content-Length: 0\r\n\r\n", Kind.NOT_JSON),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Kind.NOT_JSON),
        (OK + b"Content-Length: 2\r\n\r\n{}", Kind.WRONG_SHAPE),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_broken_answer_is_a_failed_request(raw: bytes, kind: Kind) -> None:
    with serve(sending(raw)) as server:
        error = failure(server.url)
    assert isinstance(error, TryAgain)
    assert error.kind is kind
    assert len(server.requests) == 1


def test_a_cut_body_of_an_error_status_keeps_the_status_its_meaning() -> None:
    for status, error in ((401, TokenRejected), (404, GiveUp), (500, TryAgain)):
        with serve(sending(b"HTTP/1.1 %d X\r\nContent-Length: 99\r\n\r\n{" % status)) as server:
            assert type(failure(server.url)) is error


@pytest.mark.parametrize("before", [b"", OK + b"Content-Length: 1000\r\n\r\n{"], ids=["headers", "body"])
def test_a_reset_connection_is_a_failed_request_and_a_new_one_is_made(before: bytes) -> None:
    def handler(request: Request, sock: socket.socket) -> None:
        if request.connection == 0:
            sending(before, then=reset)(request, sock)
        else:
            send(sock, 200, BODY)

    with serve(handler) as server:
        one = client(server.url)
        with pytest.raises(TryAgain) as caught:
            one.get_page(KEY, 1)
        assert caught.value.kind is (Kind.CUT if before else Kind.CONNECTION)
        assert len(one.get_page(KEY, 1).orders) == 1
    assert server.connections == 2


def test_what_is_left_of_a_failed_answer_is_never_read_as_the_next() -> None:
    def handler(request: Request, sock: socket.socket) -> None:
        send(sock, 200, BODY)
        if request.connection == 0:
            send(sock, 200, page(order("STALE", "x"), total=1))

    with serve(handler) as server:
        one = client(server.url)
        for _ in range(3):
            assert [found.uuid for found in one.get_page(KEY, 1).orders] == ["A"]
            time.sleep(0.05)


def test_a_connection_that_the_server_closed_while_idle_costs_nothing() -> None:
    with serve(sending(OK + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)) as server:
        one = client(server.url)
        for _ in range(3):
            one.get_page(KEY, 1)
            time.sleep(0.05)
    assert server.connections == 3


def test_nobody_listening_is_a_failed_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(f"http://localhost:{port}")
    assert isinstance(error, TryAgain)
    assert error.kind is Kind.CONNECTION
    assert "refused" in error.detail


def test_a_name_that_does_not_exist_is_a_failed_request() -> None:
    error = failure("https://bytemark.invalid")
    assert isinstance(error, TryAgain)
    assert error.kind is Kind.CONNECTION
    assert "name" in error.detail


BLANKS = b" " * (9 * 1024 * 1024)


@pytest.mark.parametrize(
    "handler",
    [
        sending(OK + b"Content-Length: %d\r\n\r\n" % len(BLANKS), then=lambda _sock: time.sleep(0.3)),
        sending(OK + b"\r\n" + BLANKS),
        answering(200, gzip.compress(BLANKS), {"Content-Encoding": "gzip"}),
        answering(200, gzip.compress(gzip.compress(BLANKS)), {"Content-Encoding": "gzip, gzip"}),
    ],
    ids=["announced", "to the end", "gzip", "gzip twice"],
)
def test_an_answer_over_the_limit_is_cut_off(handler: Handler) -> None:
    with serve(handler) as server:
        error = failure(server.url, request_deadline=5.0)
    assert isinstance(error, TryAgain)
    assert (error.kind, error.detail) == (Kind.TOO_LARGE, "the answer is larger than 8 MiB")


@pytest.mark.parametrize(
    ("big", "announced"),
    [(BLANKS, True), (gzip.compress(BLANKS) + b"rest", False)],
    ids=["announced", "unpacked"],
)
def test_what_is_left_of_an_answer_over_the_limit_is_not_waited_for(big: bytes, announced: bool) -> None:
    """The connection is closed at once: the server that still has something to send sees it go."""
    gone = threading.Event()

    def handler(_request: Request, sock: socket.socket) -> None:
        coding = b"" if announced else b"Content-Encoding: gzip\r\n"
        sock.sendall(OK + coding + b"Content-Length: 90000000\r\n\r\n" + (b"" if announced else big))
        sock.settimeout(30)
        try:
            if sock.recv(1) == b"":
                gone.set()
        except ConnectionError:
            gone.set()
        except TimeoutError:
            pass

    with serve(handler) as server:
        one = client(server.url, request_deadline=60.0, read_timeout=60.0)
        with pytest.raises(TryAgain):
            one.get_page(KEY, 1)
        assert gone.wait(20)


def test_an_empty_answer_is_told_as_such() -> None:
    with serve(answering(200, b"")) as server:
        assert failure(server.url).detail == "the answer is not JSON (0 bytes)"


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """300 MiB in less than 10 kB."""
    packed = gzip.compress(gzip.compress(b" " * (300 * 1024 * 1024), 9), 9)
    assert len(packed) < 10_000
    return packed


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 302])
def test_a_gzip_bomb_costs_no_memory(bomb: bytes, status: int) -> None:
    headers = {"Content-Encoding": "gzip, gzip", "Location": "https://localhost/elsewhere"}
    with serve(answering(status, bomb, headers)) as server:
        tracemalloc.start()
        error = failure(server.url, request_deadline=5.0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert error.kind is (Kind.TOO_LARGE if status == 200 else Kind.REDIRECT)
    assert peak < 20 * 1024 * 1024


def test_an_answer_just_under_the_limit_is_read() -> None:
    with serve(answering(200, BODY + b" " * (8 * 1024 * 1024 - len(BODY)))) as server:
        assert len(client(server.url, request_deadline=5.0).get_page(KEY, 1).orders) == 1


@pytest.mark.parametrize("chunked", [True, False])
def test_gzip_and_chunks_are_read(chunked: bool) -> None:
    body = gzip.compress(BODY)
    if chunked:
        halves = (body[:30], body[30:])
        framed = b"".join(b"%x\r\n%b\r\n" % (len(half), half) for half in halves) + b"0\r\n\r\n"
        handler = sending(OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + framed, then=id)  # type: ignore[arg-type]
    else:
        handler = answering(200, body, {"Content-Encoding": "gzip"})
    with serve(handler) as server:
        one = client(server.url)
        assert len(one.get_page(KEY, 1).orders) == 1
        assert len(one.get_page(KEY, 2).orders) == 1
    assert server.connections == 1


@pytest.mark.slow
def test_a_limit_of_the_client_pauses_every_thread() -> None:
    def handler(_request: Request, sock: socket.socket) -> None:
        first = len(server.requests) == 1
        send(sock, 429 if first else 200, BODY, {"Retry-After": "1"})

    with serve(handler) as server:
        one = client(server.url, outage_patience=0.2)
        with pytest.raises(RateLimited) as caught:
            one.get_page(KEY, 1)
        assert caught.value.pause == 0.2
        started = time.monotonic()
        threads = [threading.Thread(target=one.get_page, args=(KEY, 1)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert time.monotonic() - started >= 0.19
        assert not any(thread.is_alive() for thread in threads)
    assert len(server.requests) == 4


@pytest.mark.slow
def test_the_witness_of_an_outage_is_asked_before_all_who_wait_for_a_permit() -> None:
    """They wait on: what is sent after it would be lost in the outage, or hide it after its end."""

    def handler(request: Request, sock: socket.socket) -> None:
        send(sock, 200 if is_there else 503, BODY)

    is_there = True
    with serve(handler) as server:
        one = BytemarkClient(
            BytemarkSettings(server.url), gate=Gate(threading.Event(), is_shared=True, clock=lambda: 0)
        )
        one.gate.accept(one.gate.report(), Lease(0, None))
        one.get_page(Token("seven"), 1, user=7)
        last = one.outage.enter()
        assert last is not None
        one.outage.sending(last)
        one.gate.accept(one.gate.report(), Lease(1, 10.0))
        got: queue.SimpleQueue[int] = queue.SimpleQueue()

        def ask(user: int) -> None:
            got.put(len(one.get_page(Token(f"user-{user}"), 1, user=user).orders))

        waiting = [threading.Thread(target=ask, args=(user,)) for user in (1, 2, 3)]
        for thread in waiting:
            thread.start()
        wait_for(lambda: one.gate.report().wanted == 3, 10, "three wait for a permit")
        is_there = False
        one.outage.leave(last, Kind.TIMEOUT, Witness(4, KEY), is_last=True)
        settling = threading.Thread(target=one.settle)
        settling.start()
        wait_for(lambda: one.gate.report().wanted == 4, 10, "so does the witness")
        one.gate.accept(one.gate.report(), Lease(1, 10.0, permits=4))
        settling.join(10)
        assert one.outage.silent_for is not None
        assert [request.token for request in server.requests] == ["seven", "seven"]
        is_there = True
        one.gate.accept(one.gate.report(), Lease(2, None))
        assert [got.get(timeout=20) for _ in waiting] == [1, 1, 1]
        assert [request.token for request in server.requests[:3]] == ["seven"] * 3
        assert sorted(request.token for request in server.requests[3:]) == ["user-1", "user-2", "user-3"]


@pytest.mark.parametrize(("limit", "told_at"), [(None, 5), (1000.0, 4)], ids=["no limit", "a limit"])
def test_where_the_witness_may_have_to_wait_it_is_asked_while_an_attempt_is_left(
    limit: float | None, told_at: int
) -> None:
    """An outage that ends before the witness is asked then fails nobody."""
    with serve(lambda request, sock: send(sock, 200 if request.token == "seven" else 503, BODY)) as server:
        one = BytemarkClient(BytemarkSettings(server.url), gate=Gate(threading.Event(), is_shared=True))
        one.gate.accept(one.gate.report(), Lease(1, limit, permits=20))
        one.get_page(Token("seven"), 1, user=7)
        for attempt in range(1, 6):
            assert not one.outage.is_asking
            with pytest.raises(TryAgain) as failed:
                one.get_page(KEY, 1, user=1, attempt=attempt)
            assert one.outage.is_asking == (attempt >= told_at)
            one.settle()
            assert not one.outage.is_forgiven(failed.value.eras)
        assert [request.token for request in server.requests].count("seven") == 1 + 6 - told_at


def test_a_connection_that_was_closed_tells_nothing_of_the_pace_and_is_reported() -> None:
    def handler(request: Request, sock: socket.socket) -> None:
        if request.token == "closed":
            sock.close()
        else:
            send(sock, 500, BODY)

    with serve(handler) as server:
        one = BytemarkClient(BytemarkSettings(server.url))
        for token in ("closed", "error", "closed"):
            with pytest.raises(TryAgain):
                one.get_page(Token(token), 1)
        report = one.gate.report()
        assert (report.good, report.unanswered) == (1, 2)


def test_a_503_without_retry_after_pauses_nobody_else() -> None:
    with serve(answering(503)) as server:
        one = client(server.url, backoff_base=600.0, backoff_cap=600.0)
        started = time.monotonic()
        for _ in range(5):
            with pytest.raises(TryAgain) as unavailable:
                one.get_page(KEY, 1)
            assert unavailable.value.pause is None
        assert time.monotonic() - started < 60


@pytest.mark.parametrize("handler", [dripping(b"", b"H"), hang], ids=["drips", "hangs"])
def test_a_stop_ends_a_request_under_way(handler: Handler) -> None:
    stop = threading.Event()

    def stop_once_asked() -> None:
        while not server.requests:
            time.sleep(0.01)
        time.sleep(0.1)
        stop.set()

    with serve(handler) as server:
        threading.Thread(target=stop_once_asked, daemon=True).start()
        started = time.monotonic()
        error = failure(server.url, stop=stop, read_timeout=200.0, request_deadline=200.0)
        assert time.monotonic() - started < 20
    assert isinstance(error, Interrupted)


def test_latency_is_that_of_the_whole_answer() -> None:
    with serve(dripping(OK + b"Content-Length: 1000\r\n\r\n", b" ")) as server:
        one = client(server.url)
        started = time.monotonic()
        with pytest.raises(TryAgain):
            one.get_page(KEY, 1)
        took = time.monotonic() - started
    sample = one.stats.drain()
    assert (sample.requests, sample.answers) == (1, {"deadline": 1})
    assert 0.3 < sample.latency.maximum <= took


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "crt"), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "crt").read_text() + (folder / "key").read_text())
    return both


def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_self_signed_certificate_is_refused_before_the_token_is_sent(certificate: Path) -> None:
    with serve(answering(), tls(certificate)) as server:
        error = failure(server.url)
    assert isinstance(error, TryAgain)
    assert error.kind is Kind.CONNECTION
    assert "certificate" in error.detail
    assert server.requests == []


def test_a_certificate_of_another_host_is_refused(certificate: Path) -> None:
    with serve(answering(), tls(certificate)) as server:
        url = server.url.replace("localhost", "127.0.0.1")
        assert "certificate" in failure(url, ca_file=str(certificate)).detail
    assert server.requests == []


def test_a_trusted_certificate_is_accepted_and_the_connection_kept(certificate: Path) -> None:
    with serve(answering(), tls(certificate)) as server:
        one = client(server.url, ca_file=str(certificate))
        for number in (1, 2, 3):
            one.get_page(KEY, number)
    assert server.connections == 1


@pytest.mark.slow
@pytest.mark.parametrize(("start", "drop"), [(b"", b"H"), (OK + b"Content-Length: 1000\r\n\r\n", b" ")])
def test_the_deadline_holds_over_tls(certificate: Path, start: bytes, drop: bytes) -> None:
    with serve(dripping(start, drop), tls(certificate)) as server:
        error = failure(server.url, ca_file=str(certificate))
    assert error.kind is Kind.DEADLINE


def test_a_server_silent_in_the_tls_handshake_ends_at_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://localhost:{listener.getsockname()[1]}"
        error = failure(url, connect_timeout=0.3, read_timeout=60.0, request_deadline=10.0)
    assert error.kind is Kind.TIMEOUT  # not of the deadline


def test_many_threads_share_a_client() -> None:
    def handler(request: Request, sock: socket.socket) -> None:
        send(sock, 200, page(order(request.token, "p"), total=1))

    wrong: list[str] = []

    def work(one: BytemarkClient, name: str) -> None:
        for _ in range(20):
            found = one.get_page(Token(name), 1).orders[0].uuid
            if found != name:
                wrong.append(f"{name} got {found}")

    with serve(handler) as server:
        shared = client(server.url, request_deadline=5.0, read_timeout=5.0)
        threads = [threading.Thread(target=work, args=(shared, f"key-{n}")) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert wrong == []
    assert shared.stats.drain().answers == {"ok": 160}
    assert server.connections == 8


@pytest.mark.slow
@pytest.mark.parametrize("secure", [True, False])
def test_a_silence_shorter_than_the_read_timeout_loses_nothing(certificate: Path, secure: bool) -> None:
    head = OK + b"Content-Length: %d\r\n\r\n" % len(BODY)
    handler = sending(head[:10], head[10:] + BODY[:20], BODY[20:], pause=0.3)
    with serve(handler, tls(certificate) if secure else None) as server:
        one = client(server.url, ca_file=str(certificate), read_timeout=3.0, request_deadline=5.0)
        assert len(one.get_page(KEY, 1).orders) == 1


def test_the_words_for_a_token_that_cannot_be_sent() -> None:
    with serve(answering()) as server, pytest.raises(TokenRejected) as rejected:
        client(server.url).get_page(Token("made-up\nkey"), 1)
    assert rejected.value.detail == "the token holds characters that cannot be sent; it was not tried"
    assert server.requests == []
