"""What a page of the admin says, read from its HTML."""

from __future__ import annotations

import re

from django.test import Client

APP = "/admin/bytemark_sync/"


def page(client: Client, url: str, status: int = 200) -> str:
    response = client.get(url)
    assert response.status_code == status, url
    return response.content.decode()


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def listed(html: str) -> list[int]:
    """The keys of a list's rows."""
    return [int(key) for key in re.findall(r'name="_selected_action" value="(\d+)"', html)] or [
        int(key) for key in re.findall(r'<th[^>]*><a href="[^"]*/(\d+)/change/', html)
    ]
