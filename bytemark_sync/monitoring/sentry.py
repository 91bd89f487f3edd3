"""Errors to Sentry, without what must be in no log (docs/contract.md#secrets). Imported only where `SENTRY_DSN` is set.

An event is made anew from the few members that are known to hold no value of a row: what a later version of the SDK
adds is not sent.
"""

from __future__ import annotations

import logging
from typing import Any

import sentry_sdk
from django.conf import settings
from django.core.management import CommandError
from sentry_sdk.integrations.atexit import AtexitIntegration

from bytemark_sync import __version__
from bytemark_sync.log_fields import FIELDS, current
from bytemark_sync.monitoring.scrubbing import without_emails, without_values
from bytemark_sync.storage.database_retry import explain

SECONDS_AT_THE_END = 2.0
OURS = "bytemark_sync"

_EVENT = (
    *("event_id", "timestamp", "level", "logger", "platform", "release", "environment", "server_name", "sdk"),
    *("transaction", "transaction_info"),
)
_FRAME = (
    *("filename", "abs_path", "module", "function", "lineno", "in_app"),
    *("pre_context", "context_line", "post_context"),
)
_CONTEXTS = ("runtime", "trace")
_HTTP = ("method", "status_code", "reason")


def start() -> None:
    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        environment=settings.PROJECT_STAGE,
        release=f"bytemark-sync@{__version__}",
        send_default_pii=False,
        send_client_reports=False,
        include_local_variables=False,
        max_request_body_size="never",
        auto_session_tracking=False,
        trace_propagation_targets=[],  # Bytemark gets no header of Sentry's
        before_send=event_without_secrets,
        before_breadcrumb=crumb_without_secrets,
        integrations=[AtexitIntegration(callback=lambda pending, timeout: None)],  # it would write to standard error
    )


def send_the_rest() -> None:
    sentry_sdk.flush(SECONDS_AT_THE_END)


def event_without_secrets(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any] | None:
    """Class and place of errors, the words of our own log, and what it is about."""
    record: logging.LogRecord | None = hint.get("log_record")
    if record is not None and record.name.startswith("opentelemetry"):
        return None  # a collector that is away is no error of the job
    fields = {**current(), **(record.__dict__ if record else {})}
    sent = {name: event[name] for name in _EVENT if name in event}
    sent["tags"] = {name: str(fields[name]) for name in FIELDS if name in fields}
    sent["contexts"] = {name: event["contexts"][name] for name in _CONTEXTS if name in event.get("contexts", {})}
    if record is not None:
        sent["logentry"] = _words(record)
    if "exception" in event:
        sent["exception"] = {"values": _exceptions(event["exception"]["values"], hint)}
    if "request" in event:
        sent["request"] = {
            "method": event["request"].get("method"),
            "url": _address(event["request"].get("url")),
        }
    crumbs = event.get("breadcrumbs")
    if isinstance(crumbs, dict):
        sent["breadcrumbs"] = crumbs  # each came through `crumb_without_secrets`
    return sent


def crumb_without_secrets(crumb: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any] | None:
    """Lines of our own log, and HTTP requests without query. Statements and all else are left out."""
    record: logging.LogRecord | None = hint.get("log_record")
    kept = {name: crumb[name] for name in ("type", "category", "level", "timestamp") if name in crumb}
    if record is not None and record.name.startswith(OURS):
        return kept | {"message": without_emails(record.getMessage())}
    if crumb.get("category") == "httplib":
        data = crumb.get("data") or {}
        answer = {name: data[name] for name in _HTTP if name in data}
        return kept | {"data": answer | {"url": _address(data.get("url"))}}
    return None


def _words(record: logging.LogRecord) -> dict[str, str]:
    """Our own lines hold no secret. Those of libraries may: of them the beginning is sent, up to the first value."""
    if record.name.startswith(OURS):
        return {"message": str(record.msg), "formatted": without_emails(record.getMessage())}
    first = record.getMessage().partition("\n")[0]
    return {"message": without_emails(without_values(first))}


def _exceptions(values: list[dict[str, Any]], hint: dict[str, Any]) -> list[dict[str, Any]]:
    """Their classes and places. Texts may hold a row's values: the last one has the product's own words instead.

    A command's own words are for people, and hold none.
    """
    sent = []
    for value in values:
        frames = (value.get("stacktrace") or {}).get("frames") or []
        stack = [{name: frame[name] for name in _FRAME if name in frame} for frame in frames]
        sent.append({"type": value.get("type"), "module": value.get("module"), "stacktrace": {"frames": stack}})
    error = (hint.get("exc_info") or (None, None))[1]
    if sent and error is not None:
        sent[-1]["value"] = without_emails(str(error) if isinstance(error, CommandError) else explain(error))
    return sent


def _address(url: object) -> str:
    return str(url or "").partition("?")[0].partition("#")[0]
