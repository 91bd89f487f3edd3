"""Each fault of the sandbox does on the wire what its name says: other tests lean on it."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest

from bytemark_sync.sandbox import FaultRule, Sandbox, World, parse_faults
from bytemark_sync.sandbox.faults import KINDS
from bytemark_sync.sandbox.wire import ERROR_FORMS, JUNK, WRONG_SHAPES
from tests.support.raw_http import RIDER, WORLD, ask, uuids


@pytest.fixture(scope="module")
def served() -> Iterator[Sandbox]:
    with Sandbox(WORLD) as sandbox:
        yield sandbox


@pytest.fixture
def faulty(served: Sandbox) -> Iterator[Sandbox]:
    served.reset()
    served.set_world(WORLD)
    yield served
    served.reset()


PLAIN = [order.uuid for order in RIDER.orders]


def test_pages_give_the_whole_list_once(faulty: Sandbox) -> None:
    pages = [ask(faulty, page) for page in (1, 2, 3, 4)]
    assert [uuid for page in pages for uuid in uuids(page)] == PLAIN
    inner = pages[2].json["data"]
    assert inner["total_count"] == 25
    assert inner["page_count"] == 5
    assert inner["pagination"] == {"page": 3, "per_page": 10, "next": None}
    assert pages[2].json["errors"] == []
    first = inner["orders"][0]
    listed = RIDER.orders[20]
    assert [item["product"]["uuid"] for item in first["order_items"]] == [item.product for item in listed.items]
    assert [one["uuid"] for one in first["order_items"][0]["passes"]] == listed.items[0].passes


def test_the_bare_envelope() -> None:
    with Sandbox(WORLD, envelope="bare") as sandbox:
        assert ask(sandbox).json["total_count"] == 25


@pytest.mark.parametrize("token", [None, "", "unknown", RIDER.tokens[0].upper()])
def test_only_a_known_bearer_token_is_let_in(faulty: Sandbox, token: str | None) -> None:
    raw = ask(faulty, token=token)
    assert raw.status == 401
    assert raw.json["errors"][0]["code"] == 50020


def test_a_rejection_can_come_on_http_200() -> None:
    with Sandbox(WORLD, rejection=FaultRule("errors", code=50032, form="string_code")) as sandbox:
        raw = ask(sandbox, token="unknown")
        assert raw.status == 200
        assert raw.json["errors"][0]["code"] == "50032"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 418, 429, 500, 502, 503, 599])
def test_statuses(faulty: Sandbox, status: int) -> None:
    faulty.set_faults(FaultRule("status", status=status))
    raw = ask(faulty)
    assert raw.status == status
    assert "retry-after" not in raw.headers


def test_retry_after_in_seconds_and_as_a_date(faulty: Sandbox) -> None:
    faulty.set_faults("status:status=429,retry_after=7")
    assert ask(faulty).headers["retry-after"] == "7"
    faulty.set_faults("status:status=503,retry_after=date+60")
    at = parsedate_to_datetime(ask(faulty).headers["retry-after"]).timestamp()
    assert 50 < at - time.time() < 61


@pytest.mark.parametrize("form", ERROR_FORMS)
def test_error_codes_on_http_200_in_every_form(faulty: Sandbox, form: str) -> None:
    faulty.set_faults(FaultRule("errors", code=50032, form=form))
    raw = ask(faulty)
    assert raw.status == 200
    assert b"50032" in raw.body


@pytest.mark.parametrize("form", WRONG_SHAPES)
def test_wrong_shapes(faulty: Sandbox, form: str) -> None:
    faulty.set_faults(FaultRule("wrong_shape", form=form))
    assert json.loads(ask(faulty).body) == WRONG_SHAPES[form]


def test_a_redirect_and_whoever_follows_it_is_recorded(faulty: Sandbox) -> None:
    faulty.set_faults("redirect:status=307")
    raw = ask(faulty)
    assert (raw.status, raw.headers["location"]) == (307, "/elsewhere")
    assert faulty.stats().elsewhere == 0
    host, port = urlsplit(faulty.url).netloc.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /elsewhere HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 404")
    assert (faulty.stats().elsewhere, faulty.stats().elsewhere_with_authorization) == (1, 1)


def test_hang_close_and_reset(faulty: Sandbox) -> None:
    faulty.set_faults("hang")
    hanging = ask(faulty, seconds=0.3)
    assert (hanging.head, hanging.closed, hanging.reset) == ("", False, False)
    faulty.set_faults("hang:seconds=0.1")
    assert ask(faulty).closed
    faulty.set_faults("close")
    closed = ask(faulty)
    assert (closed.head, closed.closed) == ("", True)
    faulty.set_faults("reset")
    assert ask(faulty).reset
    faulty.set_faults("reset:size=300")
    partly = ask(faulty)
    assert partly.reset
    assert partly.status == 200


def test_drips_arrive_bit_by_bit(faulty: Sandbox) -> None:
    faulty.set_faults("drip_headers:seconds=0.005")
    head = ask(faulty, seconds=5)
    assert uuids(head) == PLAIN[:10]
    assert head.seconds > 0.3
    faulty.set_faults("drip_body:seconds=0.05")
    host, port = urlsplit(faulty.url).netloc.split(":")
    request = f"GET /v4.0/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {RIDER.tokens[0]}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=2) as connection:
        connection.sendall(request.encode())
        raw = b""
        while len(raw.partition(b"\r\n\r\n")[2]) < 5:
            raw += connection.recv(65536)
        assert len(raw.partition(b"\r\n\r\n")[2]) < 100


def test_cut_bodies(faulty: Sandbox) -> None:
    whole = len(ask(faulty).body)
    faulty.set_faults("cut")
    cut = ask(faulty)
    assert int(cut.headers["content-length"]) == whole
    assert len(cut.body) == whole - whole // 2
    assert cut.closed
    faulty.set_faults("cut_chunked")
    chunked = ask(faulty)
    assert chunked.headers["transfer-encoding"] == "chunked"
    assert not chunked.body.endswith(b"0\r\n\r\n")
    assert chunked.closed
    faulty.set_faults("half_json")
    half = ask(faulty)
    assert len(half.body) == int(half.headers["content-length"]) == whole // 2


def test_bodies_that_are_no_page(faulty: Sandbox) -> None:
    faulty.set_faults("empty")
    assert (ask(faulty).status, ask(faulty).body) == (200, b"")
    faulty.set_faults("not_json")
    assert ask(faulty).body.startswith(b"<!doctype html>")
    faulty.set_faults("oversize")
    assert len(ask(faulty, seconds=10).body) == 9 * 1024 * 1024
    faulty.set_faults("gzip_bomb")
    bomb = ask(faulty).body
    assert len(bomb) < 100_000
    assert len(gzip.decompress(bomb)) == 9 * 1024 * 1024
    faulty.set_faults(FaultRule("raw", status=201, data=b'{"a": "\xed\xa0\x80"}'))
    assert (ask(faulty).status, ask(faulty).body) == (201, b'{"a": "\xed\xa0\x80"}')


def test_other_ways_to_send_a_good_answer(faulty: Sandbox) -> None:
    plain = ask(faulty).body
    faulty.set_faults("gzip")
    packed = ask(faulty)
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain
    faulty.set_faults("chunked")
    chunked = ask(faulty)
    assert chunked.headers["transfer-encoding"] == "chunked"
    assert chunked.body.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("form", JUNK)
def test_junk_among_the_orders_leaves_the_others(faulty: Sandbox, form: str) -> None:
    faulty.set_faults(FaultRule("malformed_order", form=form))
    orders = ask(faulty).json["data"]["orders"]
    assert orders[0] == JUNK[form]
    assert [order["uuid"] for order in orders[1:]] == PLAIN[:10]


def test_servers_that_cannot_page(faulty: Sandbox) -> None:
    faulty.set_faults("ignore_page")
    assert uuids(ask(faulty, 3)) == PLAIN[:10]
    faulty.set_faults("repeat_page:pages=2")
    assert [uuids(ask(faulty, page)) for page in (1, 2, 3)] == [PLAIN[:10], PLAIN[:10], PLAIN[20:]]
    faulty.set_faults("reorder")
    assert uuids(ask(faulty)) != uuids(ask(faulty))
    faulty.set_faults("grow")
    first, second = ask(faulty, 1), ask(faulty, 2)
    assert uuids(first)[1:] == PLAIN[:9]
    assert uuids(second) == PLAIN[8:18]  # two have come by now, so two of page 1 are seen again
    assert second.json["data"]["total_count"] == 27
    faulty.set_faults("no_pagination")
    assert list(ask(faulty).json["data"]) == ["orders"]


@pytest.mark.parametrize(
    ("form", "value"), [("big", 1025), ("small", 13), ("text", "25"), ("null", None), ("negative", -1), ("float", 25.5)]
)
def test_lies_about_the_total(faulty: Sandbox, form: str, value: object) -> None:
    faulty.set_faults(f"total_count:form={form}")
    assert ask(faulty).json["data"]["total_count"] == value


def test_an_absent_total(faulty: Sandbox) -> None:
    faulty.set_faults("total_count:form=absent")
    assert "total_count" not in ask(faulty).json["data"]


def test_latency_with_jitter(faulty: Sandbox) -> None:
    faulty.set_faults("latency:seconds=0.1,jitter=0.05")
    assert 0.1 <= ask(faulty).seconds < 30


def test_rules_choose_their_requests(faulty: Sandbox) -> None:
    faulty.set_faults("status:status=500,nth=2|4")
    assert [ask(faulty).status for _ in range(5)] == [200, 500, 200, 500, 200]
    faulty.set_faults("status:status=500,times=2")
    assert [ask(faulty).status for _ in range(3)] == [500, 500, 200]
    faulty.set_faults(f"status:status=500,users={WORLD.riders[1].user_id},pages=2")
    other = WORLD.riders[1].tokens[0]
    assert [ask(faulty, 2).status, ask(faulty, 1, token=other).status, ask(faulty, 2, token=other).status] == [
        200,
        200,
        500,
    ]
    faulty.set_faults("status:status=500,times_per_user=1")
    assert [ask(faulty).status, ask(faulty).status, ask(faulty, token=other).status] == [500, 200, 500]
    faulty.set_faults("status:status=500,nth=1;status:status=502")
    assert [ask(faulty).status, ask(faulty).status] == [500, 502]


def test_chance_is_the_same_for_the_same_seed_whatever_the_order() -> None:
    def drawn(pages: list[int], seed: int) -> dict[int, int]:
        with Sandbox(WORLD, faults="status:probability=0.5", seed=seed) as sandbox:
            return {page: ask(sandbox, page).status for page in pages}

    forward = drawn(list(range(1, 31)), seed=1)
    assert forward == drawn(list(range(30, 0, -1)), seed=1)
    assert forward != drawn(list(range(1, 31)), seed=2)
    assert {200, 500} == set(forward.values())


def test_counts_and_requests_without_tokens(faulty: Sandbox) -> None:
    faulty.set_faults("status:status=503,nth=1")
    for page in (1, 1, 2):
        ask(faulty, page)
    ask(faulty, token="another")
    stats = faulty.stats()
    assert (stats.requests, stats.connections, stats.concurrent, stats.max_concurrent) == (4, 4, 0, 1)
    assert stats.pages == {"1": 3, "2": 1}
    assert stats.statuses == {"503": 1, "200": 2, "401": 1}
    assert stats.users == {str(RIDER.user_id): 3}
    assert sorted(stats.tokens.values()) == [1, 3]
    assert stats.faults == {"status": 1}
    assert [seen.fault for seen in faulty.requests()] == ["status", "", "", ""]
    assert RIDER.tokens[0] not in repr(stats) + repr(faulty.requests())


def test_the_list_can_be_changed_while_it_serves(faulty: Sandbox) -> None:
    changed = World.sample(users=3, listed=(25, 25), seed=6)
    faulty.set_world(changed)
    assert ask(faulty).status == 401
    assert ask(faulty, token=changed.riders[0].tokens[0]).status == 200


def test_requests_side_by_side_share_a_kept_connection(faulty: Sandbox) -> None:
    host, port = urlsplit(faulty.url).netloc.split(":")
    request = f"GET /v4.0/orders?page=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {RIDER.tokens[0]}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=2) as connection:
        connection.sendall(request.encode() * 3)
        raw = b""
        while raw.count(b"HTTP/1.1 200") < 3:
            raw += connection.recv(65536)
    assert faulty.stats().requests == 3


def test_every_kind_is_understood_and_others_are_refused() -> None:
    assert [rule.kind for rule in parse_faults(";".join(KINDS))] == list(KINDS)
    assert parse_faults('[{"kind": "hang", "nth": [1]}]') == parse_faults("hang:nth=1")
    for wrong in ("nonsense", "status:status=x", "status:colour=1", "status:status", "wrong_shape:form=x", "[1]", "{"):
        with pytest.raises(ValueError, match=r".+"):
            parse_faults(wrong)
