"""A rider's login that a person asks for (`bytemark_probe --login`): claimed, written and remembered as a run's is.

Without that the portal would keep a token that the login may have ended.
"""

from __future__ import annotations

from dataclasses import replace

from django.utils import timezone

from bytemark_sync.bytemark.account import NotSent
from bytemark_sync.bytemark.account_errors import LoginCause, LoginRefused
from bytemark_sync.bytemark.errors import Kind
from bytemark_sync.bytemark.token import Token
from bytemark_sync.probe.asker import Asker, LogIn
from bytemark_sync.probe.evidence import Evidence, RiderLogin
from bytemark_sync.probe.login_checks import may_log_in
from bytemark_sync.storage.logins import Busy, Claim, Denied, Logins
from bytemark_sync.storage.token_rows import rows_of, why_no_renewal


class ProbeLogin:
    """`make` it before the list is read, and `end` it after that."""

    def __init__(self, user_id: int) -> None:
        self.user_id = user_id
        self._logins = Logins(None, timezone.now(), tries_deferred=True)
        self._claim: Claim | None = None
        self._new: Token | None = None
        self._theirs: Token | None = None

    def why_not(self) -> str:
        """Why no login can be made, before any request. Empty if one can. Raises `DatabaseGone`."""
        if words := why_no_renewal():
            return words
        if not any(row.credentials for row in rows_of(self.user_id)):
            return "the portal keeps no e-mail and password for the user."
        return ""

    def make(self, asker: Asker, log_in: LogIn) -> None:
        """Log the rider in, and have the list read with the new token. Raises `DatabaseGone`, `Interrupted`."""
        login = asker.evidence.rider_login = RiderLogin()
        if not may_log_in(asker.evidence):
            login.not_made = "the made-up user's login shows that it would not tell more"
            return
        known = tuple(row.usable for row in rows_of(self.user_id) if row.usable)
        match self._logins.claim(self.user_id, known):
            case Claim() as claim:
                self._send(claim, asker, log_in, login)
            case Denied(words):
                login.not_made = words
            case Busy():
                login.not_made = "a run is logging the rider in just now"
            case Token():
                login.not_made = "the portal has renewed the token just now"

    def _send(self, claim: Claim, asker: Asker, log_in: LogIn, login: RiderLogin) -> None:
        try:
            login.last = asker.log_in(log_in, claim.credentials)
        except NotSent:
            self._logins.release(claim)
            raise
        error, token = login.last.error, login.last.token
        if isinstance(error, LoginRefused):
            self._logins.refused(claim, error.cause, error.detail)
        elif error is not None:
            self._logins.unanswered(claim, error.detail)
        if token is None:
            return
        self._claim, self._new, self._theirs = claim, token, self._logins.renewed(claim, token)
        login.is_stored, login.portal_renewed = self._is_stored(), self._theirs is not None
        tokens = (token,) if self._theirs is None else (self._theirs, token)
        asker.evidence.riders = (replace(asker.evidence.riders[0], tokens=tokens),)

    def end(self, seen: Evidence) -> None:
        """What the reading of the list has shown of the token. Raises `DatabaseGone`."""
        if self._claim is None or self._new is None or seen.rider_login is None:
            return
        rejected = [
            one for one in seen.exchanges if one.rider == 0 and one.error and one.error.kind == Kind.TOKEN_REJECTED
        ]
        if 0 in seen.rejected:
            cause = LoginCause.NEW_TOKEN_REJECTED
            self._logins.refused(self._claim, cause, f"{cause.words}: {rejected[-1].words}")
        elif self._theirs is not None and 0 in seen.accepted and rejected:
            self._logins.put_right(self._claim, self._theirs, self._new)
            seen.rider_login.is_stored = self._is_stored()

    def _is_stored(self) -> bool:
        return any(row.usable == self._new for row in rows_of(self.user_id))
