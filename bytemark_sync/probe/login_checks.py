"""Checks of the account API. They are shown where it is set."""

from __future__ import annotations

import secrets

from bytemark_sync.bytemark.account_errors import LoginCause, LoginRefused
from bytemark_sync.bytemark.errors import RateLimited
from bytemark_sync.bytemark.token import Credentials, Secret
from bytemark_sync.domain.login_advice import login_todo
from bytemark_sync.probe.asker import Asker, LogIn
from bytemark_sync.probe.evidence import Evidence, LoginTry
from bytemark_sync.probe.verdicts import Check, differs, holds, not_seen

_AWAY = "Look at BYTEMARK_ACCOUNT_API_URL, BYTEMARK_LOGIN_PATH, the network and Bytemark's state, then probe again."
_READ_BY = "The words that Bytemark sends belong into account_errors.py."


def ask_as_stranger(asker: Asker, log_in: LogIn) -> None:
    """One login of a user that does not exist, by a made-up address that no mail can reach, with a made-up password."""
    email = Secret(f"{secrets.token_hex(10)}@made-up.invalid")
    asker.evidence.wrong_login = asker.log_in(log_in, Credentials(email, Secret(secrets.token_hex(20))))


def may_log_in(seen: Evidence) -> bool:
    """Whether the stranger's login shows nothing that a real one would suffer from too."""
    error = seen.wrong_login.error if seen.wrong_login else None
    return isinstance(error, LoginRefused) and error.cause is not LoginCause.CLIENT_REFUSED


def wrong_login(seen: Evidence) -> Check:
    name = "wrong_login"
    one = seen.wrong_login
    if one is None:
        return not_seen(name, "It was not asked.")
    if one.error is None:
        return differs(
            name,
            "A login with a made-up e-mail and password gave a token.",
            "This is not Bytemark's account API: look at BYTEMARK_ACCOUNT_API_URL.",
        )
    if isinstance(one.error, RateLimited):
        return not_seen(name, f"A made-up user's login got no clear answer: {one.error.detail}.")
    if not isinstance(one.error, LoginRefused):
        return differs(name, f"A made-up user's login is not answered: {one.error.detail}.", _AWAY)
    match one.error.cause:
        case LoginCause.WRONG_PASSWORD | LoginCause.UNKNOWN_ACCOUNT:
            word = "its account" if one.error.cause is LoginCause.UNKNOWN_ACCOUNT else "its password"
            return holds(name, f"A made-up user is refused for {word} ({one.error.how}).")
        case LoginCause.CLIENT_REFUSED:
            advice = login_todo(one.error.cause)
        case _:
            advice = (
                "Look at BYTEMARK_LOGIN_PATH and BYTEMARK_CLIENT_ID. If they are right, a wrong password cannot be "
                f"told from a mistake of ours, and five such riders in a row stop logins. {_READ_BY}"
            )
    return differs(
        name, f"A made-up user is refused, but not for the password or the account: {one.error.detail}.", advice
    )


def rider_login(seen: Evidence) -> Check:
    name = "login"
    login = seen.rider_login
    if login is None:
        return not_seen(name, "No rider was logged in.", "--user ID --login does it. Read its warning first (--help).")
    if login.last is None:
        return not_seen(name, f"No login was made: {login.not_made}.")
    if login.last.error is not None:
        return _without_token(name, login.last)
    is_read = 0 in seen.accepted
    where = "It is in the portal's row." if login.is_stored else "It could not be written into the portal's row."
    if login.portal_renewed and not login.is_stored:
        where = "The portal has renewed its row meanwhile, and that token stays there."
    if 0 in seen.rejected:
        cause = LoginCause.NEW_TOKEN_REJECTED
        return differs(name, f"{cause.words}. {where}", login_todo(cause))
    read = "and the rider's list is read" if is_read else "but the rider's list was not read"
    said = f"The login gave a token, {read}. {where}"
    if not (login.is_stored or login.portal_renewed):
        return differs(name, said, "Look at the column bytemark_tokens.token: does it take so long a text?")
    return holds(name, said) if is_read else not_seen(name, said)


def _without_token(name: str, login: LoginTry) -> Check:
    error = login.error
    if isinstance(error, LoginRefused):
        return differs(name, f"{error.detail}.", login_todo(error.cause))
    return differs(name, f"The login is not answered: {error.detail if error else ''}.", _AWAY)
