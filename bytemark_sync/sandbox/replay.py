"""A world, and the faults around it, of the shape that `bytemark_probe --record` has kept. All values are made up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from bytemark_sync.bytemark.account_errors import LoginCause
from bytemark_sync.probe.list_order import Direction
from bytemark_sync.probe.recording import FORMAT, RecordedOrder, RecordedRider, RecordedUuid, Recording
from bytemark_sync.probe.shape import Shape
from bytemark_sync.sandbox.faults import FaultRule
from bytemark_sync.sandbox.records import ListedItem, ListedOrder, PortalOrder, PortalToken, Rider
from bytemark_sync.sandbox.sample import token, uuid
from bytemark_sync.sandbox.wire import encode
from bytemark_sync.sandbox.world import World

FIRST_USER = 1001
OWN_MEMBERS = ("uuid", "order_items")
"""Members of an order that the sandbox makes from the world."""

REFUSALS: dict[str, FaultRule] = {
    LoginCause.CLIENT_REFUSED: FaultRule("refuse", reason="client"),
    LoginCause.UNCLEAR: FaultRule("refuse", reason="unclear"),
    LoginCause.NO_TOKEN: FaultRule("no_token", form="absent"),
}
"""How each login is refused. Unknown accounts and wrong passwords need no rule."""

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Replay:
    """What a `Sandbox` is made with."""

    world: World
    envelope: str
    faults: list[FaultRule]
    rejection: FaultRule


def load(path: str | Path) -> Replay:
    """Raises `OSError`, and `msgspec.MsgspecError` or `ValueError` for a file that is no recording."""
    recording = msgspec.json.decode(Path(path).read_bytes(), type=Recording)
    if recording.format != FORMAT:
        raise ValueError(f"a recording of format {recording.format}, not {FORMAT}")
    return Replay(_Maker(recording).world(), recording.envelope, _faults(recording), _rejection(recording))


def _faults(recording: Recording) -> list[FaultRule]:
    rules = []
    if recording.total_count:
        rules.append(FaultRule("total_count", form=recording.total_count))
    if recording.next:
        rules.append(FaultRule("next", form=recording.next))
    if recording.page_limit:
        rules.append(FaultRule("clamp", size=recording.page_limit))
    if recording.ignores_page:
        rules.append(FaultRule("ignore_page"))
    if recording.reorders:
        rules.append(FaultRule("reorder"))
    if recording.wrong_login_cause in REFUSALS:
        rules.append(REFUSALS[recording.wrong_login_cause])
    return rules


def _rejection(recording: Recording) -> FaultRule:
    status, code = recording.wrong_token_status, recording.wrong_token_code
    if not 200 <= status <= 299:
        return FaultRule("status", status=status, code=code)
    if code:
        return FaultRule("errors", status=status, code=code)
    return FaultRule("raw", status=status, body=encode({"data": {"orders": [], "total_count": 0}}).decode())


class _Maker:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._uuids: dict[str, str] = {}

    def world(self) -> World:
        world = World()
        for number, recorded in enumerate(self._recording.riders):
            self._add(world, FIRST_USER + number, recorded)
        return world

    def _add(self, world: World, user: int, recorded: RecordedRider) -> None:
        rng = Random(f"replay {user}")
        own = token(rng)
        orders = [self._order(rng, order) for order in recorded.orders]
        for number in range(recorded.length - len(orders) if orders else 0):
            like = recorded.orders[number % len(recorded.orders)]
            orders.append(self._order(rng, like, anew=f"{user} {number}"))
        for place, order in enumerate(orders):
            order.more = self._more(rng, place)
        ranked = sorted((order.rank, place) for place, order in enumerate(recorded.orders) if order.rank >= 0)
        for place in [place for _, place in ranked] or ([0] if orders else []):
            world.orders.append(PortalOrder(len(world.orders) + 1, orders[place].uuid, user, own))
        world.riders.append(Rider(user, [own], orders))
        world.tokens.append(PortalToken(user, own))

    def _order(self, rng: Random, order: RecordedOrder, anew: str = "") -> ListedOrder:
        """`anew` makes other orders and passes of the same shape."""
        items = [
            ListedItem(self._uuid(item.product), [self._uuid(one, anew) for one in item.passes]) for item in order.items
        ]
        return ListedOrder(self._uuid(order.uuid, anew), items, form="items_text" if order.malformed else "")

    def _uuid(self, recorded: RecordedUuid, anew: str = "") -> str:
        """The same text for the same hash."""
        key = f"{recorded.mark} {anew}"
        if key not in self._uuids:
            rng = Random(f"replay {key}")
            digits = "".join(rng.choice("0123456789abcdef") for _ in range(max(recorded.length, 1)))
            self._uuids[key] = uuid(rng) if recorded.rfc_4122 else digits
        return self._uuids[key]

    def _more(self, rng: Random, place: int) -> dict[str, Any]:
        """The members that an order had besides those of the world."""
        return {
            name: self._value(rng, shape, place)
            for name, shape in self._recording.order.members.items()
            if name not in OWN_MEMBERS
        }

    def _value(self, rng: Random, shape: Shape, place: int) -> Any:
        match max(shape.types, key=lambda kind: shape.types[kind], default="null"):
            case "time":
                return self._time(rng, place).isoformat()
            case "uuid":
                return uuid(rng)
            case "text":
                return "".join(rng.choice("etaoinshrdlu") for _ in range(max(shape.shortest, 0)))
            case "whole number":
                return rng.randrange(100)
            case "number":
                return rng.randrange(100) + 0.5
            case "boolean":
                return True
            case "list":
                entries = shape.entries or Shape()
                return [self._value(rng, entries, place) for _ in range(min(max(shape.shortest, 0), 20))]
            case "object":
                return {name: self._value(rng, inner, place) for name, inner in shape.members.items()}
            case _:
                return None

    def _time(self, rng: Random, place: int) -> datetime:
        """It rises or falls with the place in the list, as in the recorded lists."""
        match self._recording.list_order:
            case Direction.NEWEST_FIRST:
                return BEGIN - timedelta(hours=place)
            case Direction.OLDEST_FIRST:
                return BEGIN + timedelta(hours=place)
            case _:
                return BEGIN + timedelta(hours=rng.randrange(100_000))
