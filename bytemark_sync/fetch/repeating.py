"""One request, made again after each failure while the user has attempts left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from typing import TypeVar

from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.errors import Eras, RateLimited, TryAgain
from bytemark_sync.bytemark.retry import Attempts

logger = logging.getLogger(__name__)

T = TypeVar("T")


def repeated(client: BytemarkClient, attempts: Attempts, send: Callable[[], T]) -> Generator[int, None, T]:
    """What `send` returns in the end. It yields where another user may have a turn first.

    A refusal for the rate (429) costs no attempt, unless this user alone gets nothing else for `outage_patience`.
    """
    refused_since: float | None = None
    while True:
        while client.is_held():
            yield 1  # where no thread could be started, it is the engine that waits here
        try:
            return send()
        except RateLimited:
            now = time.monotonic()
            refused_since = refused_since or now
            if now - refused_since > client.settings.outage_patience and client.gate.last_good_at > refused_since:
                raise
        except TryAgain as error:
            _log(attempts, error)
            if not attempts.spend(error.eras) and not (yield from _is_forgiven(client, attempts, error.eras)):
                raise
            client.back_off(attempts.used)
        if not client.outage.is_open:
            yield 1  # so that the next trial is another user's
        client.stats.retry()


def _is_forgiven(client: BytemarkClient, attempts: Attempts, eras: Eras) -> Generator[int, None, bool]:
    """Whether the failures that used up the attempts belong to an outage. Waits until that is known."""
    client.settle()
    if not attempts.are_left and client.outage.is_unclear(eras):
        yield 1  # others have their turn first: if they are answered, the failures are this user's own
        client.settle()
    return attempts.are_left


def _log(attempts: Attempts, error: TryAgain) -> None:
    attempt = attempts.used + 1
    fields = {"user": attempts.user, "attempt": attempt, "reason": error.kind.value}
    logger.debug(
        "user %s: attempt %d of %d failed: %s", attempts.user, attempt, attempts.maximum, error.detail, extra=fields
    )
