"""Spans to OpenTelemetry, without values. Imported only where an exporter is set (`OTEL_*`).

Web requests and requests to Bytemark are OpenTelemetry's own instrumentations. Tasks, commands and statements are
spans of ours. What leaves the process is made anew from attributes that are known to hold no value.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.trace.status import Status

from bytemark_sync import __version__
from bytemark_sync.log_fields import FIELDS, current
from bytemark_sync.monitoring.scrubbing import statement_without_values

_PREFIX = "bytemark_sync."
_ALLOWED = {
    *("http.method", "http.request.method", "http.status_code", "http.response.status_code", "http.route"),
    *("http.scheme", "url.scheme", "http.flavor", "network.protocol.version", "error.type"),
    *("server.address", "server.port", "net.peer.name", "net.peer.port", "db.system.name", "db.query.text"),
    *(_PREFIX + name for name in FIELDS),
}
_tracer = trace.get_tracer("bytemark_sync", __version__)


_exporters: list[_WithoutValues] = []


def start() -> None:
    exporter = _WithoutValues(_exporter())
    _exporters.append(exporter)
    provider = TracerProvider(resource=_resource())  # it sends the rest by atexit
    atexit.register(_end)  # before that
    provider.add_span_processor(_Fields())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    propagate.set_global_textmap(_Incoming(propagate.get_global_textmap()))
    # After the probes, which are asked all the time.
    DjangoInstrumentor().instrument(middleware_position=1)
    RequestsInstrumentor().instrument()
    connection_created.connect(_watch_statements)


def send_the_rest() -> None:
    _end()
    trace.get_tracer_provider().force_flush()


def _end() -> None:
    for exporter in _exporters:
        exporter.is_last = True


@contextmanager
def span(name: str) -> Iterator[None]:
    with _tracer.start_as_current_span(name):
        yield


def _resource() -> Resource:
    found = Resource.create()
    if str(found.attributes.get("service.name", "")).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": settings.OTEL_SERVICE_NAME}))
    return found.merge(Resource({"service.version": __version__}))


def _exporter() -> SpanExporter:
    if settings.OTEL_TRACES_EXPORTER == "console":
        return ConsoleSpanExporter(out=sys.stderr)  # standard output is the command's
    return OTLPSpanExporter(timeout=settings.OTEL_EXPORTER_OTLP_TIMEOUT)


class _Incoming(TextMapPropagator):  # type: ignore[misc]
    """Takes up the trace of whoever calls us. Bytemark gets no header that says anything of ours."""

    def __init__(self, usual: TextMapPropagator) -> None:
        self._usual = usual

    def extract(self, *args: Any, **kwargs: Any) -> Context:
        return self._usual.extract(*args, **kwargs)

    def inject(self, *args: Any, **kwargs: Any) -> None:
        pass

    @property
    def fields(self) -> set[str]:
        return set(self._usual.fields)


class _Fields(SpanProcessor):  # type: ignore[misc]
    """Says which run, batch and user a span is about, as lines of the log do."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        for name, value in current().items():
            span.set_attribute(_PREFIX + name, value)


class _WithoutValues(SpanExporter):  # type: ignore[misc]
    """Hands on spans with the attributes that are allowed, and of errors only the class."""

    def __init__(self, target: SpanExporter) -> None:
        self._target = target
        self._failed = False
        self.is_last = False
        """Whether the process ends: what cannot be sent then is not tried again and again."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._failed and self.is_last:
            return SpanExportResult.FAILURE
        result = self._target.export([_without_values(span) for span in spans])
        self._failed = result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        self._target.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._target.force_flush(timeout_millis))


def _without_values(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_harmless(span.attributes or {}),
        events=[
            Event(event.name, {"exception.type": event.attributes["exception.type"]}, event.timestamp)
            for event in span.events
            if event.attributes and "exception.type" in event.attributes
        ],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _harmless(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are allowed, and of an address the host alone."""
    found = {name: value for name, value in attributes.items() if name in _ALLOWED}
    for name in ("http.url", "url.full"):
        if host := _host(attributes.get(name)):
            found["server.address"] = host
    return found


def _host(url: object) -> str | None:
    try:
        return urlsplit(str(url)).hostname
    except ValueError:
        return None


def _watch_statements(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    if _statement not in connection.execute_wrappers:
        connection.execute_wrappers.append(_statement)


def _statement(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """A span for each statement within another span: none for those that only ask whether there is work."""
    if not trace.get_current_span().is_recording():
        return execute(sql, params, many, context)
    text = statement_without_values(str(sql))
    attributes = {"db.system.name": context["connection"].vendor, "db.query.text": text}
    verb = text.split(None, 1)[0].upper() if text.strip() else "SQL"
    with _tracer.start_as_current_span(verb, kind=trace.SpanKind.CLIENT, attributes=attributes):
        return execute(sql, params, many, context)
