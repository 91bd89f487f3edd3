"""What the commands share: reading arguments, checking settings before any request, stopping a run on a signal."""

from __future__ import annotations

import getpass
import logging
import signal
import sys
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, NoReturn

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper, SystemCheckError

from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.checks.foreign_tables import look_early
from bytemark_sync.log_fields import log_fields
from bytemark_sync.monitoring import telemetry
from bytemark_sync.runs.client_settings import bytemark_settings
from bytemark_sync.storage.strict_mode import refuse_cut_values

logger = logging.getLogger(__name__)

LOG_LEVELS = {0: logging.ERROR, 1: logging.INFO, 2: logging.INFO, 3: logging.DEBUG}


class LogLines(OutputWrapper):
    """Standard error while logs are JSON lines. What a command writes there is one JSON object a line too."""

    def write(  # type: ignore[override]  # as in Django's own
        self, msg: str = "", style_func: Callable[[str], str] | None = None, ending: str | None = None
    ) -> None:
        level = logging.ERROR if style_func is None else logging.INFO if style_func is str else logging.WARNING
        for line in msg.splitlines():
            if line.strip():
                logger.log(level, line)


class JobCommand(BaseCommand):
    """A command that asks Bytemark."""

    _called_from_command_line: bool  # Django's

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if settings.LOG_FORMAT == "json":
            self.stderr = LogLines(sys.stderr)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """An unusable argument is status 2, through `call_command` too, where Django's own parser gives 1."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)

        def refuse(message: str) -> NoReturn:
            raise CommandError(f"Error: {message}", returncode=2)

        if not parser.called_from_command_line:
            parser.error = refuse  # type: ignore[method-assign]
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        # The last words of a process, which Django writes after this, are about its run too.
        about = nullcontext() if self._called_from_command_line else log_fields()
        name = type(self).__module__.rpartition(".")[2]
        with about, _log_level(LOG_LEVELS[options["verbosity"]]), telemetry.span(name):
            self.work(options)

    def work(self, options: dict[str, Any]) -> None:
        """What the command does. Meanwhile the product's log has the level of the verbosity."""
        raise NotImplementedError

    def check(self, *args: Any, **options: Any) -> None:
        """Unusable settings end the command with status 2, before any request."""
        checked_settings()
        with _unusable():
            look_early()
        try:
            super().check(*args, **options)
        except SystemCheckError as error:
            error.returncode = 2
            raise


def at_least_one(text: str) -> int:
    return _between(text, 1, 2**31)


def workers(text: str) -> int:
    return _between(text, 1, 512)


def _between(text: str, lowest: int, highest: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a whole number") from None
    if not lowest <= value <= highest:
        raise ArgumentTypeError(f"{value} is out of range; use {lowest} to {highest}")
    return value


def order_uuid(text: str) -> str:
    if not text.strip():
        raise ArgumentTypeError("an order's uuid must not be empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ArgumentTypeError("an order's uuid must be readable text (UTF-8)") from None
    return text.strip()


RUN_READERS: Mapping[str, Callable[[str], Any]] = {"user": int, "order": order_uuid, "workers": workers}


def add_run_options(parser: ArgumentParser) -> None:
    """The options that every run has, of whichever kind. `RUN_READERS` reads their values."""
    add = parser.add_argument
    add("--user", type=int, action="append", default=[], metavar="ID", help="only this user; repeatable")
    add("--order", type=order_uuid, action="append", default=[], metavar="UUID", help="only this order; repeatable")
    add("--workers", type=workers, metavar="N", help="users fetched side by side (BYTEMARK_WORKERS)")
    add("--enqueue", action="store_true", help="hand the work to the django-q2 cluster")
    add("--json", action="store_true", help="the last line on standard output is one JSON object")


def read_options(options: dict[str, Any], readers: Mapping[str, Callable[[str], Any]]) -> None:
    """`call_command` bypasses the parser, so a value may be single instead of a list, or out of range."""
    for name, read in readers.items():
        value = options[name]
        try:
            if name in ("user", "order"):
                several = value if isinstance(value, list | tuple | set) else [] if value is None else [value]
                options[name] = [read(str(each)) for each in several]
            elif value is not None:
                options[name] = read(str(value))
        except (ArgumentTypeError, ValueError) as error:
            raise CommandError(f"--{name}: {error}", returncode=2) from None


@contextmanager
def _log_level(level: int) -> Iterator[None]:
    """The level holds within the block alone: a program that uses `call_command` has chosen its own."""
    log = logging.getLogger("bytemark_sync")
    before = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def _unusable() -> Iterator[None]:
    """An error inside the block ends the command with status 2."""
    try:
        yield
    except ImproperlyConfigured as error:
        raise CommandError(str(error), returncode=2) from None


def checked_settings() -> BytemarkSettings:
    """Raises `CommandError` with status 2 if they cannot be used."""
    with _unusable():
        return bytemark_settings()


def checked_database() -> None:
    """Raises `CommandError` with status 2 if the database is another program's or would cut values, and `DatabaseGone`.

    `call_command` runs no system checks before.
    """
    with _unusable():
        look_early()
        refuse_cut_values()


def who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


@contextmanager
def stopping_on_signals(stop: threading.Event) -> Iterator[list[int]]:
    """SIGINT and SIGTERM ask the run to stop. A second signal ends the process at once. Yields the caught signals."""
    caught: list[int] = []

    def ask(signum: int, frame: FrameType | None) -> None:
        caught.append(signum)
        stop.set()
        signal.signal(signum, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
