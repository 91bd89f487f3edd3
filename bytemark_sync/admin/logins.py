"""What the pages say of a rider's last login. No e-mail, password or token is read for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.db.models import Q, Value
from django.db.models.functions import Trim
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.safestring import SafeString

from bytemark_sync.admin.labels import Advice, badge, moment, not_before
from bytemark_sync.bytemark.account_errors import LoginCause
from bytemark_sync.domain.login_advice import NO_ACCOUNT, NO_ACCOUNT_TODO, STOPPED_TODO, login_todo
from bytemark_sync.models import LoginState, OrderOutcome, OrderToken, RiderLogin
from bytemark_sync.storage.portal_schema import renews_tokens
from bytemark_sync.times import dated

VARIANTS: dict[str, str] = {
    LoginState.ASKED: "info",
    LoginState.RENEWED: "success",
    LoginState.REFUSED: "danger",
    LoginState.UNANSWERED: "warning",
}
OFF = "Renewal is off now, so nobody is logged in."


@dataclass(frozen=True, slots=True)
class LoginStory:
    """The last login as a rider's page shows it."""

    state: SafeString
    words: str
    todo: str
    facts: list[tuple[str, object]]


def login_of(user_id: int | None) -> RiderLogin | None:
    """The rider's last login, if one was ever asked for."""
    if user_id is None:
        return None
    return RiderLogin.objects.filter(pk=user_id, asked_at__isnull=False).first()


def has_account(user_id: int | None) -> bool:
    """Whether the portal keeps an e-mail and a password for the rider, in one row. Neither is read."""
    there = Q(email__isnull=False, password__isnull=False) & ~Q(Exact(Trim("email"), Value(""))) & ~Q(password="")
    rows = OrderToken.objects.filter(there, user_id=user_id)
    return user_id is not None and rows.exists()


def login_story(login: RiderLogin) -> LoginStory:
    words, todo = _words(login), ""
    if not renews_tokens():
        words = f"{words} {OFF}"
    elif login.state == LoginState.REFUSED:
        todo = _todo(login)
    facts: list[tuple[str, object]] = [("Asked for", moment(login.asked_at))]
    if login.renewed_at:
        facts.append(("Token renewed", moment(login.renewed_at)))
    if login.refused_at:
        facts.append(("Refused", moment(login.refused_at)))
    if login.state == LoginState.REFUSED and login.next_at:
        is_over = login.next_at <= timezone.now()
        facts.append(("Next login", "with the next run" if is_over else not_before(login.next_at)))
    state = badge(login.get_state_display(), VARIANTS.get(login.state, "warning"))
    return LoginStory(state, words, todo, facts)


def with_login(advice: Advice, outcome: OrderOutcome) -> Advice:
    """The advice for an order that no token was found for, with what became of the rider's login."""
    login = login_of(outcome.user_id)
    if login and login.state == LoginState.REFUSED:
        return Advice(f"{advice.meaning} {_words(login)}", _todo(login))
    if login and login.renewed_at and login.renewed_at > outcome.last_at:
        renewed = f"the token was renewed on {dated(login.renewed_at)}, and the next run uses it."
        return replace(advice, todo=f"Nothing: {renewed}")
    if not has_account(outcome.user_id):
        return Advice(f"{advice.meaning} {NO_ACCOUNT}", NO_ACCOUNT_TODO)
    run = outcome.last_run
    if run and run.logins_stopped:
        return Advice(f"{advice.meaning} {run.logins_stopped}.", STOPPED_TODO)
    return advice


def _words(login: RiderLogin) -> str:
    match login.state:
        case LoginState.REFUSED:
            return f"The last login gave no token that works: {login.detail}.{_wait(login)}"
        case LoginState.RENEWED:
            return "The last login gave a token."
        case LoginState.UNANSWERED:
            return f"The last login got no answer: {login.detail}. The next run asks again."
        case _:
            return "A login is under way, or its process died before it was answered."


def _todo(login: RiderLogin) -> str:
    """ "" for a cause that this version does not know."""
    return login_todo(LoginCause(login.cause)) if login.cause in list(LoginCause) else ""


def _wait(login: RiderLogin) -> str:
    if not login.next_at or login.next_at <= timezone.now():
        return ""
    return (
        f" No other is made before {dated(login.next_at)}, unless token, e-mail, password or a setting of the login"
        " changes, or somebody resyncs the rider."
    )
