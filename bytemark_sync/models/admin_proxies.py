"""Proxy models. With one, an admin page of the same rows has its own address, title and permission."""

from __future__ import annotations

from bytemark_sync.models.portal import Order, OrderToken


class PendingOrder(Order):
    """An order on the page of pending orders. `bytemark_sync.storage.pending` defines which those are."""

    class Meta:
        proxy = True
        verbose_name = "pending order"


class PortalUser(OrderToken):
    """A row of the portal's token table, shown as the rider it belongs to."""

    class Meta:
        proxy = True
        verbose_name = "rider"

    def __str__(self) -> str:
        return f"no user (token row {self.pk})" if self.user_id is None else f"rider {self.user_id}"
