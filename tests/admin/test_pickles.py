"""django-q2 keeps results as unsigned pickles. Anybody might have written one, so none is read without need."""

from __future__ import annotations

import base64
import os
import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_q.models import Task

from bytemark_sync.tasks import prune


class Trap:
    """Makes the file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def trap(db: None, tmp_path: Path) -> Path:
    """Two results, of a task that succeeded and one that failed, that somebody else has written."""
    sprung = tmp_path / "sprung"
    now = timezone.now()
    for key, success in (("a" * 32, True), ("b" * 32, False)):
        Task.objects.create(
            id=key, name=key, func="bytemark_sync.tasks.watch", started=now, stopped=now, success=success
        )
    text = base64.b64encode(pickle.dumps(Trap(sprung))).decode()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_q_task SET args = %s, kwargs = %s, result = %s", [text, text, text])
    return sprung


def test_the_trap_is_one(trap: Path) -> None:
    """What the other tests rely on: loading a whole row springs it."""
    list(Task.objects.all())
    assert trap.exists()


@pytest.mark.parametrize("page", ["success", "failure", "schedule", "ormq"])
def test_lists_do_not_unpickle_results(logged_in: Callable[[str], Client], trap: Path, page: str) -> None:
    client = logged_in("superuser")
    response = client.get(f"/admin/django_q/{page}/")
    assert response.status_code == 200
    assert "a" * 32 in response.content.decode() or page != "success"
    assert "b" * 32 in response.content.decode() or page != "failure"
    assert client.get(f"/admin/django_q/{page}/?q=aaaa").status_code == 200
    assert not trap.exists()


def test_nothing_else_that_runs_by_itself_unpickles_them(logged_in: Callable[[str], Client], trap: Path) -> None:
    client = logged_in("superuser")
    for path in ("/admin/", "/healthz", "/admin/bytemark_sync/syncrun/"):
        client.get(path)
    call_command("check")
    Task.objects.update(stopped=timezone.now() - timedelta(days=1000))
    assert prune()["task results"] == 2
    assert not trap.exists()
