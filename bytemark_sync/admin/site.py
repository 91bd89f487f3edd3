"""Context that every page of the admin shares."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from bytemark_sync import __version__


def every_page(request: HttpRequest) -> dict[str, Any]:
    """The product's version, for the foot of the page.

    `colors` keeps django-unfold from writing its colours as an inline style sheet, which the content security policy
    refuses. They are in `bytemark_sync/admin.css` instead.
    """
    return {"colors": None, "product_version": __version__}
