"""What a person sees where there is nothing to show: errors in the product's look, empty lists in words, a way back."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.db import DatabaseError
from django.test import Client

from bytemark_sync.admin.run_list import SyncRunAdmin
from bytemark_sync.models import SyncRun
from tests.support.admin_data import Filled

APP = "/admin/bytemark_sync/"
EMPTY = {
    "pendingorder": "No pending orders",
    "order": "No orders",
    "orderitem": "No items",
    "orderattempt": "No attempts",
    "auditfinding": "No audit findings",
    "syncrun": "No runs",
}


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def holds_the_look(html: str, back: str = "/admin/") -> None:
    assert "bytemark_sync/admin.css" in html
    assert "unfold/css/styles.css" in html
    assert f'href="{back}"' in html
    assert "<style" not in html
    assert "Bytemark sync" in words(html)


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        (f"{APP}order/?oauth_token__startswith=r", 400, "This request cannot be answered"),
        (f"{APP}syncrun/daily/", 403, "You do not have permission for this You are logged in as some-viewer"),
        ("/nowhere", 404, "Page not found"),
        (f"{APP}nothing/", 404, "Page not found"),
        (f"{APP}syncrun/999999/live/", 404, "Page not found"),
    ],
)
def test_an_error_page_says_what_is_wrong_and_leads_back(
    logged_in: Callable[[str], Client], url: str, status: int, said: str
) -> None:
    response = logged_in("viewer").get(url)
    assert response.status_code == status
    html = response.content.decode()
    assert said in words(html)
    holds_the_look(html)


def test_an_error_in_the_server_needs_no_database_to_be_said(
    logged_in: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object) -> None:
        raise DatabaseError("gone")

    client = logged_in("viewer")
    client.raise_request_exception = False
    monkeypatch.setattr(SyncRunAdmin, "get_queryset", fails)
    response = client.get(f"{APP}syncrun/")
    assert response.status_code == 500
    html = response.content.decode()
    assert "Something went wrong" in words(html)
    assert "gone" not in html
    holds_the_look(html)


def test_a_host_name_that_is_not_ours(client: Client, db: None) -> None:
    response = client.get("/admin/", headers={"host": "elsewhere.example"})
    assert response.status_code == 400
    assert "ALLOWED_HOSTS" in response.content.decode()


def test_a_form_without_its_token(logged_in: Callable[[str], Client], filled: Filled) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = logged_in("operator").cookies
    response = strict.post(f"{APP}pendingorder/resync/?user=5001")
    assert response.status_code == 403
    html = response.content.decode()
    assert "This form has expired Nothing was changed." in words(html)
    holds_the_look(html)


def test_a_filter_that_cannot_be_read(logged_in: Callable[[str], Client], filled: Filled) -> None:
    html = logged_in("viewer").get(f"{APP}auditfinding/?repaired__exact=maybe&e=1").content.decode()
    assert "This list cannot be shown" in words(html)
    holds_the_look(html, back="?")


def test_a_closed_login_leads_back_to_the_login(client: Client, db: None) -> None:
    for _ in range(5):
        response = client.post("/admin/login/", {"username": "ada", "password": "wrong"})
    assert response.status_code == 429
    html = response.content.decode()
    assert "closed for 900 seconds" in words(html)
    holds_the_look(html, back="/admin/login/")


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_list_says_why_and_leads_back(logged_in: Callable[[str], Client], name: str) -> None:
    html = logged_in("viewer").get(f"{APP}{name}/").content.decode()
    text = words(html)
    assert EMPTY[name] in text
    assert "yielded" not in text
    assert "Create a new item" not in text
    assert "There is nothing here yet." not in text  # each screen says what its emptiness means
    assert "Clear search and filters" not in text
    assert "Go to the dashboard" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", EMPTY)
def test_a_search_that_finds_nothing_can_be_cleared(
    logged_in: Callable[[str], Client], filled: Filled, name: str
) -> None:
    SyncRun.objects.create(trigger="command", status="succeeded")
    html = logged_in("viewer").get(f"{APP}{name}/?q=999999").content.decode()
    text = words(html)
    assert f"No matching {EMPTY[name].removeprefix('No ')}" in text
    assert "Nothing matches this search or filter." in text
    assert "Clear search and filters" in text


def test_queue_lists_that_are_empty(logged_in: Callable[[str], Client]) -> None:
    client = logged_in("manager")
    assert "No task has failed." in words(client.get("/admin/django_q/failure/").content.decode())
    for name in ("success", "failure", "ormq"):
        assert "Add " not in words(client.get(f"/admin/django_q/{name}/").content.decode())
