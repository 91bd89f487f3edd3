"""Sample riders and orders from a seed. The same numbers give the same world on every machine."""

from __future__ import annotations

from random import Random

from bytemark_sync.sandbox.records import ListedItem, ListedOrder, PortalOrder, PortalToken, Records, Rider
from bytemark_sync.sandbox.wire import FORMS

BY_FORM = tuple(dict.fromkeys(form.reason.value for form in FORMS.values()))
"""The reasons that follow from the form in which an order is listed. Each is a trouble of its name."""

TROUBLES = (
    "not_listed",
    "without_passes",
    "stale_token",
    "all_stale",
    *BY_FORM,
    "no_token",
    "other_spelling",
    "listed_twice",
    "mixed_tokens",
    "wrong_password",
)
"""What can be wrong with a user. Users with trouble get these in turn, so that a small world has all of them.

A run that renews tokens mends `all_stale` and `no_token`, where the riders have accounts.
"""

NOISE = ("paid", "no_token_row", "stored", "amount_0.00")
"""Kinds of orders that are not pending. A world with trouble has some of each."""


def fill(
    world: Records,
    *,
    users: int,
    orders_per_user: int,
    listed: tuple[int, int],
    seed: int,
    trouble: float,
    accounts: bool = False,
) -> None:
    """Add `users` with `orders_per_user` pending orders each, among `listed` (from, to) orders at Bytemark.

    `accounts`: each has an e-mail and a password, made up, that the portal's rows hold.
    """
    rng = Random(f"world {seed}")
    world.seed = seed
    troubled = round(users * trouble)
    every = users / troubled if troubled else 0.0
    kinds: dict[int, str] = {int(n * every): TROUBLES[n % len(TROUBLES)] for n in range(troubled)}
    products = [uuid(Random(f"product {seed} {n}")) for n in range(8)]
    for number in range(users):
        _add_user(world, rng, 1001 + number, products, orders_per_user, listed, kinds.get(number, ""))
    if troubled:
        for number in range(max(4, users // 10)):
            _add_noise(world, rng, 1001 + users + number, NOISE[number % len(NOISE)])

    if accounts:
        add_accounts(world)


def add_accounts(world: Records) -> None:
    """An account for each rider, and the portal's rows hold it. Drawn apart, so that all else stays as it is."""
    for rider in world.riders:
        rng = Random(f"account {world.seed} {rider.user_id}")
        rider.email = f"rider-{rng.getrandbits(48):012x}@sandbox.invalid"
        rider.password = f"sandbox-password-{rng.getrandbits(96):024x}"
    known = {rider.user_id: rider for rider in world.riders}
    wrong = {order.user_id for order in world.orders if order.kind == "wrong_password"}
    for row in world.tokens:
        if (owner := known.get(row.user_id)) is not None:
            row.email = owner.email
            row.password = f"{owner.password}-old" if row.user_id in wrong else owner.password


def token(rng: Random) -> str:
    return f"sandbox-{rng.getrandbits(128):032x}"


def uuid(rng: Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def listed_order(rng: Random, products: list[str]) -> ListedOrder:
    """One or two products with one to three passes each; sometimes a long pass uuid, as Bytemark has sent."""
    items = []
    for product in rng.sample(products, rng.choice((1, 1, 1, 2))):
        passes = [uuid(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
        if rng.random() < 0.05:
            passes[0] = f"{passes[0]}-{rng.getrandbits(84):021x}"
        items.append(ListedItem(product, passes))
    return ListedOrder(uuid(rng), items)


def _add_user(
    world: Records,
    rng: Random,
    user: int,
    products: list[str],
    wanted: int,
    listed: tuple[int, int],
    trouble: str,
) -> None:
    good, stale = token(rng), token(rng)
    orders = [listed_order(rng, products) for _ in range(max(wanted, rng.randint(*listed)))]
    rider = Rider(user, [good], orders)
    places = sorted(rng.sample(range(len(orders)), wanted))
    order_token = {"stale_token": stale, "all_stale": stale, "wrong_password": stale, "no_token": ""}.get(trouble, good)
    first = len(world.orders) + 1
    for number, place in enumerate(places):
        kind = trouble or "listed"
        row = PortalOrder(first + number, orders[place].uuid, user, order_token, kind=kind)
        if number == 0 and trouble:
            _spoil(rng, orders, place, row, stale)
        elif trouble in ("not_listed", "without_passes", *BY_FORM, "other_spelling", "listed_twice"):
            row.kind = "listed"  # these troubles are one order's, the user's others are sound
        world.orders.append(row)
    current = {"all_stale": token(rng), "wrong_password": token(rng), "no_token": ""}.get(trouble, good)
    world.tokens.append(PortalToken(user, current))
    if rng.random() < 0.1:
        world.tokens.append(PortalToken(user, ""))
    world.riders.append(rider)


def _spoil(rng: Random, orders: list[ListedOrder], place: int, row: PortalOrder, stale: str) -> None:
    """Give the user's first order its trouble."""
    order = orders[place]
    match row.kind:
        case "not_listed":
            row.order_uuid = uuid(rng)
        case "without_passes":
            order.items = [ListedItem(order.items[0].product, [])] if rng.random() < 0.5 else []
        case "other_spelling":
            row.order_uuid = f" {row.order_uuid.upper()} "
        case "listed_twice":
            order.items.append(ListedItem(order.items[0].product, list(order.items[0].passes)))
            orders.append(order)
        case "mixed_tokens":
            row.oauth_token = stale
        case reason if reason in BY_FORM:
            order.form = rng.choice(sorted(name for name, form in FORMS.items() if form.reason == reason))


def _add_noise(world: Records, rng: Random, user: int, kind: str) -> None:
    good = token(rng)
    order = listed_order(rng, [uuid(rng), uuid(rng)])
    row = PortalOrder(len(world.orders) + 1, order.uuid, user, good, kind=kind)
    row.amount = {"paid": "2.50", "amount_0.00": "0.00"}.get(kind, "0")
    if kind == "stored":
        row.stored = order.items
    world.orders.append(row)
    world.riders.append(Rider(user, [good], [order]))
    if kind != "no_token_row":
        world.tokens.append(PortalToken(user, good))
