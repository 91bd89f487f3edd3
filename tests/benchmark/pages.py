"""A process that opens each page of the admin as a manager would, first with nothing remembered; prints JSON."""

from __future__ import annotations

import json
import time
from statistics import median

import django

PAGES = {
    "Dashboard": "/admin/",
    "Pending orders": "/admin/bytemark_sync/pendingorder/",
    "Pending orders, one reason": "/admin/bytemark_sync/pendingorder/?reason=not_found",
    "Users": "/admin/bytemark_sync/portaluser/",
    "Runs": "/admin/bytemark_sync/syncrun/",
    "Orders": "/admin/bytemark_sync/order/",
    "Orders, last page that is offered": "/admin/bytemark_sync/order/?p=100",
    "Order by uuid": "/admin/bytemark_sync/order/?q=00000000-0000-4000-a000-000000777777",
    "Items": "/admin/bytemark_sync/orderitem/",
    "Items of a product": "/admin/bytemark_sync/orderitem/?product=product-3",
    "Attempts": "/admin/bytemark_sync/orderattempt/",
    "Audit findings": "/admin/bytemark_sync/auditfinding/",
}


def main() -> None:
    django.setup()
    from django.contrib.auth.models import User
    from django.test import Client

    user = User.objects.create_superuser("bench")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    client.get("/admin/password_change/")  # templates and URLs are loaded
    found = {name: _open(client, url) for name, url in PAGES.items()}
    print(json.dumps({name: seconds for name, seconds in found.items() if seconds is not None}))


def _open(client: object, url: str) -> tuple[float, float] | None:
    """(first, median of three later) in seconds; None where there is no such page."""
    seconds = []
    for _ in range(4):
        started = time.monotonic()
        response = client.get(url, follow=True)  # type: ignore[attr-defined]
        seconds.append(time.monotonic() - started)
        if response.status_code == 404:
            return None
        assert response.status_code == 200, (url, response.status_code)
    return seconds[0], median(seconds[1:])


if __name__ == "__main__":
    main()
