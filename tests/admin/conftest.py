"""People with the rights of each group, and a filled portal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from bytemark_sync.admin import run_page
from tests.support.admin_data import Filled, fill

BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    for figures in (run_page.LEFT, run_page.ANSWERED):
        figures.clear()


@pytest.fixture
def logged_in(db: None) -> Callable[[str], Client]:
    """`logged_in("operator")`: a browser of someone in that group; "superuser" is in none and may do all."""

    def login(group: str) -> Client:
        user, _ = User.objects.get_or_create(
            username=f"some-{group}", defaults={"is_staff": True, "is_superuser": group == "superuser"}
        )
        if group != "superuser":
            user.groups.add(Group.objects.get(name=group))
        client = Client()
        client.force_login(user, backend=BACKEND)
        return client

    return login


@pytest.fixture
def filled(db: None) -> Filled:
    return fill()
