"""Template tags of the admin."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib import admin
from django.urls import reverse
from django.utils.text import capfirst

register = template.Library()


@register.inclusion_tag("bytemark_sync/breadcrumb.html", takes_context=True)
def breadcrumb(context: dict[str, Any]) -> dict[str, Any]:
    """The breadcrumb of this page. Its last part is the page's title; the list before it is named as in the sidebar.

    A page that belongs to no model gives the parts above it as `above`: pairs of a name and a URL.
    """
    title = str(context.get("title") or "")
    above = [("Dashboard", reverse("admin:index")), *context.get("above", ())]
    screen = admin.site._registry.get(context["opts"].model) if context.get("opts") else None
    if screen is not None:
        name = f"admin:{screen.opts.app_label}_{screen.opts.model_name}_changelist"
        above.append((capfirst(getattr(screen, "things", screen.opts.verbose_name_plural)), reverse(name)))
    return {"above": [part for part in above if part[0] != title], "title": title}
