"""The API client's settings, checked. Knows no Django: `runs.client_settings` fills it from Django's settings."""

from __future__ import annotations

import ipaddress
from dataclasses import MISSING, dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from bytemark_sync.bytemark.token import Secret


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
    account_base_url: str | None = None
    login_path: str = "/users/login"
    client_id: str | None = None
    client_secret: Secret | None = None

    def __post_init__(self) -> None:
        """Raise `ConfigError` if a URL or path cannot be used. The error never repeats credentials from a URL."""
        if not self.base_url:
            raise ConfigError(f"{_CUSTOMER.setting} is not set. Set it to Bytemark's customer API, {_CUSTOMER.example}")
        _check(self.base_url, self.orders_path, _CUSTOMER)
        if self.account_base_url:
            _check(self.account_base_url, self.login_path, _ACCOUNT)

    @property
    def orders_url(self) -> str:
        return self.base_url.rstrip("/") + self.orders_path

    @property
    def login_url(self) -> str:
        return (self.account_base_url or "").rstrip("/") + self.login_path

    @property
    def renews_tokens(self) -> bool:
        """Rejected and missing tokens are renewed by a login."""
        return bool(self.account_base_url and self.client_id)


API_DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in fields(BytemarkSettings) if field.default is not MISSING
}
"""The fields' defaults by name, for `project/settings.py`."""


@dataclass(frozen=True, slots=True)
class _Api:
    """One of Bytemark's two APIs, in the words of its settings."""

    setting: str
    example: str
    path_setting: str
    path_example: str
    what_travels: str


_CUSTOMER = _Api(
    setting="BYTEMARK_CUSTOMER_API_URL",
    example="e.g. https://overture.bytemark.co",
    path_setting="BYTEMARK_ORDERS_PATH",
    path_example="/v4.0/orders",
    what_travels="riders' tokens",
)
_ACCOUNT = _Api(
    setting="BYTEMARK_ACCOUNT_API_URL",
    example="e.g. https://accountapi.bytemark.co",
    path_setting="BYTEMARK_LOGIN_PATH",
    path_example="/users/login",
    what_travels="riders' passwords",
)
_TEXT = "must not hold blanks, control characters or letters beyond ASCII."


def _check(url: str, path: str, api: _Api) -> None:
    name = api.setting
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError(f"{name} is not a URL, {api.example}") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ConfigError(f"{name} is not an http(s) URL with a host, {api.example}")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{name} must not hold a user or password.")
    if parts.query or parts.fragment:
        raise ConfigError(f"{name} must not hold a query or fragment; paths are set by {api.path_setting}.")
    if not _is_sendable(url):
        raise ConfigError(f"{name} {_TEXT}")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ConfigError(f"{name} must be https: {api.what_travels} would travel readable to {host}.")
    if not path.startswith("/") or any(c in path for c in "?#"):
        raise ConfigError(f"{api.path_setting} must be a path that begins with /, such as {api.path_example}.")
    if not _is_sendable(path):
        raise ConfigError(f"{api.path_setting} {_TEXT}")


def _is_sendable(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
