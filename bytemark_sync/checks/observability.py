"""System check of what was set and cannot be sent.

W104 a setting whose packages are not installed
"""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning, register

from bytemark_sync.monitoring import telemetry


@register("observability")
def check_packages(**kwargs: Any) -> list[CheckMessage]:
    hint = f"pip install -r {telemetry.REQUIREMENTS}"
    return [
        Warning(f"{setting} is set, but its packages are not installed.", hint=hint, id="bytemark_sync.W104")
        for setting in telemetry.missing()
    ]
