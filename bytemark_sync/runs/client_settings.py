"""The API client's settings, read from Django's."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from bytemark_sync.bytemark.config import BytemarkSettings, ConfigError
from bytemark_sync.bytemark.token import Secret


def bytemark_settings() -> BytemarkSettings:
    """The `BYTEMARK_*` settings. Raises `ImproperlyConfigured`, which names the invalid one."""
    try:
        return BytemarkSettings(
            base_url=settings.BYTEMARK_CUSTOMER_API_URL,
            orders_path=settings.BYTEMARK_ORDERS_PATH,
            page_size=settings.BYTEMARK_PAGE_SIZE,
            max_attempts=settings.BYTEMARK_MAX_ATTEMPTS,
            connect_timeout=settings.BYTEMARK_CONNECT_TIMEOUT,
            read_timeout=settings.BYTEMARK_READ_TIMEOUT,
            request_deadline=settings.BYTEMARK_REQUEST_DEADLINE,
            backoff_base=settings.BYTEMARK_BACKOFF_BASE,
            backoff_cap=settings.BYTEMARK_BACKOFF_CAP,
            requests_per_second=settings.BYTEMARK_REQUESTS_PER_SECOND,
            outage_patience=settings.BYTEMARK_OUTAGE_PATIENCE,
            account_base_url=settings.BYTEMARK_ACCOUNT_API_URL or None,
            login_path=settings.BYTEMARK_LOGIN_PATH,
            client_id=settings.BYTEMARK_CLIENT_ID or None,
            client_secret=Secret(settings.BYTEMARK_CLIENT_SECRET) if settings.BYTEMARK_CLIENT_SECRET else None,
        )
    except ConfigError as error:
        raise ImproperlyConfigured(str(error)) from None
