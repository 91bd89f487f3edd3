"""The API client: one GET for one page. Every failure is a `BytemarkError`."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from dataclasses import replace

from bytemark_sync import __version__
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.bytemark.decoding import Page, decode_page
from bytemark_sync.bytemark.errors import (
    Answer,
    BytemarkError,
    GiveUp,
    Interrupted,
    Kind,
    PauseRule,
    RateLimited,
    TokenRejected,
    TryAgain,
    classify,
)
from bytemark_sync.bytemark.exchange import exchange
from bytemark_sync.bytemark.gate import Gate
from bytemark_sync.bytemark.longest_page import LongestPage
from bytemark_sync.bytemark.outage import Outage, Pass, Witness
from bytemark_sync.bytemark.retry import Backoff
from bytemark_sync.bytemark.stats import ApiStats
from bytemark_sync.bytemark.token import Token
from bytemark_sync.bytemark.transport import Transport

HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": f"bytemark-sync/{__version__}"}
"""Of every request, to both of Bytemark's APIs."""

_POLL_SECONDS = 0.2
"""How often a thread that waits for the end of an outage looks."""

UNANSWERED = {Kind.CONNECTION, Kind.TIMEOUT, Kind.DEADLINE, Kind.INTERRUPTED}
"""These tell nothing of the pace. Every other answer but 429 shows that the limit let the request through."""


class BytemarkClient:
    """Shared by all threads of a process. `stop` ends every wait; `stats` counts every request."""

    def __init__(
        self,
        settings: BytemarkSettings,
        *,
        stop: threading.Event | None = None,
        stats: ApiStats | None = None,
        outage: Outage | None = None,
        gate: Gate | None = None,
        rng: random.Random | None = None,
        ca_file: str | None = None,
    ) -> None:
        rng = rng or random.Random()
        self.settings = settings
        self.stop = stop or threading.Event()
        self.stats = stats or ApiStats()
        self.longest_page = LongestPage(settings.page_size)
        self.outage = outage or Outage(settings.outage_patience)
        self.backoff = Backoff(settings.backoff_base, settings.backoff_cap, rng)
        self.gate = gate or Gate(self.stop)
        self._transport = Transport(settings.orders_url, settings, self.stop, ca_file=ca_file)

    def get_page(self, token: Token, page: int, *, user: int = 0, attempt: int = 1) -> Page:
        """Make one GET for a page (from 1) and decode it. Raises only `BytemarkError`.

        Waits first while there is an outage, and then at the gate, for a permit of the shared pace. `Retry-After` on a
        429 or 503 pauses everybody.
        """
        headers = self._headers(token)
        one, generation = self.wait_for_turn()
        return self._send(one, generation, Witness(user, token), page, headers, attempt)

    def settle(self) -> None:
        """Wait while it is being found out whether there is an outage. Raises `Interrupted`."""
        while self.outage.is_asking:
            self._try_pass()

    def back_off(self, attempt: int) -> None:
        """Wait before the same page is requested again, but not longer once an outage holds everybody.

        `Event.wait` instead of `sleep`, so that a stop ends it at once. Raises `Interrupted`.
        """
        left = self.backoff.delay(attempt)
        while left > 0 and self.outage.is_open:
            if self.stop.wait(min(left, _POLL_SECONDS)):
                raise Interrupted
            left -= _POLL_SECONDS

    def wait_for_turn(self) -> tuple[Pass, int]:
        """A pass to send one request, which `outage.leave` ends, and the generation of its permit of the shared pace.

        Waits while there is an outage, and then at the gate. If an outage is thought of meanwhile, from the beginning.
        Raises `Interrupted`.
        """
        while True:
            own = self._try_pass()
            generation = self._permit(own) if own is not None else None
            if own is not None and generation is not None:
                return own, generation

    def is_held(self) -> bool:
        """In an outage a turn at waiting, or at asking the witness; whether it goes on. Raises `Interrupted`."""
        if self.outage.is_open or not self.outage.has_witness:
            return False
        self._try_pass()
        return not self.outage.is_open

    def _try_pass(self) -> Pass | None:
        """A pass to send one's own request. In an outage a turn at waiting, or at asking the witness, and None."""
        if self.stop.is_set():
            raise Interrupted
        one = self.outage.enter()
        if one is None:
            self.stop.wait(_POLL_SECONDS)
        elif one.witness is not None:
            self._ask(one, one.witness)
        return one if one is not None and one.witness is None else None

    def _ask(self, trial: Pass, witness: Witness) -> None:
        headers = self._headers(witness.token)
        generation = self._permit(trial)
        if generation is not None:
            with suppress(TryAgain, RateLimited, TokenRejected, GiveUp):
                self._send(trial, generation, witness, 1, headers, 1)

    def _permit(self, one: Pass) -> int | None:
        """Wait at the gate; a trial comes before all others. None: the pass is no longer good. Raises `Interrupted`."""
        generation = self.gate.enter(is_first=one.is_trial)
        if generation is None:
            self.outage.give_back(one)
            raise Interrupted
        return generation if self.outage.sending(one) else None

    def _send(
        self, one: Pass, generation: int, asked: Witness, page: int, headers: dict[str, str], attempt: int
    ) -> Page:
        params = {"page": page, "per_page": self.settings.page_size}
        kind = Kind.INTERRUPTED
        failed: TryAgain | None = None
        started = time.perf_counter()
        try:
            found = self._page(params, headers, asked.token)
            kind = Kind.OK
            return found
        except BytemarkError as error:
            kind = error.kind
            failed = error if isinstance(error, TryAgain) else None
            self.note_pause(error, generation)
            raise
        finally:
            self.stats.record(kind, time.perf_counter() - started)
            self.note_end(kind, generation)
            eras = self.outage.leave(one, kind, asked, is_last=self._is_last(attempt))
            if failed is not None:
                failed.eras = eras

    def _is_last(self, attempt: int) -> bool:
        """Whether it must be known now if this failure is the user's own.

        Where the witness has to wait for a permit, the outage may end before it is asked. Then an attempt must be left.
        """
        return attempt >= self.settings.max_attempts - (not self.gate.is_open)

    def note_pause(self, error: BytemarkError, generation: int) -> None:
        """Tell the gate what an answer says of the pace."""
        if isinstance(error, RateLimited):
            self.gate.refused(generation, error.pause)
        elif isinstance(error, TryAgain) and error.pause:
            self.gate.pause(error.pause)

    def note_end(self, kind: Kind, generation: int) -> None:
        """Tell the gate how a request has ended."""
        if kind in UNANSWERED:
            self.gate.unanswered(generation)
        elif kind is not Kind.RATE_LIMITED:
            self.gate.good(generation)

    def get_answer(self, token: Token, page: int, page_size: int) -> Answer:
        """Make one GET and give the answer as it came, for the probe: not judged, not counted in `stats`, no pause.

        Raises `TokenRejected` if the token cannot be sent, and `Interrupted`.
        """
        started = time.perf_counter()
        answer = self._answer({"page": page, "per_page": page_size}, self._headers(token))
        return replace(answer, seconds=time.perf_counter() - started)

    def _headers(self, token: Token) -> dict[str, str]:
        value = token.reveal().strip()
        # The errors of requests and http.client repeat the value, so it is checked before they see it.
        if not value or not value.isascii() or not value.isprintable():
            raise TokenRejected("the token holds characters that cannot be sent; it was not tried")
        return {"Authorization": f"Bearer {value}", **HEADERS}

    def _page(self, params: dict[str, int], headers: dict[str, str], token: Token) -> Page:
        answer = self._answer(params, headers)
        rule = PauseRule(self.settings.outage_patience, time.time())
        error = classify(answer, rule)
        if error is not None:
            raise error
        body = answer.body or b""
        self.stats.shapes.look(body, token)  # of what cannot be decoded too: a renamed member is a change of shape
        page = decode_page(body)
        self.longest_page.see(page)
        return page

    def _answer(self, params: dict[str, int], headers: dict[str, str]) -> Answer:
        deadline = self._transport.deadline()
        return exchange(lambda: self._transport.get(params, headers, deadline), deadline)
