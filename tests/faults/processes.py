"""Forks of the warm lane process that run the product's own doors, each with its own settings and output file."""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections

from tests.support.children import die_with_parent
from tests.support.servers import ROOT

POLL = 0.005


class HangsError(AssertionError):
    """Something did not end in the time that it may take."""


@dataclass
class Child:
    """A forked process; `code` is its exit status as a shell's, negative for a signal, None while it lives."""

    pid: int
    output: Path
    began: float = field(default_factory=time.monotonic)
    code: int | None = None

    def poll(self) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds: float, what: str) -> int:
        end = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill_group()
                raise HangsError(f"{what} did not end within {seconds:g} s")
            time.sleep(POLL)
        assert self.code is not None
        return self.code

    def signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill_group(self) -> None:
        """The process with all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        while self.poll() is None:
            time.sleep(POLL)

    def text(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""


def fork(work: Callable[[], object], output: Path, overrides: Mapping[str, Any] | None = None) -> Child:
    """Run `work` in a fork, in a process group of its own; its output and traceback go to `output`.

    `overrides` are settings: the same that the process would read from its environment, were it started anew.
    """
    connections.close_all()  # a fork must not share a connection
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        with suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        return Child(pid, output)
    code = 1
    try:
        os.setpgid(0, 0)
        die_with_parent()
        os.register_at_fork(after_in_child=die_with_parent)
        if os.getppid() != parent:
            os._exit(1)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        for name, value in (overrides or {}).items():
            setattr(settings, name, value)
        code = _exit_code(work)
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _exit_code(work: Callable[[], object]) -> int:
    try:
        work()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        sys.stderr.write(f"{error.code}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # before manage.py had begun
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    return 0


def manage(*args: str) -> Callable[[], None]:
    """`manage.py ARGS`, for `fork`."""

    def work() -> None:
        sys.argv = ["manage.py", *args]
        runpy.run_path(str(ROOT / "manage.py"), run_name="__main__")

    return work


def cluster() -> None:
    """`manage.py qcluster`, for `fork`. It ends by waiting for its guard as the interpreter does at its exit."""
    manage("qcluster")()
    atexit._run_exitfuncs()


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, nearest first."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            text = stat.read_text()
            parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        below = sorted(parents.get(queue.pop(0), []))
        found += below
        queue += below
    return found
