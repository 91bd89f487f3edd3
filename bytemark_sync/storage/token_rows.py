"""The portal's token rows as a renewal needs them. A renewed token is all that is ever written there.

Only `UPDATE (token)` is needed for that, so no row is locked beforehand: each update names the token that it replaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import F, Func, Q, TextField, Value
from django.db.models.lookups import Exact

from bytemark_sync.bytemark.token import Credentials, Secret, Token
from bytemark_sync.models import OrderToken
from bytemark_sync.models.portal import CREDENTIALS
from bytemark_sync.storage.database_retry import DatabaseAway, DatabaseGone, retrying


@dataclass(frozen=True, slots=True)
class TokenRow:
    """`token` as the row holds it, blanks included; None for NULL. `credentials`: None unless there are both."""

    id: int
    token: Token | None
    credentials: Credentials | None

    @property
    def usable(self) -> Token | None:
        """The token as it is sent."""
        text = self.token.reveal().strip() if self.token else ""
        return Token(text) if text else None


def rows_of(user_id: int) -> list[TokenRow]:
    """The user's rows, newest first."""
    rows = OrderToken.objects.filter(user_id=user_id).order_by("-pk").values_list("pk", "token", *CREDENTIALS)
    return [_row(*row) for row in rows]


def row_of(row_id: int) -> TokenRow | None:
    found = OrderToken.objects.filter(pk=row_id).values_list("pk", "token", *CREDENTIALS).first()
    return _row(*found) if found else None


def _row(row_id: int, token: str | None, email: str | None, password: str | None) -> TokenRow:
    there = bool((email or "").strip()) and bool(password)
    credentials = Credentials(Secret(email or ""), Secret(password or "")) if there else None
    return TokenRow(row_id, None if token is None else Token(token), credentials)


def replace_token(row_id: int, old: Token | None, new: Token) -> bool:
    """Write `new` into the row if it still holds exactly `old`. True if it did."""
    is_old = Q(token__isnull=True) if old is None else Q(Exact(_Bytes(F("token")), _Bytes(Value(old.reveal()))))
    return OrderToken.objects.filter(is_old, pk=row_id).update(token=new.reveal()) == 1


class _Bytes(Func):
    """The text byte by byte: MySQL's collations may take different tokens for the same one."""

    output_field = TextField()
    template = "%(expressions)s"

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = "CAST(CONVERT(%(expressions)s USING utf8mb4) AS BINARY)"
        return self.as_sql(compiler, connection, template=template, **extra)


def why_no_renewal() -> str:
    """Why no renewed token could be written: a right or a column is missing. Empty if all is there.

    Raises `DatabaseAway`.
    """
    try:
        retrying(_try)
    except DatabaseAway:
        raise
    except DatabaseGone as error:
        return str(error)
    return ""


def _try() -> None:
    """Statements that touch no row."""
    table = OrderToken._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(CREDENTIALS)} FROM {table} WHERE 1 = 0")  # noqa: S608 - our own names
        cursor.execute(f"UPDATE {table} SET token = NULL WHERE 1 = 0")  # noqa: S608
