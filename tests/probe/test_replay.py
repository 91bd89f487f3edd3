"""A recording keeps the shape of an API, never a value; the sandbox rebuilds the API from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bytemark_sync.bytemark.names import is_name
from bytemark_sync.probe.recording import record, write
from bytemark_sync.sandbox import FaultRule, Sandbox
from bytemark_sync.sandbox.replay import load
from tests.support.probing import Probed, probe_url, riders_of, world_of

LISTS = (130, 25, 12, 3)


def replayed(found: Probed, path: Path) -> Probed:
    """Records, serves the recording, and probes again."""
    recording = record(found.seen)
    assert recording is not None
    write(recording, path)
    replay = load(path)
    options: dict[str, Any] = {"faults": replay.faults, "envelope": replay.envelope, "rejection": replay.rejection}
    with Sandbox(replay.world, **options) as sandbox:
        return probe_url(sandbox.url, riders_of(replay.world))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"envelope": "bare"},
        {"faults": "no_pagination"},
        {"faults": "total_count:form=absent"},
        {"faults": "total_count:form=small"},
        {"faults": "total_count:form=big;next:form=absent"},
        {"faults": "next:form=null"},
        {"faults": "next:form=always"},
        {"faults": "next:form=false"},
        {"faults": "clamp:size=20"},
        {"faults": "clamp:size=20;no_pagination"},
        {"rejection": FaultRule("errors", code=50020)},
        {"rejection": FaultRule("errors", code=50011)},
        {"rejection": FaultRule("raw", body='{"orders": []}')},
    ],
)
def test_a_probe_of_the_replay_gives_the_same_verdicts(options: dict[str, Any], tmp_path: Path) -> None:
    for newest_first in (True, False):
        world = world_of(*LISTS, newest_first=newest_first)
        with Sandbox(world, **options) as sandbox:
            found = probe_url(sandbox.url, riders_of(world))
        again = replayed(found, tmp_path / f"shape-{newest_first}.json")
        assert again.verdicts() == found.verdicts()
        assert again.recommended["BYTEMARK_PAGE_SIZE"] == found.recommended["BYTEMARK_PAGE_SIZE"]
        for name in ("list_order", "pass_uuid"):
            assert again.checks[name].seen.partition(":")[0] == found.checks[name].seen.partition(":")[0]


def test_a_list_in_no_order_stays_so(tmp_path: Path) -> None:
    world = world_of(*LISTS)
    world.orders.sort(key=lambda order: (order.user_id, int(order.order_uuid[-4:], 16) * 37 % 97, order.id))
    for number, order in enumerate(world.orders, start=1):
        order.id = number
    with Sandbox(world) as sandbox:
        found = probe_url(sandbox.url, riders_of(world))
    assert found.different() == {"list_order"}
    assert replayed(found, tmp_path / "shape.json").verdicts() == found.verdicts()


def test_further_members_are_served_with_their_types_and_times_in_order(tmp_path: Path) -> None:
    world = world_of(40, 25)
    for rider in world.riders:
        for place, order in enumerate(rider.orders):
            order.more = {
                "created_at": f"2026-0{9 - place // 10}-{28 - place % 10:02}T10:00:00Z",
                "email": "rider@example.org",
                "prices": {"rider@example.org": 5, "currency": "USD"},
            }
    world.orders = world.orders[:1]  # the portal's ids say nothing
    with Sandbox(world) as sandbox:
        found = probe_url(sandbox.url, [*riders_of(world)])
    assert found.checks["list_order"].seen.startswith("Newest first, by a creation time in the orders")
    assert "rider@" not in repr(found.checks)
    again = replayed(found, tmp_path / "shape.json")
    assert again.verdicts() == found.verdicts()
    assert again.checks["list_order"].seen == found.checks["list_order"].seen
    assert "prices.currency: text" in again.checks["order_shape"].seen
    assert "rider" not in (tmp_path / "shape.json").read_text().replace('"riders"', "")


def test_a_recording_holds_no_value(tmp_path: Path) -> None:
    world = world_of(*LISTS)
    with Sandbox(world) as sandbox:
        found = probe_url(sandbox.url, riders_of(world))
    for name in ("one.json", "two.json"):
        recording = record(found.seen)
        assert recording is not None
        write(recording, tmp_path / name)
    text = (tmp_path / "one.json").read_text()
    values = {
        value
        for rider in world.riders
        for order in rider.orders
        for value in (*rider.tokens, order.uuid, *(one for item in order.items for one in (item.product, *item.passes)))
    }
    assert not [value for value in values - {"product"} if value in text]
    assert not [word for word in ("FULFILLED", "USABLE", "Day pass", "key-501") if word in text]
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert one["riders"][0]["orders"][0]["uuid"]["mark"] != two["riders"][0]["orders"][0]["uuid"]["mark"]
    assert (tmp_path / "one.json").stat().st_mode & 0o077 == 0


def test_an_existing_file_is_kept_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    world = world_of(3)
    with Sandbox(world) as sandbox:
        recording = record(probe_url(sandbox.url, riders_of(world)).seen)
    assert recording is not None
    (tmp_path / "kept.json").write_text("mine")
    with pytest.raises(FileExistsError):
        write(recording, tmp_path / "kept.json")
    assert (tmp_path / "kept.json").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"riders": []}')
    with pytest.raises(msgspec.ValidationError):
        load(tmp_path / "x.json")


@pytest.mark.parametrize("name", ["uuid", "order_items", "x-ratelimit-limit", "createdAt", "address_line_1", "$type"])
def test_names_are_kept(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "3f2b8a10-0000-4000-a000-00000000000a",
        "deadbeefcafe",
        "12345",
        "rider@example.org",
        "sandbox-0123456789abcdef",
        "aGVsbG8gd29ybGQhIQ",
        "qwertyuiopasdfghjklzxcvbnm",
        "two words",
        "",
    ],
)
def test_names_that_look_like_data_are_not(name: str) -> None:
    assert not is_name(name)
