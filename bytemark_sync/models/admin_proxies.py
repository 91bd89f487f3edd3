"""Proxies: the same rows under another name, so that a page of the admin has its own address, title and permission."""

from __future__ import annotations

from bytemark_sync.models.portal import Order, OrderToken


class PendingOrder(Order):
    """An order as the pending orders' page lists it; `bytemark_sync.storage.pending` says which those are."""

    class Meta:
        proxy = True
        verbose_name = "pending order"


class PortalUser(OrderToken):
    """A row of the portal's token table, read as the rider that it stands for."""

    class Meta:
        proxy = True
        verbose_name = "rider"

    def __str__(self) -> str:
        return f"no user (token row {self.pk})" if self.user_id is None else f"rider {self.user_id}"
