"""The address of a client behind proxies (`TRUSTED_PROXIES`). django-axes counts wrong passwords by it."""

from __future__ import annotations

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """The address that the outermost of our own proxies saw, or else that of the connection.

    Each proxy appends the address that it saw to X-Forwarded-For. The client may have made up everything before that.
    """
    connection: str | None = request.META.get("REMOTE_ADDR") or None
    proxies: int = settings.TRUSTED_PROXIES
    seen = request.headers.get("X-Forwarded-For", "").split(",")
    if not proxies or len(seen) < proxies:
        return connection
    return _address(seen[-proxies].strip()) or connection


def _address(text: str) -> str | None:
    """`text` without the port that some proxies add; None if it is no address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
