"""System checks refuse a queue that would start a task twice, or repeat or lose one."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from bytemark_sync.checks.queue_settings import KNOWN, check_queue


def ids() -> list[str]:
    return [str(message.id).removeprefix("bytemark_sync.") for message in check_queue()]


def test_the_queue_as_shipped_is_in_order() -> None:
    assert ids() == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"max_attemps": 1}, ["E101"]),
        ({"ALT_CLUSTERS": {}}, ["E101"]),
        ({"mongo": {}}, ["E101"]),
        ({"timeout": None}, ["E102"]),
        ({"timeout": 5}, ["E102"]),
        ({"timeout": "1800"}, ["E102"]),
        ({"retry": 60}, ["E103"]),
        ({"retry": 3600}, ["E103"]),
        ({"retry": 3601}, []),
        ({"retry": None}, ["E103"]),
        ({"queue_limit": 20}, ["E103"]),
        ({"queue_limit": 3}, []),
        ({"bulk": 10}, ["E103"]),
        ({"workers": 1}, ["E103"]),
        ({"max_attempts": 0}, ["E104"]),
        ({"max_attempts": 3}, ["E104"]),
        ({"ack_failures": False}, ["E105"]),
        ({"catch_up": True}, ["E106"]),
        ({"redis": "redis://h"}, ["E107"]),
        ({"queue_limit": None}, ["E108"]),
        ({"workers": 0}, ["E108"]),
        ({"sync": True}, ["E109"]),
        ({"cached": 60}, ["E109"]),
        ({"time_zone": "Asia/Tokyo"}, ["E110"]),
        ({"scheduler": False}, ["W101"]),
    ],
)
def test_what_breaks_the_queue_is_found(settings: Any, change: dict[str, Any], found: list[str]) -> None:
    settings.Q_CLUSTER = django_settings.Q_CLUSTER | change
    assert [each for each in ids() if each != "W102"] == found


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        ("timeout", ["E102"]),
        ("retry", ["E103"]),
        ("max_attempts", ["E104"]),
        ("ack_failures", ["E105"]),
        ("catch_up", ["E106"]),
        ("orm", ["E107"]),
        ("workers", ["E108"]),
        ("queue_limit", ["E108"]),
    ],
)
def test_django_q2s_own_defaults_are_refused(settings: Any, missing: str, found: list[str]) -> None:
    settings.Q_CLUSTER = {key: value for key, value in django_settings.Q_CLUSTER.items() if key != missing}
    assert [each for each in ids() if each != "W102"] == found


def test_every_key_that_django_q2_reads_is_known_or_refused_on_purpose() -> None:
    import inspect
    import re

    from django_q import conf

    read = set(re.findall(r'conf\.get\(\s*"(\w+)"', inspect.getsource(conf)))
    refused = {"django_redis", "iron_mq", "sqs", "broker_class", "mongo", "mongo_db", "cluster_name"}
    assert read - refused <= KNOWN
    assert read >= KNOWN


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("SYNC_HEARTBEAT_LIMIT", 5.0, ["W103"]),
        ("SLACK_API_URL", "http://slack.example/api/", ["E111"]),
        ("SLACK_API_URL", "http://127.0.0.1:9999/api/", []),
    ],
)
def test_what_belongs_to_the_queue_is_looked_at_too(settings: Any, name: str, value: Any, found: list[str]) -> None:
    setattr(settings, name, value)
    assert [each for each in ids() if each != "W102"] == found


def test_the_check_command_stops_on_a_broken_queue(settings: Any) -> None:
    settings.Q_CLUSTER = django_settings.Q_CLUSTER | {"catch_up": True}
    with pytest.raises(SystemCheckError, match="catch_up"):
        call_command("check")
