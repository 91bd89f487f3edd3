"""A Sentry and an OpenTelemetry collector of the tests: one server over real sockets that keeps what it is sent."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from tests.support.misbehaving_server import Request, Server, send, serve

REQUIREMENTS = "requirements-observability.txt"


@dataclass(frozen=True)
class SentSpan:
    name: str
    service: str
    attributes: dict[str, Any]


class Observers:
    """`env` makes the product send here."""

    def __init__(self) -> None:
        self.server: Server

    @classmethod
    @contextmanager
    def serving(cls) -> Iterator[Self]:
        observers = cls()
        with serve(observers._take) as server:
            observers.server = server
            yield observers

    @property
    def env(self) -> dict[str, str]:
        url = self.server.url
        return {
            "SENTRY_DSN": url.replace("://", "://0123456789abcdef@") + "/7",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_BSP_SCHEDULE_DELAY": "500",
        }

    def events(self) -> list[dict[str, Any]]:
        """Sentry's, in the order in which they came."""
        return [event for request in self._to("/api/7/envelope/") for event in _events(_body(request))]

    def spans(self) -> list[SentSpan]:
        return [span for request in self._to("/v1/traces") for span in _spans(_body(request))]

    def text(self) -> str:
        """All that was sent, headers and unknown parts included."""
        parts = [f"{each.path} {each.query} {each.headers} {_body(each).decode('latin-1')}" for each in self._all()]
        return "\n".join(parts)

    def _all(self) -> list[Request]:
        return list(self.server.requests)

    def _to(self, path: str) -> list[Request]:
        return [request for request in self._all() if request.path == path]

    def _take(self, _request: Request, sock: socket.socket) -> None:
        send(sock, 200, b"{}" if _request.path.startswith("/api/") else b"")


def _body(request: Request) -> bytes:
    return gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body


def _events(envelope: bytes) -> Iterator[dict[str, Any]]:
    """Those among an envelope's items: a line of JSON with type and length, and so many bytes."""
    rest = envelope.partition(b"\n")[2]
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        head = json.loads(line)
        item, rest = rest[: head["length"]], rest[head["length"] :].removeprefix(b"\n")
        if head["type"] == "event":
            yield json.loads(item)


def _spans(body: bytes) -> Iterator[SentSpan]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for part in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _attributes(part.resource.attributes)["service.name"]
        for scope in part.scope_spans:
            for span in scope.spans:
                yield SentSpan(span.name, service, _attributes(span.attributes))


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
