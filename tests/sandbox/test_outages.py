"""An outage begins and ends when its rule says, and looks as its rule says."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from bytemark_sync.sandbox import FaultRule, Sandbox, parse_faults
from bytemark_sync.sandbox.outages import Outages
from tests.support.raw_http import WORLD, ask


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(WORLD) as serving:
        yield serving


def away(rules: str, times: list[float]) -> list[bool]:
    outages = Outages(parse_faults(rules))
    return [outages.under_way(now) is not None for now in times]


def test_it_begins_after_seconds_and_ends_after_seconds() -> None:
    times = [1000, 1009.9, 1010, 1030, 1034.9, 1035, 5000]
    assert away("outage:after=10,seconds=25", times) == [False, False, True, True, True, False, False]
    assert away("outage:after=10,seconds=25", [1000, 1036]) == [False, False]  # nobody asked while it lasted


def test_it_begins_after_a_number_of_requests() -> None:
    assert away("outage:after_requests=2,seconds=5", [10, 20, 30, 34, 35, 36]) == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def test_without_limits_it_begins_at_once_and_for_good() -> None:
    rule = FaultRule("outage")
    assert Outages([rule]).under_way(7) == (rule, math.inf)
    assert away("outage", [0, 1e9]) == [True, True]


def test_several_outages_and_other_faults_beside_them() -> None:
    rules = "status:status=500;outage:seconds=1;outage:after=5,seconds=1"
    assert away(rules, [0, 1, 4, 5, 5.5, 6]) == [True, False, False, True, True, False]


def test_statuses_begin_with_the_request_after_the_last_good_one(sandbox: Sandbox) -> None:
    sandbox.set_faults("outage:after_requests=2,retry_after=3")
    answers = [ask(sandbox) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 503, 503]
    assert answers[2].headers["retry-after"] == "3"
    assert sandbox.stats().faults == {"outage": 2}
    sandbox.set_faults("outage:status=502")
    assert ask(sandbox).status == 502
    sandbox.set_faults()
    assert ask(sandbox).status == 200


def test_closed_connections_leave_the_controls_alone(sandbox: Sandbox) -> None:
    sandbox.set_faults("outage:form=close")
    answer = ask(sandbox)
    assert (answer.head, answer.closed) == ("", True)
    sandbox.set_faults()
    assert ask(sandbox).status == 200


def test_a_hanging_outage_answers_nobody_until_its_end(sandbox: Sandbox) -> None:
    sandbox.set_faults("outage:form=hang")
    assert (ask(sandbox, seconds=0.2).head, sandbox.stats().requests) == ("", 1)
    sandbox.set_faults("outage:form=hang,seconds=0.3")
    answer = ask(sandbox, seconds=20)
    assert (answer.head, answer.closed) == ("", True)
    sandbox.set_faults("outage:form=hang,seconds=0.05")
    until = time.monotonic() + 30
    while ask(sandbox, seconds=20).head == "":
        assert time.monotonic() < until, "it never came back"


@pytest.mark.slow
def test_a_refusing_outage_takes_no_connection_until_its_end(sandbox: Sandbox) -> None:
    host, port = urlsplit(sandbox.url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as idle:
        sandbox.set_faults("outage:form=refuse,seconds=1.5")
        assert ask(sandbox).reset
        assert idle_ended(idle)
        with pytest.raises(ConnectionRefusedError):
            ask(sandbox)
    until = time.monotonic() + 30
    while True:
        try:
            answer = ask(sandbox)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < until, "it never came back"
            time.sleep(0.1)
    assert answer.status == 200


def idle_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("outage:form=x", "unknown form"),
        ("outage:form=refuse", "needs seconds"),
        ("outage:probability=0.5", "takes no probability"),
        ("outage:users=1,nth=2", "takes no nth, users"),
        ("status:after=2", "takes no after"),
        ("clamp:size=0", "at least 1"),
    ],
)
def test_rules_that_mean_nothing_are_refused(rule: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_faults(rule)
