"""`python -m tests.support.warm_interpreter DESCRIPTOR`: what every command loads first is loaded, then it forks.

Each message on the socket is one command of `manage.py`, with its three standard streams and a pipe. Into the pipe go
its pid and, at its end, its exit status, negative for a signal: a line each. The fork runs `manage.py` from its first
line, with the environment of the message, to the end of the interpreter. What is loaded before reads no setting.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from tests.support.children import die_with_parent

LOADED = (
    *("django.core.management.commands.migrate", "django.db.backends.sqlite3.base", "django.db.backends.mysql.base"),
    *("django.contrib.admin.views.main", "django.contrib.auth.hashers", "django.contrib.staticfiles.finders"),
    *("django.template.defaulttags", "django.template.loader_tags", "django.views.defaults", "django.views.generic"),
    *("croniter", "csp.constants", "environ", "multiprocessing.pool", "prometheus_client", "redis", "rich.progress"),
    *("slack_sdk.http_retry.builtin_handlers", "whitenoise.middleware"),
    *("bytemark_sync.fetch.pool", "bytemark_sync.probe.judge"),
)
MAX_MESSAGE = 1 << 20


def main() -> None:
    for name in LOADED:
        import_module(name)
    gc.freeze()  # a fork that collects garbage would copy every page
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        wanted = serve(requests)
    if wanted:
        runpy.run_path(sys.argv[0], run_name="__main__")


def serve(requests: socket.socket) -> bool:
    """Returns True in each process that is to run a command, and False at the end of all."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MAX_MESSAGE, 4)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            return False
        if not os.fork():
            begin(json.loads(message), descriptors[:3], told=descriptors[3])
            return True
        for descriptor in descriptors:
            os.close(descriptor)


def begin(wanted: dict[str, Any], streams: Sequence[int], told: int) -> None:
    """Fork once more: one process tells of the command and ends with it, the other returns and becomes it."""
    die_with_parent()
    pid = os.fork()
    if pid:
        for stream in streams:
            os.close(stream)
        os.write(told, f"{pid}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(told, f"{status}\n".encode())
        os._exit(0)
    die_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as a new interpreter has it
    os.close(told)
    if wanted["start_new_session"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in set(streams):
        os.close(stream)
    os.environ.clear()
    os.environ.update(wanted["env"])
    sys.argv = wanted["args"]


if __name__ == "__main__":
    main()
