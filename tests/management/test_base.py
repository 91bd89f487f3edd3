"""What the commands share, seen by a program that uses them through `call_command`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.django_db
COMMANDS = ["sync_order_items", "audit_order_items"]


@pytest.fixture(params=[logging.NOTSET, logging.WARNING, logging.DEBUG])
def chosen(request: pytest.FixtureRequest, settings: Any) -> Iterator[int]:
    """The level that the program has given the product's log."""
    settings.BYTEMARK_CUSTOMER_API_URL = "http://127.0.0.1:9"
    log = logging.getLogger("bytemark_sync")
    before = log.level
    log.setLevel(request.param)
    yield request.param
    log.setLevel(before)


def level() -> int:
    return logging.getLogger("bytemark_sync").level


@pytest.mark.parametrize("command", COMMANDS)
def test_the_program_has_its_log_level_back(command: str, chosen: int, caplog: pytest.LogCaptureFixture) -> None:
    for verbosity, is_told in ((0, False), (1, True), (3, True)):
        caplog.clear()
        call_command(command, verbosity=verbosity)
        assert any("succeeded" in told for told in caplog.messages) == is_told
        assert level() == chosen


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_fails_gives_it_back_too(command: str, chosen: int, settings: Any) -> None:
    settings.BYTEMARK_CUSTOMER_API_URL = ""
    with pytest.raises(CommandError):
        call_command(command, verbosity=3)
    assert level() == chosen
