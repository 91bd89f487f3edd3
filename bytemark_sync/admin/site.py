"""What every page of the admin shares."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def every_page(request: HttpRequest) -> dict[str, Any]:
    """django-unfold would write its colours into the page as an inline style sheet, which the policy refuses: they are
    in `bytemark_sync/admin.css` instead."""
    return {"colors": None}
