"""What a person can do about a login that gave no token that works. The words of the causes are in `LoginCause`."""

from __future__ import annotations

from typing import assert_never

from bytemark_sync.bytemark.account_errors import LoginCause

AT_ONCE = "The next run then logs in at once."
"""A deferral ends when something changes that the login depends on."""
NO_ACCOUNT = "The portal keeps no e-mail and password for this rider, so no login can be made."
NO_ACCOUNT_TODO = (
    f"Tell whoever runs the portal: bytemark_tokens needs email and password of the rider's Bytemark account. {AT_ONCE}"
)
STOPPED_TODO = (
    "Find out what the logins are refused for: run manage.py bytemark_probe, and look at the client's settings. The "
    "next run logs in again."
)


def login_todo(cause: LoginCause) -> str:
    match cause:
        case LoginCause.WRONG_PASSWORD:
            return (
                "Tell whoever runs the portal: email and password in bytemark_tokens do not open this rider's Bytemark "
                f"account. They have to be corrected there. {AT_ONCE}"
            )
        case LoginCause.UNKNOWN_ACCOUNT:
            return (
                "If many riders have it, BYTEMARK_ACCOUNT_API_URL belongs to another environment (UAT, production) "
                "than the portal's accounts. Else tell whoever runs the portal: the account has to be made again, and "
                f"email and password in bytemark_tokens with it. {AT_ONCE}"
            )
        case LoginCause.CLIENT_REFUSED:
            return f"Correct BYTEMARK_CLIENT_ID and BYTEMARK_CLIENT_SECRET. No rider is at fault. {AT_ONCE}"
        case LoginCause.NO_TOKEN:
            return (
                "Bytemark's answer has another form than expected: run manage.py bytemark_probe, and show a developer "
                "what it says of the login."
            )
        case LoginCause.UNCLEAR:
            return (
                "Run manage.py bytemark_probe, which asks the account API. The usual causes: BYTEMARK_CLIENT_ID, "
                "BYTEMARK_LOGIN_PATH, BYTEMARK_ACCOUNT_API_URL. When the cause is known, resync the rider."
            )
        case LoginCause.NEW_TOKEN_REJECTED:
            return (
                "Do BYTEMARK_ACCOUNT_API_URL and BYTEMARK_CUSTOMER_API_URL belong to the same environment (UAT, "
                "production)? If they do, ask Bytemark about the account."
            )
        case unknown:
            assert_never(unknown)
