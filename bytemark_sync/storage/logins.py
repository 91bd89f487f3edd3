"""Who may log a rider in, when, and what became of it (docs/contract.md#renewal). One row for each rider.

Why logins are claimed, and tokens written at once, is in docs/decisions/0016-token-renewal.md.

A login is claimed in the database before it is sent, so no run logs a rider in twice, over all its processes and
whatever is killed. A claim of another run holds while that run is alive: for `LEASE_SECONDS`, unless its process keeps
it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Max, Q, QuerySet
from django.utils import timezone

from bytemark_sync.bytemark.account_errors import LoginCause
from bytemark_sync.bytemark.token import Credentials, Token
from bytemark_sync.models import LoginState, RiderLogin, SyncRun
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.storage.database_retry import RowRefused, in_transaction, retrying
from bytemark_sync.storage.deferral import end_of_wait, next_wait
from bytemark_sync.storage.fingerprints import login_fingerprint
from bytemark_sync.storage.token_rows import TokenRow, replace_token, row_of, rows_of
from bytemark_sync.times import dated

LEASE_SECONDS = 60.0
KEEP_SECONDS = 15.0
"""How often a process keeps its claims."""


ANSWER_LOST = "a login of this run was asked for, and its answer was lost; the next run asks again"
NO_ACCOUNT = "the portal keeps no e-mail and password for the rider"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to log a user in once. `row` is the token row that a new token belongs to."""

    user_id: int
    row: TokenRow
    credentials: Credentials
    before: RiderLogin | None
    mark: str
    """Fingerprint of what a refusal depends on, as it was read."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Another process is logging the user in."""


@dataclass(frozen=True, slots=True)
class Denied:
    """There is no login for the user in this run. `words` say why."""

    words: str


@dataclass(frozen=True, slots=True)
class Logins:
    """The logins of one run. `reference` is the run's time, from which deferrals count.

    `run_id` is None for a login that a person asks for outside of any run.
    """

    run_id: int | None
    reference: datetime
    tries_deferred: bool = False
    """Somebody named the users: a refused login is asked for again at once."""

    def claim(self, user_id: int, tried: Collection[Token]) -> Token | Claim | Busy | Denied:
        """A token of the portal's rows that was not tried, or else the right to log in. Raises `DatabaseGone`."""
        rows = retrying(lambda: rows_of(user_id))
        if fresh := _untried(rows, tried):
            return fresh
        if _to_log_in(rows) is None:
            return Denied(NO_ACCOUNT)
        retrying(lambda: RiderLogin.objects.bulk_create([_blank(user_id)], ignore_conflicts=True))
        return in_transaction(lambda: self._claim(user_id, tried))

    def look(self, user_id: int, tried: Collection[Token]) -> Token | Credentials | Denied:
        """As `claim`, but nothing is claimed: what a login would be made with. Raises `DatabaseGone`."""
        rows = retrying(lambda: rows_of(user_id))
        if fresh := _untried(rows, tried):
            return fresh
        row = _to_log_in(rows)
        if row is None or row.credentials is None:
            return Denied(NO_ACCOUNT)
        login = retrying(lambda: RiderLogin.objects.filter(pk=user_id).first())
        found = self._stands_against(login, _mark(rows, row.credentials), timezone.now()) if login else None
        return found if isinstance(found, Denied) else row.credentials

    def _claim(self, user_id: int, tried: Collection[Token]) -> Token | Claim | Busy | Denied:
        login = RiderLogin.objects.select_for_update().get(pk=user_id)
        rows = rows_of(user_id)  # another process may have renewed the token before it let go of the row
        if fresh := _untried(rows, tried):
            return fresh
        row = _to_log_in(rows)
        if row is None or row.credentials is None:
            return Denied(NO_ACCOUNT)
        now, mark = timezone.now(), _mark(rows, row.credentials)
        if found := self._stands_against(login, mark, now):
            return found
        before = None if login.asked_at is None else login
        RiderLogin.objects.filter(pk=user_id).update(run_id=self.run_id, state=LoginState.ASKED, asked_at=now)
        return Claim(user_id, row, row.credentials, before, mark)

    def _stands_against(self, login: RiderLogin, mark: str, now: datetime) -> Busy | Denied | None:
        if self._is_under_way(login, now):
            return Busy()
        if self.run_id is not None and login.asked_at is not None and login.run_id == self.run_id:
            return Denied(_words_of_this_run(login))
        if login.state != LoginState.REFUSED or login.next_at is None or login.next_at <= now:
            return None
        if self.tries_deferred or login.fingerprint != mark:
            return None
        return Denied(f"{login.detail}; no other login before {dated(login.next_at)}")

    def _is_under_way(self, login: RiderLogin, now: datetime) -> bool:
        if login.asked_at is None or login.state != LoginState.ASKED:
            return False
        if now - login.asked_at >= timedelta(seconds=LEASE_SECONDS):
            return False
        return login.run_id is None or SyncRun.objects.filter(pk=login.run_id, status__in=ALIVE).exists()

    # --- What became of a claim -------------------------------------------------------------------------------------

    def renewed(self, claim: Claim, token: Token) -> Token | None:
        """Write the new token into its row, unless the portal has changed it since: then its token is the result.

        Counts it in the run. Raises `DatabaseGone`.
        """
        try:
            return in_transaction(lambda: self._renewed(claim, token, writes=True))
        except RowRefused:  # the portal's column does not take the token; this run uses it all the same
            return in_transaction(lambda: self._renewed(claim, token, writes=False))

    def _renewed(self, claim: Claim, token: Token, *, writes: bool) -> Token | None:
        """Safe to repeat where only the answer to the commit was lost."""
        now = timezone.now()
        written = writes and replace_token(claim.row.id, claim.row.token, token)
        values = {"state": LoginState.RENEWED, "cause": "", "detail": "", "renewed_at": now, "next_at": None}
        if self._mine(claim.user_id).update(**values, renewals=F("renewals") + 1, deferred_days=0, fingerprint=""):
            alive = self._run().filter(status__in=ALIVE)  # what has ended stays as it is
            alive.update(tokens_renewed=F("tokens_renewed") + 1)
        if written:
            return None
        row = row_of(claim.row.id)
        theirs = row.usable if row else None
        return theirs if theirs != token else None

    def put_right(self, claim: Claim, rejected: Token, token: Token) -> bool:
        """Write a new token that works over the portal's, which was rejected. True if the portal still had that."""

        def write() -> bool:
            row = row_of(claim.row.id)
            return row is not None and row.usable == rejected and replace_token(row.id, row.token, token)

        try:
            return in_transaction(write)
        except RowRefused:
            return False

    def refused(self, claim: Claim, cause: LoginCause, detail: str) -> None:
        """Defer later logins: 1, 2, 4, ... days, begun anew where what a login depends on has changed."""
        now = timezone.now()
        before = claim.before
        days = before.deferred_days if before and before.fingerprint == claim.mark else 0
        days = next_wait(days, early=bool(before and before.next_at and before.next_at > now))
        states = (LoginState.ASKED, LoginState.RENEWED)  # a new token may be rejected
        RiderLogin.objects.filter(pk=claim.user_id, run_id=self.run_id, state__in=states).update(
            state=LoginState.REFUSED,
            cause=cause.value,
            detail=detail[:500],
            refused_at=now,
            next_at=end_of_wait(self.reference, days),
            deferred_days=days,
            fingerprint=_mark(rows_of(claim.user_id), claim.credentials),  # with the new token, where one was written
        )

    def unanswered(self, claim: Claim, detail: str) -> None:
        """The account API gave no answer. The next run may ask again."""
        self._mine(claim.user_id).update(state=LoginState.UNANSWERED, cause="", detail=detail[:500])

    def release(self, claim: Claim) -> None:
        """The login was not sent: all is as it was before the claim."""
        before = claim.before
        if before is None:
            self._mine(claim.user_id).delete()
        else:
            values = {"run_id": before.run_id, "state": before.state, "asked_at": before.asked_at}
            self._mine(claim.user_id).update(**values)

    def keep(self, user_ids: Collection[int]) -> None:
        """The logins of these users are still under way."""
        RiderLogin.objects.filter(pk__in=user_ids, run_id=self.run_id, state=LoginState.ASKED).update(
            asked_at=timezone.now()
        )

    def _mine(self, user_id: int) -> QuerySet[RiderLogin]:
        return RiderLogin.objects.filter(pk=user_id, run_id=self.run_id, state=LoginState.ASKED)

    def _run(self) -> QuerySet[SyncRun]:
        return SyncRun.objects.none() if self.run_id is None else SyncRun.objects.filter(pk=self.run_id)

    # --- Logins of the whole run ------------------------------------------------------------------------------------

    def stopped(self) -> str:
        """Why this run logs nobody in any more; empty if it does."""
        return self._run().values_list("logins_stopped", flat=True).first() or ""

    def refused_in_a_row(self) -> int:
        """Logins of the run, in all its processes, that were refused and not clearly for something of the rider's own.

        Counted since the last one that gave a token, or was the rider's fault: those show that we ask rightly.
        """
        mine = RiderLogin.objects.filter(run_id=self.run_id)
        is_theirs = Q(cause__in=[cause.value for cause in LoginCause if cause.is_the_riders])
        refused = Q(state=LoginState.REFUSED)
        good = mine.filter(Q(state=LoginState.RENEWED) | (refused & is_theirs))
        last = max(filter(None, good.aggregate(a=Max("renewed_at"), b=Max("refused_at")).values()), default=None)
        ours = mine.filter(refused & ~is_theirs)
        return (ours.filter(refused_at__gt=last) if last else ours).count()

    def stop(self, words: str) -> bool:
        """True for the one process that stops the run's logins."""
        return self._run().filter(logins_stopped="").update(logins_stopped=words) == 1


def _blank(user_id: int) -> RiderLogin:
    return RiderLogin(user_id=user_id, state=LoginState.UNANSWERED)


def _mark(rows: list[TokenRow], credentials: Credentials) -> str:
    return login_fingerprint((row.token for row in rows), credentials)


def _to_log_in(rows: list[TokenRow]) -> TokenRow | None:
    """The newest row with e-mail and password."""
    return next((row for row in rows if row.credentials), None)


def _untried(rows: list[TokenRow], tried: Collection[Token]) -> Token | None:
    return next((row.usable for row in rows if row.usable and row.usable not in tried), None)


def _words_of_this_run(login: RiderLogin) -> str:
    match login.state:
        case LoginState.ASKED:
            return ANSWER_LOST
        case LoginState.RENEWED:
            return "the token that a login of this run gave was rejected too"
        case _:
            return login.detail
