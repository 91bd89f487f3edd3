"""Commands of `manage.py` from an interpreter that is warm (`warm_interpreter.py`): each costs half of its start-up.

With `COLD` in the environment of the tests each is a new interpreter, as it is for people.
"""

from __future__ import annotations

import inspect
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from tests.support.children import spawn
from tests.support.servers import ROOT, clean_environment

SERVING = ("qcluster", "runserver", "bytemark_sandbox")
"""Commands that serve for long, and start processes themselves."""
OF_THE_INTERPRETER = ("PYTHON", "LANG", "LC_", "TZ")
"""How the variables begin that an interpreter reads when it starts."""


class WarmInterpreter:
    """Starts when it is first wanted; ends with its block, or with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None
        self._process: subprocess.Popen[str] | None = None

    def ask(self, message: Mapping[str, object], descriptors: list[int]) -> None:
        with self._lock:
            if self._requests is None:
                self._requests = self._start()
            socket.send_fds(self._requests, [json.dumps(message).encode()], descriptors)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-m", "tests.support.warm_interpreter", str(number)]
            options: dict[str, Any] = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "start_new_session": True}
            self._process = spawn(command, env=clean_environment(), pass_fds=[number], **options)
        return ours

    def stop(self) -> None:
        if self._requests is not None and self._process is not None:
            self._requests.close()
            self._process.wait(30)


_interpreter: WarmInterpreter | None = None


@contextmanager
def warm_interpreter() -> Iterator[None]:
    """Within the block commands may start warm; elsewhere each is a new interpreter."""
    global _interpreter
    _interpreter = WarmInterpreter()
    try:
        yield
    finally:
        stopped, _interpreter = _interpreter, None
        stopped.stop()


def may_be_warm(command: str, environment: Mapping[str, str]) -> bool:
    """Whether there is a warm interpreter whose fork is what a new one would be."""
    return (
        _interpreter is not None
        and not os.environ.get("COLD")
        and command not in SERVING
        and _of_the_interpreter(environment) == _of_the_interpreter(clean_environment())
    )


def _of_the_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(OF_THE_INTERPRETER)}


class WarmCommand(subprocess.Popen[str]):
    """`manage.py` with its path, and what follows it. `Popen` but for who starts it and waits for its end."""

    def _execute_child(self, *details: Any) -> None:
        """`Popen`'s own, which `__init__` calls once the pipes are made."""
        given = inspect.signature(super()._execute_child).bind(*details).arguments  # type: ignore[misc]
        assert _interpreter is not None
        reading, told = os.pipe()
        self._told = os.fdopen(reading, "rb", buffering=0)
        self._reading = threading.Lock()
        try:
            message = {"args": given["args"], "env": given["env"], "start_new_session": given["start_new_session"]}
            _interpreter.ask(message, [given["p2cread"], given["c2pwrite"], given["errwrite"], told])
        finally:
            os.close(told)
            ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            self._close_pipe_fds(*(given[end] for end in ends))  # type: ignore[attr-defined]
        self._child_created = True
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        waiting = select.poll()
        waiting.register(self._told, select.POLLIN)
        if self.returncode is None and not waiting.poll(None if timeout is None else timeout * 1000):
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        with self._reading:
            if self.returncode is None:
                self.returncode = int(self._told.readline())
        return self.returncode
