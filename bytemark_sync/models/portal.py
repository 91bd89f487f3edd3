"""The portal's tables, which belong to its Node services (docs/contract.md#the-portals-tables).

Only the columns listed there are mapped, so no other column is read or written. A column is nullable wherever the
portal may hold NULL. Relations have no constraint, because the product adds no key to these tables.

The tables are in the database `PORTAL_DATABASE` of the same server, where `migrate` makes and changes nothing. If that
is not set, they are in the product's own database.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.lookups import Exact

IN_ONE_PLACE = not settings.PORTAL_DATABASE
"""Whether the portal's tables are in the database of `DATABASE_URL`, where `migrate` may make them."""


def portal_table(name: str) -> str:
    """A portal table's name for statements. Django's MySQL backend does not change a name that is already quoted."""
    return name if IN_ONE_PLACE else f"`{settings.PORTAL_DATABASE}`.`{name}`"


def bare_name(model: type[models.Model]) -> str:
    """A portal table's name by itself, for information_schema and for people."""
    return model._meta.db_table.rpartition(".")[2].strip("`")


class _Bytes(models.Func):
    """The length of a text in bytes."""

    function = "LENGTH"
    output_field = models.IntegerField()

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, function="OCTET_LENGTH", **extra)


CREDENTIALS = ("email", "password")
"""Columns of the token table that only a renewal needs, and only a renewal reads."""

FREE = models.Q(amount="0") & models.Q(Exact(_Bytes(models.F("amount")), 1))
"""`amount` is exactly '0' (docs/contract.md#which-orders-are-pending). The length is compared too, because for MySQL
'0 ' equals '0', and in some collations a full-width zero does."""


class Order(models.Model):
    """A ticket order. Free orders have `amount` `'0'`; the column is text."""

    order_uuid = models.CharField(max_length=255, null=True, db_index=True)
    user_id = models.BigIntegerField(null=True, db_index=True)
    oauth_token = models.TextField(null=True)
    amount = models.CharField(max_length=64, null=True)

    class Meta:
        db_table = portal_table("bytemark_orders")
        managed = IN_ONE_PLACE

    def __str__(self) -> str:
        return self.order_uuid or f"order {self.pk}"


class _WithoutCredentials(models.Manager["OrderToken"]):
    def get_queryset(self) -> models.QuerySet[OrderToken]:
        """Rows without e-mail and password, which only a renewal names."""
        return super().get_queryset().defer(*CREDENTIALS)


class OrderToken(models.Model):
    """A user's current Bytemark token; a user may have several rows, or one with an empty token.

    `email` and `password` are those of the account that the portal has made for the rider. They are read only for a
    renewal, so the portal's table needs them only where renewal is on.
    """

    user_id = models.BigIntegerField(null=True, db_index=True)
    email = models.CharField(max_length=255, null=True)
    password = models.CharField(max_length=255, null=True)
    token = models.TextField(null=True)
    status = models.CharField(max_length=64, null=True)

    objects = _WithoutCredentials()

    class Meta:
        db_table = portal_table("bytemark_tokens")
        managed = IN_ONE_PLACE

    def __str__(self) -> str:
        return f"user {self.user_id}"


class OrderItem(models.Model):
    """One pass of an order. The product only ever inserts here."""

    order = models.ForeignKey(Order, models.DO_NOTHING, db_constraint=False, related_name="items")
    order_uuid = models.CharField(max_length=255)
    oauth_token = models.TextField()
    product_uuid = models.CharField(max_length=255, db_index=True)
    pass_uuid = models.CharField(max_length=255, db_index=True)

    class Meta:
        db_table = portal_table("bytemark_order_items")
        verbose_name = "item"
        managed = IN_ONE_PLACE

    def __str__(self) -> str:
        return self.pass_uuid
