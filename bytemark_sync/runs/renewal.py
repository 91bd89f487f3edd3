"""Answers the fetches that need a token, and keeps what logins bring (docs/contract.md#renewal).

Called by the engine's thread alone. Refusals that may be our own fault, such as a wrong client id, must not lock
riders' accounts. So logins go one at a time until one has given a token, and after a few such refusals in a row the run
logs nobody in any more.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.utils import timezone

from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.counters import Totals
from bytemark_sync.domain.logins import LoginEnd, LoginState
from bytemark_sync.domain.matching import UserResult
from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.fetch.questions import Answer, LoggedIn, LogIn, NeedsToken, NoLogin, Question, StopNow, TryTokens
from bytemark_sync.models import SyncRun
from bytemark_sync.storage.database_retry import retrying
from bytemark_sync.storage.logins import KEEP_SECONDS, Busy, Claim, Denied, Logins
from bytemark_sync.storage.token_rows import why_no_renewal

logger = logging.getLogger(__name__)

MAX_REFUSED_IN_A_ROW = 5
"""Of different riders, and not clearly for something of the rider's own."""
BUSY_SECONDS = 1.0
"""So often it is looked whether another process has logged the user in."""
DRY = "a dry run logs nobody in"


def logins_of(run: SyncRun | None, scope: Scope | AuditScope) -> Logins:
    """The logins of a run, or of a dry run."""
    tries_deferred = scope.tries_deferred
    return Logins(run.pk, run.created_at, tries_deferred) if run else Logins(0, timezone.now(), tries_deferred)


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """The portal has changed the row meanwhile. `ours` is written over `theirs` if that is rejected and ours works."""

    theirs: Token
    ours: Token


class Renewal:
    """The logins of one process in one run."""

    def __init__(
        self, logins: Logins, answer: Callable[[int, Answer], None], totals: Totals, *, dry_run: bool = False
    ) -> None:
        self._logins = logins
        self._answer = answer
        self._totals = totals
        self._dry_run = dry_run
        self._waiting: deque[tuple[float, NeedsToken]] = deque()
        self._claims: dict[int, Claim] = {}
        self._under_way: set[int] = set()
        self._unwritten: dict[int, _Unwritten] = {}
        self._one_at_a_time = True
        self._stopped: str | None = None
        self._is_over = False
        self._kept_at = time.monotonic()

    # --- What the engine calls --------------------------------------------------------------------------------------

    def ask(self, question: Question) -> None:
        """Answer a fetch, now or in a later `tick`. Raises `DatabaseGone`."""
        if isinstance(question, LoggedIn):
            self._logged_in(question)
        elif self._is_over:
            self._answer(question.user_id, StopNow())
        else:
            self._waiting.append((0.0, question))
            self.tick()

    def tick(self) -> None:
        """Answer those who wait, where it can be done now, and keep the claims."""
        now = time.monotonic()
        for _ in range(len(self._waiting)):
            at, question = self._waiting.popleft()
            answer = self._found(question) if now >= at else None
            if answer is not None:
                self._answer(question.user_id, answer)
            else:
                self._waiting.append((at if now < at else now + BUSY_SECONDS, question))
            if self._one_at_a_time and self._under_way:
                break  # the others wait for what comes of this login
        if self._under_way and now - self._kept_at >= KEEP_SECONDS:
            self._kept_at = now
            retrying(lambda: self._logins.keep(tuple(self._under_way)))

    def stop(self) -> None:
        """The run was asked to stop: whoever waits is to stop too."""
        self._is_over = True
        while self._waiting:
            _, question = self._waiting.popleft()
            self._answer(question.user_id, StopNow())

    def done(self, result: UserResult) -> None:
        """The user's fetch has ended. Raises `DatabaseGone`."""
        user_id = result.user_id
        self._under_way.discard(user_id)
        claim, unwritten = self._claims.pop(user_id, None), self._unwritten.pop(user_id, None)
        if claim is None:
            return
        if unwritten and result.worked == unwritten.ours:
            self._logins.put_right(claim, unwritten.theirs, unwritten.ours)
        if result.login is not None:
            self._ended(claim, result.login)
        self._wake()

    # --- Answers ----------------------------------------------------------------------------------------------------

    def _found(self, question: NeedsToken) -> Answer | None:
        """The answer; None where it is too early for one."""
        if self._dry_run:
            return self._looked(question)
        if stopped := self._why_stopped():
            fresh = self._logins.look(question.user_id, question.tried)
            return TryTokens((fresh,)) if isinstance(fresh, Token) else NoLogin(stopped)
        if self._one_at_a_time and self._under_way:
            return None
        match self._logins.claim(question.user_id, question.tried):
            case Token() as fresh:
                return TryTokens((fresh,))
            case Claim() as claim:
                self._claims[claim.user_id] = claim
                self._under_way.add(claim.user_id)
                return LogIn(claim.credentials)
            case Denied(words):
                return NoLogin(words)
            case Busy():
                return None

    def _looked(self, question: NeedsToken) -> Answer:
        found = self._logins.look(question.user_id, question.tried)
        if isinstance(found, Token):
            return TryTokens((found,))
        if isinstance(found, Denied):
            return NoLogin(found.words)
        self._totals.counts.tokens_renewed += 1
        return NoLogin(DRY)

    def _why_stopped(self) -> str:
        """Asked at the first need: whether another process of the run has stopped logins, or they cannot be kept."""
        if self._stopped is None:
            self._stopped = retrying(self._logins.stopped)
            if not self._stopped and (words := why_no_renewal()):
                self._stop_logins(f"No token is renewed, for it could not be kept: {words}")
        return self._stopped

    # --- What logins bring ------------------------------------------------------------------------------------------

    def _logged_in(self, question: LoggedIn) -> None:
        claim = self._claims[question.user_id]
        self._under_way.discard(question.user_id)
        theirs = self._logins.renewed(claim, question.token)
        self._totals.counts.tokens_renewed += 1
        self._one_at_a_time = False
        logger.debug("user %s: the token is renewed", question.user_id, extra={"user": question.user_id})
        tokens: tuple[Token, ...] = (question.token,)
        if theirs is not None:
            self._unwritten[question.user_id] = _Unwritten(theirs, question.token)
            tokens = (theirs, question.token)
        self._answer(question.user_id, TryTokens(tokens))
        self._wake()

    def _ended(self, claim: Claim, end: LoginEnd) -> None:
        match end.state:
            case LoginState.NOT_SENT:
                retrying(partial(self._logins.release, claim))
            case LoginState.UNANSWERED:
                self._one_at_a_time = False  # there is no refusal to be careful of
                retrying(partial(self._logins.unanswered, claim, end.detail))
            case LoginState.REFUSED:
                retrying(partial(self._logins.refused, claim, end.cause, end.detail))
                self._count_refusal(end)

    def _count_refusal(self, end: LoginEnd) -> None:
        if end.cause.is_the_riders:
            return
        self._one_at_a_time = True
        count = retrying(self._logins.refused_in_a_row)
        if count >= MAX_REFUSED_IN_A_ROW and not self._stopped:
            self._stop_logins(f"Logins are stopped, for those of {count} riders in a row were refused: {end.detail}")

    def _stop_logins(self, words: str) -> None:
        self._stopped = words
        if self._dry_run or retrying(lambda: self._logins.stop(words)):
            logger.error("%s", words)

    def _wake(self) -> None:
        """Have those who wait looked at in the next `tick`."""
        self._waiting = deque((0.0, question) for _, question in self._waiting)
