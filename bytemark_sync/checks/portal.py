"""System checks of the portal's tables and of the Bytemark settings (`manage.py check --database default`).

E001 a portal table lacks a column         E002 some portal tables are there, others not
E003 a portal table knows no transaction   E004 the items table wants a value for an unknown column
E005 the database user lacks a right on a portal table
E006 the database user lacks a right on the product's own database
E007 the connection is without strict mode
W001 no index on items' order_id           W002 no index on orders' user_id
W003 the database user lacks a right that MySQL needs and MariaDB does not
W004 this machine's clock is not the database's
E010 a BYTEMARK_* setting cannot be used   W010 BYTEMARK_CUSTOMER_API_URL is not set
W011 ALLOWED_HOSTS is empty                W012 only one of the two settings that switch renewal on is set
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.utils import timezone

from bytemark_sync.checks import privileges
from bytemark_sync.models import Order, OrderItem
from bytemark_sync.models.portal import IN_ONE_PLACE, bare_name
from bytemark_sync.runs.client_settings import bytemark_settings
from bytemark_sync.storage.portal_schema import PORTAL, PortalSchema, columns_needed
from bytemark_sync.storage.strict_mode import cuts_values

PORTAL_TAG = "portal"
CLOCKS_APART = timedelta(seconds=30)
"""At 90 s and more a live cluster would be reported as dead (`health.CLUSTER_SILENCE`)."""
INDEXES = (
    (
        "W001",
        OrderItem,
        "order_id",
        "every search for pending orders and every write reads the whole items table: 0.1 s with 200,000 items,"
        " minutes a run with millions",
    ),
    (
        "W002",
        Order,
        "user_id",
        "every page of pending users sorts the whole order table: about a second a page with a million orders",
    ),
)


@register(PORTAL_TAG)
def check_portal(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The portal's tables have the columns that the product reads and the indexes that it needs."""
    messages: list[CheckMessage] = []
    for alias in databases or ():
        schema = PortalSchema(connections[alias])
        there = schema.present()
        if not there and IN_ONE_PLACE:
            continue  # nothing to look at before the first migrate
        messages += [_missing_table(model, schema) for model in PORTAL if model not in there]
        for model in there:
            messages += _missing_columns(model, schema)
            messages += _without_transactions(model, schema)
        if OrderItem in there:
            messages += _unknown_obligations(schema)
        for number, model, column, cost in INDEXES:
            if model in there and not schema.is_indexed(model, column):
                messages.append(_missing_index(number, model, column, cost))
    return messages


@register(PORTAL_TAG)
def check_strict_mode(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The server refuses a value that does not fit. Where it would cut it, the commands and the queue do not work."""
    found = [cuts_values(connections[alias]) for alias in databases or ()]
    return [Error(words, id="bytemark_sync.E007") for words in found if words]


@register(PORTAL_TAG)
def check_rights_on_the_portal(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The database user has the rights that the product needs there (docs/contract.md#two-places)."""
    return [
        _lacking(lack, Error if lack.needed else Warning, "E005" if lack.needed else "W003")
        for alias in databases or ()
        if connections[alias].vendor == "mysql"
        for lack in privileges.missing_on_the_portal(connections[alias])
    ]


@register(Tags.database)
def check_rights_on_our_own(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The same on the database of `DATABASE_URL`. Without it `migrate` would stop half-way when a right is missing."""
    return [
        _lacking(lack, Error, "E006")
        for alias in databases or ()
        if connections[alias].vendor == "mysql" and not IN_ONE_PLACE
        for lack in privileges.missing_on_our_own(connections[alias])
    ]


@register(Tags.database)
def check_clock(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Machines compare their clocks with times that others wrote, so each clock must agree with the database's."""
    ahead = [_seconds_ahead(connections[alias]) for alias in databases or () if connections[alias].vendor == "mysql"]
    return [
        Warning(
            f"This machine's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the database's.",
            hint="Set both by NTP: what works here may be taken for dead by other machines, or found dead late.",
            id="bytemark_sync.W004",
        )
        for seconds in ahead
        if abs(seconds) > CLOCKS_APART.total_seconds()
    ]


def _seconds_ahead(connection: BaseDatabaseWrapper) -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT UTC_TIMESTAMP(6)")
        theirs: datetime = cursor.fetchone()[0].replace(tzinfo=UTC)
    return (timezone.now() - theirs).total_seconds()


def _lacking(lack: privileges.Lack, kind: type[Error] | type[Warning], number: str) -> CheckMessage:
    text = f"The database user lacks {lack.privilege} on {lack.place}: {lack.why}."
    hint = f"As an administrator of the database server: {lack.grant}"
    return kind(text, hint=hint, id=f"bytemark_sync.{number}")


@register("bytemark")
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """`migrate` and the admin work without the API's URL, so a missing URL is a warning here."""
    if not settings.BYTEMARK_CUSTOMER_API_URL:
        return [
            Warning(
                "BYTEMARK_CUSTOMER_API_URL is not set: nothing can be synced.",
                hint="Set it to Bytemark's customer API, e.g. https://overture.bytemark.co",
                id="bytemark_sync.W010",
            )
        ]
    try:
        bytemark_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="Mend it in the environment or in .env.", id="bytemark_sync.E010")]
    return []


@register("bytemark")
def check_renewal(**kwargs: Any) -> list[CheckMessage]:
    """Renewal is on where both settings are set. One alone is probably a mistake."""
    names = ("BYTEMARK_ACCOUNT_API_URL", "BYTEMARK_CLIENT_ID")
    there = [name for name in names if getattr(settings, name)]
    if len(there) != 1:
        return []
    (missing,) = set(names) - set(there)
    return [
        Warning(
            f"{there[0]} is set and {missing} is not: rejected tokens are not renewed.",
            hint=f"Set {missing} too, or neither.",
            id="bytemark_sync.W012",
        )
    ]


@register("bytemark")
def check_hosts(**kwargs: Any) -> list[CheckMessage]:
    """The command and the queue need no host name, so this is a warning. Django itself checks it with --deploy only."""
    if settings.ALLOWED_HOSTS or settings.DEBUG:
        return []
    return [
        Warning(
            "ALLOWED_HOSTS is empty: the admin answers every request with 400.",
            hint="Set it to the host names of the admin, e.g. sync.example.org",
            id="bytemark_sync.W011",
        )
    ]


def _missing_table(model: type[Model], schema: PortalSchema) -> CheckMessage:
    if IN_ONE_PLACE:
        return Error(
            f"The portal table {bare_name(model)} is missing while others of the portal are there.",
            hint="Check that DATABASE_URL names the right database, or set PORTAL_DATABASE to the portal's.",
            id="bytemark_sync.E002",
        )
    return Error(
        f"The portal table {bare_name(model)} is not in the database {schema.database!r}, or the user may not see it.",
        hint="Check that PORTAL_DATABASE names the portal's database, and that the user has its rights there (E005).",
        id="bytemark_sync.E002",
    )


def _missing_columns(model: type[Model], schema: PortalSchema) -> list[CheckMessage]:
    present = {column.name for column in schema.columns(model)}
    return [
        Error(
            f"The portal table {bare_name(model)} has no column {column}.",
            hint="The product reads this column and never adds one to a portal table.",
            id="bytemark_sync.E001",
        )
        for column in columns_needed(model)
        if column.lower() not in present
    ]


def _without_transactions(model: type[Model], schema: PortalSchema) -> list[CheckMessage]:
    """Engines such as MyISAM lock no rows and roll nothing back."""
    engine = schema.engine_without_transactions(model)
    if not engine:
        return []
    return [
        Error(
            f"The portal table {bare_name(model)} is of the engine {engine}, which knows no transactions.",
            hint="An order could be stored twice, or half. Ask the portal's owners to make it InnoDB.",
            id="bytemark_sync.E003",
        )
    ]


def _unknown_obligations(schema: PortalSchema) -> list[CheckMessage]:
    """Columns of the items table that need a value but that the product does not know."""
    known = {str(field.column).lower() for field in OrderItem._meta.local_concrete_fields}
    return [
        Error(
            f"The portal table {bare_name(OrderItem)} wants a value for its column {column.name}.",
            hint="The product does not know the column, so nothing can be stored: give it a default, or allow NULL.",
            id="bytemark_sync.E004",
        )
        for column in schema.columns(OrderItem)
        if column.wants_value and column.name not in known
    ]


def _missing_index(number: str, model: type[Model], column: str, cost: str) -> CheckMessage:
    return Warning(
        f"The portal table {bare_name(model)} has no index that begins with {column}: {cost}.",
        hint="Ask the portal's owners for one; the product never adds an index to a portal table.",
        id=f"bytemark_sync.{number}",
    )
