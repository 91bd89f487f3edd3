"""Proxies give the same rows another name, so that an admin page has its own address, title and permission."""

from __future__ import annotations

from bytemark_sync.models.portal import Order, OrderToken


class PendingOrder(Order):
    """An order as the pending orders' page lists it; `bytemark_sync.storage.pending` says which those are."""

    class Meta:
        proxy = True
        verbose_name = "pending order"


class PortalUser(OrderToken):
    """A row of the portal's token table, shown as its rider."""

    class Meta:
        proxy = True
        verbose_name = "rider"

    def __str__(self) -> str:
        return f"no user (token row {self.pk})" if self.user_id is None else f"rider {self.user_id}"
