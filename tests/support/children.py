"""Processes that the tests start. The kernel ends them with the test process: a killed run leaves nothing behind."""

from __future__ import annotations

import ctypes
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """For `preexec_fn`: SIGKILL for this process when the thread that started it ends.

    And Ctrl-C as on a terminal, also where the tests run as a shell's background job, which ignores SIGINT.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class _Spawner:
    """Starts children from one thread that lives as long as the process: PDEATHSIG follows the *thread* that forked."""

    def __init__(self) -> None:
        self._wanted: queue.Queue[tuple[Callable[[], subprocess.Popen[str]], queue.Queue[object]]] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self, args: Sequence[str | Path], **options: object) -> subprocess.Popen[str]:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="spawner", daemon=True)
                self._thread.start()
        answer: queue.Queue[object] = queue.Queue()
        command = [str(arg) for arg in args]
        self._wanted.put(
            (lambda: subprocess.Popen(command, text=True, preexec_fn=die_with_parent, **options), answer)  # type: ignore[call-overload]
        )
        result = answer.get()
        if isinstance(result, BaseException):
            raise result
        assert isinstance(result, subprocess.Popen)
        return result

    def _work(self) -> None:
        while True:
            start, answer = self._wanted.get()
            try:
                answer.put(start())
            except BaseException as error:
                answer.put(error)


_SPAWNER = _Spawner()
spawn = _SPAWNER.start
"""`subprocess.Popen` in text mode whose child dies with this process."""
