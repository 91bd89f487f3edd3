"""Words for a request that failed before its answer was complete. They never contain the exception's text."""

from __future__ import annotations

import socket
import ssl

import requests
import urllib3.exceptions

from bytemark_sync.bytemark.errors import Kind

_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (urllib3.exceptions.NameResolutionError, "the host's name cannot be resolved"),
    (socket.gaierror, "the host's name cannot be resolved"),
    (ssl.SSLCertVerificationError, "the server's certificate is not trusted"),
    (ssl.SSLError, "TLS failed"),
    (ConnectionRefusedError, "the connection was refused"),
    (ConnectionResetError, "the connection was reset"),
    (urllib3.exceptions.DecodeError, "it cannot be unpacked"),
)

_TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)


def describe(error: BaseException, *, in_body: bool, deadline_passed: bool) -> tuple[Kind, str]:
    """The kind of a failure and words for it. `in_body`: the headers had already arrived."""
    chain = _chain(error)
    where = "the answer was cut" if in_body else "no answer"
    if deadline_passed:
        return Kind.DEADLINE, "the answer was not complete within the deadline"
    # In urllib3 a refused connection is a subclass of the connect timeout. It counts as a connection error here.
    refused = any(isinstance(one, urllib3.exceptions.NewConnectionError) for one in chain)
    if not refused and any(isinstance(one, _TIMEOUTS) for one in chain):
        return Kind.TIMEOUT, "the server did not answer in time" if not in_body else "the answer stopped coming"
    words = next((words for kind, words in _CAUSES for one in chain if isinstance(one, kind)), "the connection broke")
    return (Kind.CUT if in_body else Kind.CONNECTION), f"{where}: {words}"


def _chain(error: BaseException) -> list[BaseException]:
    """The error and every error wrapped in it: as cause, context, `reason` or argument."""
    found: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(found) < 20:
        one = queue.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            queue += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found
