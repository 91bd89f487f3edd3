"""The portal's tables, as the Node services own them (docs/contract.md#the-portals-tables).

Only the columns listed there are mapped, so nothing else is ever read or written. Nulls are allowed wherever the portal
may hold one. Relations carry no constraint: the product never adds a key to these tables.

They lie in the database `PORTAL_DATABASE` of the same server, where `migrate` makes and changes nothing; or, where that
is not set, among the product's own.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.lookups import Exact

IN_ONE_PLACE = not settings.PORTAL_DATABASE
"""Whether the portal's tables are in the database of `DATABASE_URL`, so that `migrate` may make them there."""


def portal_table(name: str) -> str:
    """A portal table's name for statements. Django's MySQL backend leaves a name alone that is quoted already."""
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


FREE = models.Q(amount="0") & models.Q(Exact(_Bytes(models.F("amount")), 1))
"""`amount` is '0' and nothing else (docs/contract.md#which-orders-are-pending): MySQL takes '0 ' and, in some
collations, a wide zero for its equal."""


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


class OrderToken(models.Model):
    """A user's current Bytemark token; a user may have several rows, or one with an empty token."""

    user_id = models.BigIntegerField(null=True, db_index=True)
    token = models.TextField(null=True)
    status = models.CharField(max_length=64, null=True)

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
