"""Sentry and OpenTelemetry, where they are set and installed (docs/operations.md#sentry-and-opentelemetry).

What is not set is not imported. Neither ever stops the job: what goes wrong here is a line in the log.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from importlib.util import find_spec
from multiprocessing.util import Finalize
from typing import Any, ParamSpec, TypeVar

from django.conf import settings

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

REQUIREMENTS = "requirements-observability.txt"
_INSTRUMENTATIONS = ("opentelemetry.instrumentation.django", "opentelemetry.instrumentation.requests")
_PACKAGES = {
    "sentry": ("sentry_sdk.integrations",),
    "traces": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http", *_INSTRUMENTATIONS),
}
"""What each module of this room needs."""

_lock = threading.Lock()
_started: dict[str, Any] = {}
"""The modules that were started in this process; None where it could not be done."""


def start() -> None:
    """Start Sentry, once a process, as soon as Django is set up. Children that are forked later go on with it."""
    if settings.SENTRY_DSN:
        _start("sentry", "SENTRY_DSN")


def start_traces() -> None:
    """Start OpenTelemetry. The web server does before it reads `MIDDLEWARE`, every other process at its first span.

    So a cluster's first process, whose children are forked, never has threads of OpenTelemetry.
    """
    if setting := _asks_for_traces():
        _start("traces", setting)


def span(name: str) -> AbstractContextManager[Any]:
    """A span around the block, where traces are on."""
    start_traces()
    traces = _started.get("traces")
    return nullcontext() if traces is None else traces.span(name)


def traced(work: Callable[P, R]) -> Callable[P, R]:
    """`work` with a span of its name around each call."""

    @wraps(work)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with span(work.__name__):
            return work(*args, **kwargs)

    return inner


def in_worker(**_signal: Any) -> None:
    """django-q2's `post_spawn`: a worker ends without Python's atexit. What is left is sent all the same."""
    Finalize(None, _send_the_rest, exitpriority=1)


def missing() -> list[str]:
    """The settings that are set, and whose packages are not installed."""
    wanted = {"sentry": "SENTRY_DSN" if settings.SENTRY_DSN else "", "traces": _asks_for_traces()}
    return [setting for name, setting in wanted.items() if setting and not _is_installed(name)]


def _asks_for_traces() -> str:
    """The setting that switches traces on; empty where none does, or OpenTelemetry is switched off."""
    if settings.OTEL_SDK_DISABLED or settings.OTEL_TRACES_EXPORTER == "none":
        return ""
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER")
    return next((name for name in names if getattr(settings, name)), "")


def _start(name: str, setting: str) -> None:
    with _lock:
        if name in _started:
            return
        _started[name] = None
        if not _is_installed(name):
            logger.warning("%s is set, but its packages are not installed: pip install -r %s", setting, REQUIREMENTS)
            return
        try:
            module = importlib.import_module(f"{__package__}.{name}")
            module.start()
        except Exception as error:  # noqa: BLE001 - whatever it is, the job goes on without it
            logger.warning("%s: nothing is sent there, for it could not be started (%s)", setting, type(error).__name__)
        else:
            _started[name] = module


def _is_installed(name: str) -> bool:
    try:
        return all(find_spec(package) is not None for package in _PACKAGES[name])
    except ImportError:  # of a package around it
        return False


def _send_the_rest() -> None:
    for module in _started.values():
        if module is not None:
            module.send_the_rest()
