"""Each check, against a server that does what is assumed and against servers that do not."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import PendingUser
from bytemark_sync.sandbox import FaultRule, Sandbox
from bytemark_sync.sandbox.wire import encode
from tests.support.probing import probe_url, probe_world, riders_of, world_of

LISTS = (130, 25, 12, 3)


def test_an_api_as_assumed_differs_in_nothing() -> None:
    found = probe_world(world_of(*LISTS))
    assert (found.different(), found.unseen()) == (set(), set())
    assert found.recommended["BYTEMARK_PAGE_SIZE"] == 100
    assert found.checks["page_size"].advice == "Set BYTEMARK_PAGE_SIZE=100."
    assert "Newest first" in found.checks["list_order"].seen
    assert "58 characters" in found.checks["pass_uuid"].seen
    assert "order_items[].passes[].uuid: text" in found.checks["order_shape"].seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "different"),
    [
        ({"envelope": "bare"}, set()),
        ({"faults": "total_count:form=absent"}, {"total_count"}),
        ({"faults": "total_count:form=null"}, {"total_count"}),
        ({"faults": "total_count:form=text"}, set()),
        ({"faults": "total_count:form=small"}, {"total_count"}),
        ({"faults": "total_count:form=big"}, {"total_count"}),
        ({"faults": "next:form=absent"}, {"pagination_next"}),
        ({"faults": "next:form=null"}, {"pagination_next"}),
        ({"faults": "next:form=always"}, {"pagination_next"}),
        ({"faults": "next:form=path"}, set()),
        ({"faults": "next:form=false"}, set()),
        ({"faults": "no_pagination"}, {"total_count", "pagination_next"}),
        ({"faults": "clamp:size=20"}, {"page_size"}),
        ({"faults": "clamp:size=20;no_pagination"}, {"page_size", "total_count", "pagination_next"}),
        ({"faults": "reorder"}, {"list_order", "same_page_twice"}),
        ({"faults": "ignore_page"}, {"page_numbers", "total_count", "pagination_next"}),
        ({"faults": "malformed_order:form=uuid_number"}, {"order_shape"}),
        ({"rejection": FaultRule("errors", code=50020)}, set()),
        ({"rejection": FaultRule("status", status=403)}, set()),
        ({"rejection": FaultRule("errors", code=50011)}, {"wrong_token"}),
        ({"rejection": FaultRule("status", status=404)}, {"wrong_token"}),
        ({"faults": "not_json:nth=2"}, {"envelope"}),
    ],
)
def test_what_differs_is_named_and_nothing_else(options: dict[str, Any], different: set[str]) -> None:
    found = probe_world(world_of(*LISTS), **options)
    assert found.different() >= different
    if different & {"list_order", "order_shape", "page_numbers"}:
        return  # such a list makes other checks differ too, by chance
    assert found.different() == different


def test_a_list_that_answers_any_token_is_told() -> None:
    empty = encode({"data": {"orders": [], "total_count": 0}, "errors": []}).decode()
    found = probe_world(world_of(*LISTS), rejection=FaultRule("raw", body=empty))
    assert found.different() == {"wrong_token"}
    assert "HTTP 200 with 0 orders" in found.checks["wrong_token"].seen


def test_a_clamp_gives_the_size_that_is_really_filled() -> None:
    for more in ("", ";no_pagination"):
        found = probe_world(world_of(*LISTS), faults="clamp:size=20" + more)
        assert found.recommended["BYTEMARK_PAGE_SIZE"] == 20
        assert "The largest that is filled: 10." in found.checks["page_size"].seen
        assert found.checks["page_size"].advice == "Set BYTEMARK_PAGE_SIZE=20."


def test_lists_that_are_too_short_prove_no_more_than_they_fill() -> None:
    found = probe_world(world_of(35, 12))
    assert found.checks["page_size"].verdict == "holds"
    assert found.recommended["BYTEMARK_PAGE_SIZE"] == 30
    short = probe_world(world_of(3, 4))
    assert short.different() == set()
    assert {"page_size", "page_numbers", "pagination_next"} <= short.unseen()
    assert "BYTEMARK_PAGE_SIZE" not in short.recommended


def test_oldest_first_is_seen_by_the_ids_of_the_portal() -> None:
    check = probe_world(world_of(*LISTS, newest_first=False)).checks["list_order"]
    assert check.verdict == "holds"
    assert check.seen.startswith("Oldest first, by the ids of the portal's orders")


def test_an_order_that_nothing_tells_of_is_not_seen() -> None:
    world = world_of(*LISTS)
    world.orders = world.orders[:1]
    assert probe_world(world).checks["list_order"].verdict == "not seen"


def test_passes_with_ordinary_uuids_alone_are_said() -> None:
    assert probe_world(world_of(*LISTS, long_uuids=False)).unseen() == {"pass_uuid"}


def test_riders_whose_token_is_rejected_are_counted() -> None:
    world = world_of(*LISTS)
    riders = [PendingUser(one.user_id, (Token("stale"), *one.tokens), one.orders) for one in riders_of(world)]
    gone = PendingUser(9, (Token("gone-1"), Token("gone-2"), Token("gone-3")), ())
    found = probe_world(world)
    assert found.checks["token_accepted"].seen == "The tokens of 4 of 4 riders are accepted."
    with Sandbox(world) as sandbox:
        found = probe_url(sandbox.url, [gone, *riders])
        assert found.checks["token_accepted"].seen == "The tokens of 4 of 5 riders are accepted."
        found = probe_url(sandbox.url, [gone])
    assert found.different() == {"token_accepted"}
    assert len(found.seen.exchanges) == 3
    assert "gone" not in repr(found.checks)


def test_a_403_for_everybody_is_a_rejected_token() -> None:
    found = probe_world(world_of(*LISTS), faults="status:status=403")
    assert found.different() == {"token_accepted"}
    assert found.checks["reachable"].verdict == "holds"


def test_a_path_that_is_not_there_is_told() -> None:
    found = probe_world(world_of(*LISTS), faults="status:status=404")
    assert found.different() == {"envelope", "wrong_token"}
    assert found.checks["envelope"].advice == "Look at BYTEMARK_ORDERS_PATH."


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults", ["hang:seconds=2", "close", "status:status=500", "status:status=503,retry_after=1", "cut"]
)
def test_an_api_that_is_down_costs_three_requests(faults: str) -> None:
    found = probe_world(world_of(*LISTS), faults=faults, read_timeout=0.2)
    assert found.different() == {"reachable"}
    assert len(found.seen.exchanges) == 3
    assert found.recommended == {}


def test_nobody_listening_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = probe_url(f"http://127.0.0.1:{port}", riders_of(world_of(3)))
    assert found.different() == {"reachable"}
    assert "connection was refused" in found.checks["reachable"].seen


def test_an_api_that_goes_down_midway_keeps_what_was_seen() -> None:
    found = probe_world(world_of(*LISTS), faults="outage:after_requests=9,form=close")
    assert "reachable" in found.different()
    assert found.checks["token_accepted"].verdict == "holds"


def test_a_429_is_waited_for_as_told_and_said() -> None:
    found = probe_world(world_of(*LISTS), faults="status:status=429,retry_after=7,nth=2|3")
    assert found.different() == {"rate_limit"}
    assert found.waits == [7.0, 7.0]
    assert found.checks["rate_limit"].seen == "2 answers said 429, 2 with Retry-After; waited 14.0 s."
    found = probe_world(world_of(*LISTS), faults="status:status=429,retry_after=7,nth=2", requests_per_second=5)
    assert found.different() == set()


def test_a_429_for_ever_ends_the_probe() -> None:
    found = probe_world(world_of(*LISTS), faults="status:status=429")
    assert found.different() == {"reachable", "rate_limit"}
    assert len(found.seen.exchanges) < 12
    found = probe_world(world_of(*LISTS), faults="status:status=429,retry_after=3600")
    assert "too long for a probe" in found.checks["reachable"].seen


def test_very_long_lists_and_many_riders_stay_within_the_limit() -> None:
    found = probe_world(world_of(*[400] * 14))
    assert found.different() == set()
    assert len(found.seen.exchanges) <= 60
    assert found.checks["total_count"].seen.endswith("No list was counted to its end.")
