"""The API client's settings, checked. Knows no Django: `runs.client_settings` fills it from Django's settings."""

from __future__ import annotations

import ipaddress
from dataclasses import MISSING, dataclass, fields
from typing import Any
from urllib.parse import urlsplit


class ConfigError(ValueError):
    """A setting that cannot be used; the text begins with the setting's name."""


@dataclass(frozen=True, slots=True)
class BytemarkSettings:
    """Times in seconds. `outage_patience` also bounds `Retry-After` (docs/contract.md#settings).

    The defaults of the `BYTEMARK_*` settings stand here alone.
    """

    base_url: str
    orders_path: str = "/v4.0/orders"
    page_size: int = 10
    max_attempts: int = 5
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    request_deadline: float = 60.0
    backoff_base: float = 0.5
    backoff_cap: float = 30.0
    requests_per_second: float | None = None
    outage_patience: float = 300.0

    def __post_init__(self) -> None:
        """Raise `ConfigError` if the URL cannot be used. The error never repeats credentials from the URL."""
        name = "BYTEMARK_CUSTOMER_API_URL"
        if not self.base_url:
            raise ConfigError(
                f"{name} is not set. Set it to Bytemark's customer API, e.g. https://overture.bytemark.co"
            )
        try:
            parts = urlsplit(self.base_url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            raise ConfigError(f"{name} is not a URL, e.g. https://overture.bytemark.co") from None
        if parts.scheme not in ("https", "http") or not host:
            raise ConfigError(f"{name} is not an http(s) URL with a host, e.g. https://overture.bytemark.co")
        if parts.username is not None or parts.password is not None:
            raise ConfigError(f"{name} must not hold a user or password.")
        if parts.query or parts.fragment:
            raise ConfigError(f"{name} must not hold a query or fragment; paths are set by BYTEMARK_ORDERS_PATH.")
        if not _is_sendable(self.base_url):
            raise ConfigError(f"{name} must not hold blanks, control characters or letters beyond ASCII.")
        if parts.scheme == "http" and not _is_loopback(host):
            raise ConfigError(f"{name} must be https: riders' tokens would travel readable to {host}.")
        if not self.orders_path.startswith("/") or any(c in self.orders_path for c in "?#"):
            raise ConfigError("BYTEMARK_ORDERS_PATH must be a path that begins with /, such as /v4.0/orders.")
        if not _is_sendable(self.orders_path):
            raise ConfigError("BYTEMARK_ORDERS_PATH must not hold blanks, control characters or letters beyond ASCII.")

    @property
    def orders_url(self) -> str:
        return self.base_url.rstrip("/") + self.orders_path


API_DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in fields(BytemarkSettings) if field.default is not MISSING
}
"""The fields' defaults by name, for `project/settings.py`."""


def _is_sendable(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
