"""What Django's error page under `DEBUG` hides in addition to Django's own rules."""

from __future__ import annotations

import re
from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.template.defaultfilters import pprint
from django.views.debug import SafeExceptionReporterFilter


class HidesSecrets(SafeExceptionReporterFilter):
    """Hides URLs with a password in the settings, the environment and the traceback's variables."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|REDIS|DATABASE_URL|DSN|OTEL_", flags=re.IGNORECASE
    )

    def get_traceback_frame_variables(self, request: HttpRequest, tb_frame: FrameType) -> ItemsView[str, Any]:
        secrets = _secrets()
        shown = super().get_traceback_frame_variables(request, tb_frame)
        return {name: self._cleansed(value, secrets) for name, value in shown}.items()

    def _cleansed(self, value: object, secrets: list[str]) -> object:
        text = pprint(value)  # never raises, and is what the page would show
        return self.cleansed_substitute if any(secret in text for secret in secrets) else value


def _secrets() -> list[str]:
    database = str(settings.DATABASES["default"].get("PASSWORD") or "")
    return [
        text for text in (settings.REDIS_URL, database, settings.SECRET_KEY, settings.BYTEMARK_CLIENT_SECRET) if text
    ]
