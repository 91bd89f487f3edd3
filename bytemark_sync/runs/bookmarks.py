"""How far each unfinished user of a batch has got, kept from one try to the next in a JSON column of the batch.

A user is in it from the first settled order or the first page read until the user is done. So the next try counts no
order twice, and continues a long list where the last try stopped. Of the token only a keyed hash is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from django.utils.crypto import constant_time_compare, salted_hmac

from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import Bookmark, PendingUser
from bytemark_sync.storage.pending import DueUser, ReadUpTo

Bookmarks = dict[str, dict[str, Any]]
"""User id -> the fields of `Bookmark`, plus `orders`: the ids of the orders still to look for."""


def with_bookmarks(read: Iterable[DueUser | ReadUpTo], bookmarks: Bookmarks) -> Iterator[DueUser | ReadUpTo]:
    """Pass on what was read. A user with a bookmark continues from it, with only the orders still to look for."""
    for each in read:
        kept = bookmarks.get(str(each.pending.user_id)) if isinstance(each, DueUser) else None
        if isinstance(each, DueUser) and kept is not None:
            yield replace(each, pending=_at_bookmark(each.pending, kept))
        else:
            yield each


def _at_bookmark(user: PendingUser, kept: Mapping[str, Any]) -> PendingUser:
    """The user as the bookmark has it.

    Orders that became pending since then wait for the next run: the pages already read may have listed them.
    """
    still = set(kept["orders"])
    # A newer version's cluster beside this one may have kept more.
    bookmark = Bookmark(**{field.name: kept[field.name] for field in fields(Bookmark) if field.name in kept})
    token = next((one for one in user.tokens if constant_time_compare(_hash(one), kept["token"])), None)
    if token is None:  # nothing was read, or the token is gone: another token's list begins at page 1
        bookmark = Bookmark(attempts=bookmark.attempts, pages=bookmark.pages)
    return replace(
        user, orders=tuple(one for one in user.orders if one.id in still), bookmark=replace(bookmark, token=token)
    )


def moved(
    bookmarks: Bookmarks,
    *,
    wanted: Mapping[int, Collection[int]],
    settled: Mapping[int, Collection[int]],
    broken_off: Mapping[int, Bookmark],
    done: Collection[int],
) -> Bookmarks:
    """The bookmarks after a transaction that settles the orders in `settled`.

    `wanted` has all the orders that were looked for. The three mappings are by user id.
    """
    after = {user_id: kept for user_id, kept in bookmarks.items() if int(user_id) not in done}
    for user_id in {*settled, *broken_off}.difference(done):
        kept = after.get(str(user_id)) or _to_json(Bookmark(), wanted[user_id])
        if user_id in broken_off:
            kept = _to_json(broken_off[user_id], kept["orders"])
        gone = settled.get(user_id, ())
        after[str(user_id)] = kept | {"orders": [order_id for order_id in kept["orders"] if order_id not in gone]}
    return after


def pages_read(bookmarks: Bookmarks) -> int:
    """Pages read over all users and tries. The number grows with every try that makes progress."""
    return sum(kept["pages"] for kept in bookmarks.values())


def _to_json(bookmark: Bookmark, orders: Collection[int]) -> dict[str, Any]:
    fields = asdict(replace(bookmark, token=None))
    return fields | {"token": _hash(bookmark.token) if bookmark.token else "", "orders": list(orders)}


def _hash(token: Token) -> str:
    return salted_hmac("bytemark_sync.runs.bookmarks", token.reveal(), algorithm="sha256").hexdigest()[:32]
