"""What headers and certificates say, from a server with TLS."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import PendingUser
from tests.support.misbehaving_server import Handler, Request, send, serve
from tests.support.probing import Probed, probe_url
from tests.support.scripted_api import order, page

RIDER = PendingUser(7, (Token("made-up-key"),), ())


@pytest.fixture(scope="module", params=[2, 40])
def certificate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """A self-signed certificate for localhost, with its key in the same file, and the days it lasts."""
    days: int = request.param
    folder = tmp_path_factory.mktemp("tls")
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days {days} -subj /CN=localhost"
    )
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "crt"), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), "-days", str(days), *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "crt").read_text() + (folder / "key").read_text())
    return days, both


def answering(headers: dict[str, str]) -> Handler:
    """A list of one order for the rider, and a 401 for anybody else."""
    body = json.dumps(page(order("A", "p"), total=1)).encode()

    def answer(request: Request, sock: socket.socket) -> None:
        send(sock, 200 if request.token == "made-up-key" else 401, body, headers)

    return answer


def with_headers(headers: dict[str, str]) -> Probed:
    with serve(answering(headers)) as server:
        return probe_url(server.url, [RIDER])


def test_version_and_end_of_a_certificate_are_seen(certificate: tuple[int, Path]) -> None:
    days, file = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with serve(answering({}), context) as server:
        found = probe_url(server.url, [RIDER], ca_file=str(file))
        check = found.checks["tls"]
        assert check.verdict == ("differs" if days == 2 else "holds")
        assert check.seen.startswith("TLSv1.3; the certificate ends on 20")
        assert found.checks["reachable"].verdict == "holds"
        untrusted = probe_url(server.url, [RIDER])
    assert untrusted.different() == {"tls", "reachable"}
    assert "certificate is not trusted" in untrusted.checks["tls"].seen


def test_a_rate_that_headers_announce_is_recommended() -> None:
    found = with_headers({"X-RateLimit-Limit": "600", "X-RateLimit-Window": "60", "X-RateLimit-Policy": "made-up-key"})
    check = found.checks["rate_limit"]
    assert check.verdict == "differs"
    assert "x-ratelimit-limit 600, x-ratelimit-window 60, x-ratelimit-policy" in check.seen
    assert "made-up-key" not in repr(found.checks)
    assert found.recommended["BYTEMARK_REQUESTS_PER_SECOND"] == 10
    assert found.recommended["BYTEMARK_WORKERS"] == 1


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, "holds"),
        ({"Cache-Control": "private, max-age=0", "ETag": "x"}, "holds"),
        ({"Cache-Control": "public, max-age=60"}, "differs"),
        ({"Age": "17"}, "differs"),
        ({"X-Cache": "Hit from edge"}, "differs"),
    ],
)
def test_a_shared_cache_is_told(headers: dict[str, str], verdict: str) -> None:
    assert with_headers(headers).checks["cache_headers"].verdict == verdict
