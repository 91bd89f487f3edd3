"""One request and its answer as it came, whatever went wrong."""

from __future__ import annotations

import http.client
from collections.abc import Callable

import requests
import urllib3.exceptions

from bytemark_sync.bytemark.errors import Answer, Interrupted, Kind
from bytemark_sync.bytemark.transport import Deadline, Stopped
from bytemark_sync.bytemark.transport_errors import describe

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Bytes of an answer, unpacked (docs/contract.md#what-each-answer-costs)."""

_PIECE = 64 * 1024

_FAILURES = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)
"""The exceptions of requests, urllib3, ssl and http.client that the server or the network can cause."""


def exchange(send: Callable[[], requests.Response], deadline: Deadline) -> Answer:
    """The answer to what `send` sends. It says what went wrong, and has the body of an error status too.

    Raises `Interrupted`.
    """
    response: requests.Response | None = None
    try:
        response = send()
        body, problem, detail = _read(response, deadline)
    except Stopped:
        _close(response)
        raise Interrupted from None
    except _FAILURES as error:
        _close(response)
        body = None
        problem, detail = describe(error, in_body=response is not None, deadline_passed=deadline.passed)
    if response is None:
        return Answer(problem=problem, detail=detail)
    sent = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, sent.get("retry-after"), body, problem, detail, sent)


def _read(response: requests.Response, deadline: Deadline) -> tuple[bytes | None, Kind | None, str]:
    """The unpacked body, or the reason why it is refused. Raises what the transport raises."""
    too_large = f"the answer is larger than {MAX_BODY_BYTES // (1024 * 1024)} MiB"
    raw = response.raw
    if (raw.length_remaining or 0) > MAX_BODY_BYTES:
        _close(response)
        return None, Kind.TOO_LARGE, too_large
    pieces: list[bytes] = []
    size = 0
    while piece := raw.read1(_PIECE, decode_content=True):
        deadline.check()
        size += len(piece)
        if size > MAX_BODY_BYTES:
            _close(response)
            return None, Kind.TOO_LARGE, too_large
        pieces.append(piece)
    return b"".join(pieces), None, ""


def _close(response: requests.Response | None) -> None:
    """Close the connection, so that the rest of a failed answer is not read as the next answer."""
    if response is not None:
        response.raw.close()
