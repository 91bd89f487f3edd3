"""Riders' keys appear nowhere, and nothing about them can be found out."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from django.db import connection
from django.http.response import HttpResponseBase
from django.test import Client
from django.test.utils import CaptureQueriesContext

from bytemark_sync.models import Order
from bytemark_sync.storage.pending import pending_row_by_row
from tests.support.admin_data import SECRET, Filled

APP = "/admin/bytemark_sync/"
LISTS = ("pendingorder", "portaluser", "order", "orderitem", "orderattempt", "syncrun")


def body(response: HttpResponseBase) -> str:
    return response.getvalue().decode()


def shape(link: str) -> str:
    """Links that differ by a number or a value alone lead to the same kind of page."""
    path, _, query = link.partition("?")
    keys = sorted({part.partition("=")[0] for part in query.split("&") if part})
    return re.sub(r"\d+", "N", path) + ("?" + "&".join(keys) if keys else "")


@pytest.mark.slow
def test_no_page_shows_a_key(logged_in: Callable[[str], Client], filled: Filled) -> None:
    """Every page that a superuser can reach by links, to the last."""
    client = logged_in("superuser")
    todo, seen = ["/admin/"], {"/admin/"}
    while todo:
        url = todo.pop()
        response = client.get(url)
        assert response.status_code in (200, 302, 405), url
        text = body(response)
        assert SECRET not in text, url
        for found in re.findall(r'(?:href|hx-get)="([^"#]+)"', text):
            link = unescape(found)
            link = url.partition("?")[0] + link if link.startswith("?") else link
            kind = shape(link)
            if link.startswith("/admin/") and kind not in seen and "/logout/" not in link:
                seen.add(kind)
                todo.append(link)
    assert {f"{APP}{name}/N/change/" for name in LISTS} - {f"{APP}orderattempt/N/change/"} <= seen
    assert f"{APP}orderitem/export/" in seen


@pytest.mark.slow
def test_no_query_reads_a_key(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("superuser")
    pages = [f"{APP}{name}/" for name in LISTS]
    pages += [f"{APP}{name}/?o=-1.2.3.4.5.6" for name in LISTS]
    pages += [f"{APP}{name}/{filled.pending[3].pk}/change/" for name in ("order", "pendingorder")]
    pages += ["/admin/", f"{APP}orderitem/export/"]
    pending_row_by_row(Order.objects.all())  # asks for the indexes, which names columns, once a process
    with CaptureQueriesContext(connection) as queries:
        for page in pages:
            body(client.get(page))
    assert not [each["sql"] for each in queries if "oauth_token" in each["sql"]]
    # The users' page asks whether a token is there, and for nothing else.
    asks = re.compile(r"CASE WHEN .*? END")
    assert not [sql for each in queries if '"bytemark_tokens"."token"' in (sql := asks.sub("", each["sql"]))]


LOOKUPS = (
    "oauth_token__startswith",
    "oauth_token",
    "token__startswith",
    "token__regex",
    "order__oauth_token__startswith",
    "items__oauth_token__startswith",
    "outcome__tokens__startswith",
    "outcomes__order__oauth_token__gt",
    "pk__in",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
def test_the_address_bar_filters_by_nothing_else(logged_in: Callable[[str], Client], filled: Filled, name: str) -> None:
    client = logged_in("viewer")
    answers = {lookup: client.get(f"{APP}{name}/", {lookup: SECRET[:3]}).status_code for lookup in LOOKUPS}
    assert answers == dict.fromkeys(LOOKUPS, 400)


@pytest.mark.parametrize("name", ["order", "pendingorder", "orderitem"])
def test_no_row_can_be_opened_by_its_key(logged_in: Callable[[str], Client], filled: Filled, name: str) -> None:
    client = logged_in("viewer")
    assert client.get(f"{APP}{name}/?_to_field=oauth_token").status_code == 400
    key = f"{filled.pending[0].oauth_token}"
    assert client.get(f"{APP}{name}/{key}/change/?_to_field=oauth_token").status_code in (302, 400)


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
def test_a_key_is_not_found_by_searching(logged_in: Callable[[str], Client], filled: Filled, name: str) -> None:
    text = body(logged_in("viewer").get(f"{APP}{name}/", {"q": f"{SECRET}-1000"}))
    assert "Nothing matches this search or filter." in text
