"""The TLS handshake with Bytemark's host: version, and when the certificate ends. Sends no request."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

import certifi

from bytemark_sync.bytemark.transport_errors import describe
from bytemark_sync.probe.evidence import Tls


def look_at_tls(url: str, *, timeout: float, ca_file: str | None = None) -> Tls | None:
    """`None` for plain http. `timeout` in seconds; `ca_file` replaces certifi's bundle, as in the client."""
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.hostname is None:
        return None
    context = ssl.create_default_context(cafile=ca_file or certifi.where())
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 443), timeout) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as connection,
        ):
            return Tls(connection.version() or "", _end(connection.getpeercert()))
    except OSError as error:
        return Tls(problem=describe(error, in_body=False, deadline_passed=False)[1])


def _end(certificate: object) -> datetime | None:
    ends = certificate.get("notAfter") if isinstance(certificate, dict) else None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC) if isinstance(ends, str) else None
