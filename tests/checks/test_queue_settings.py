"""System checks look at the settings that the queue and its messages depend on."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from bytemark_sync.checks.queue_settings import check_queue


def ids() -> list[str]:
    return [str(message.id).removeprefix("bytemark_sync.") for message in check_queue()]


def test_the_settings_as_shipped_are_in_order() -> None:
    assert ids() == []


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("SYNC_HEARTBEAT_LIMIT", 5.0, ["W103"]),
        ("SLACK_API_URL", "http://slack.example/api/", ["E111"]),
        ("SLACK_API_URL", "http://127.0.0.1:9999/api/", []),
    ],
)
def test_what_breaks_the_queue_is_found(settings: Any, name: str, value: Any, found: list[str]) -> None:
    setattr(settings, name, value)
    assert [each for each in ids() if each != "W102"] == found


def test_redis_with_sqlite_is_warned_of(settings: Any) -> None:
    settings.REDIS_URL = "redis://h"
    assert ids() == ["W102"]


def test_the_check_command_stops_on_a_broken_setting(settings: Any) -> None:
    settings.SLACK_API_URL = "http://slack.example/api/"
    with pytest.raises(SystemCheckError, match="SLACK_API_URL"):
        call_command("check")
