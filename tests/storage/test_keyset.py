"""Reading by keys: each user once, however rows move meanwhile; ids that our tables cannot hold are passed over."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from django.utils import timezone

from bytemark_sync.audit import selection
from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.models import Order, OrderItem, OrderToken
from bytemark_sync.storage import keyset, pending
from tests.support.harness import manage
from tests.support.scenario import MakeScenario, simple_world

HUGE = (2**63, 2**64 - 1)


@pytest.mark.django_db
def test_each_user_is_handed_out_once_however_rows_move_between_the_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bytemark_sync.storage.keyset.ORDERS_PER_GROUP", 2)
    monkeypatch.setattr("bytemark_sync.storage.keyset.KEYS_PER_WINDOW", 6)
    for user in range(1, 9):
        OrderToken.objects.create(user_id=user, token=f"key-{user}")
        Order.objects.bulk_create(Order(order_uuid=f"{user}-{n}", user_id=user, amount="0") for n in range(2))
    moves = {2: (3, None), 4: (5, 1), 6: (7, 8)}  # with this user in hand, the orders of one go to another

    def walk(users: Iterable[object]) -> list[tuple[int, tuple[str, ...]]]:
        seen = []
        for due in users:
            if not isinstance(due, pending.DueUser):
                continue
            user = due.pending.user_id
            seen.append((user, tuple(order.uuid for order in due.pending.orders)))
            if user in moves:
                old, new = moves[user]
                Order.objects.filter(user_id=old).update(user_id=new)
        return seen

    first = walk(pending.stream(Scope(), now=timezone.now()))
    assert [user for user, _ in first] == [1, 2, 4, 6, 8]
    assert all(uuid.startswith(f"{user}-") for user, uuids in first for uuid in uuids if uuid)
    moves = {}
    again = {user: len(uuids) for user, uuids in walk(pending.stream(Scope(), now=timezone.now()))}
    assert again == {1: 4, 2: 2, 4: 2, 6: 2, 8: 4}


@pytest.mark.django_db
def test_an_audit_hands_each_user_out_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bytemark_sync.storage.keyset.ORDERS_PER_GROUP", 2)
    for user in range(1, 6):
        for n in range(2):
            order = Order.objects.create(order_uuid=f"{user}-{n}", user_id=user, amount="0")
            OrderItem.objects.create(order=order, order_uuid="x", oauth_token="k", product_uuid="p", pass_uuid="q")
    seen = []
    for due in selection.audit_stream(AuditScope()):
        seen.append(due.pending.user_id)
        if due.pending.user_id == 1:
            Order.objects.filter(user_id=2).update(user_id=4)
            Order.objects.filter(user_id=3).update(user_id=None)
    assert seen == [1, 4, 5]


def test_ids_beyond_what_a_table_can_hold_cost_nobody_else(server_scenario: MakeScenario) -> None:
    at = server_scenario(simple_world(users=3, orders=2))
    for table in ("orders", "tokens"):
        at.portal.execute(f"ALTER TABLE bytemark_{table} MODIFY user_id BIGINT UNSIGNED")
    at.portal.execute("ALTER TABLE bytemark_orders MODIFY id BIGINT UNSIGNED AUTO_INCREMENT")
    for number, huge in enumerate(HUGE):
        at.portal.execute("INSERT INTO bytemark_tokens (user_id, token) VALUES (%s, 'key-101')", huge)
        for order, user in ((huge, 101), (50 + number, huge)):
            at.portal.execute(
                "INSERT INTO bytemark_orders (id, order_uuid, user_id, oauth_token, amount) "
                "VALUES (%s, %s, %s, 'key-101', '0')",
                *(order, f"huge-{order}", user),
            )
    done = at.sync("--json")
    assert (done.status, done.json["status"], done.json["orders_synced"]) == (0, "succeeded", 6), done.stderr
    assert "4 orders are passed over: an id of theirs does not fit" in done.stderr
    named = at.sync("--json", "--user", 101, "--user", 2**63, "--order", "huge-50", "--include-deferred")
    assert (named.status, named.json["orders"]) == (0, 0)
    assert "order huge-50: nothing pending" in named.stderr
    assert at.portal.reasons() == {}
    at.portal.execute(
        "INSERT INTO bytemark_order_items (order_id, order_uuid, oauth_token, product_uuid, pass_uuid) "
        "VALUES (50, 'huge-50', 'key-101', 'p', 'q')"
    )
    audited = manage("audit_order_items", "--json", database_url=at.url, env=at.env())
    assert (audited.status, audited.json["orders"]) == (0, 6), audited.stderr


# --- The parts --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_keys_come_in_order_over_windows_of_any_size_and_begin_after_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    users = [3, 1, None, 3, 2, 3, -4, 2]
    Order.objects.bulk_create(Order(id=n, order_uuid="o", user_id=user) for n, user in enumerate(users, 1))
    whole = [(-4, 7), (1, 2), (2, 5), (2, 8), (3, 1), (3, 4), (3, 6)]
    for size in range(1, 9):
        monkeypatch.setattr(keyset, "KEYS_PER_WINDOW", size)
        assert list(keyset.keys_of_all(Order.objects.all(), None)) == whole
        assert list(keyset.keys_of_all(Order.objects.all(), 1)) == whole[2:]
        assert list(keyset.keys_of_all(Order.objects.all(), 3)) == []


def test_no_user_is_split_over_two_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyset, "ORDERS_PER_GROUP", 2)
    keys = [(1, 10), (2, 11), (2, 12), (2, 13), (3, 14)]
    assert list(keyset.groups(keys)) == [{10: 1, 11: 2, 12: 2, 13: 2}, {14: 3}]
    assert list(keyset.groups([])) == []


@pytest.mark.django_db
def test_orders_are_named_by_uuids_in_any_writing_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyset, "IDS_PER_QUERY", 1)
    for number, uuid in enumerate((" ABC ", "abc", "def", "", None), 1):
        Order.objects.create(id=number, order_uuid=uuid, user_id=7)
    named = keyset.named_by(Order.objects.all(), ["Abc", "abc ", "DEF", "  ", "none"], "id")
    assert sorted(named) == [("abc", 1), ("abc", 2), ("def", 3)]


@pytest.mark.django_db
def test_tokens_come_newest_first_and_are_tried_once_without_blanks() -> None:
    for user_id, token in ((7, "old"), (8, "other"), (7, None), (7, " new ")):
        OrderToken.objects.create(user_id=user_id, token=token)
    tokens = keyset.tokens_of([7, 9])
    assert tokens == {7: [" new ", None, "old"]}
    tried = keyset.candidates(["old", *tokens[7], "", "  "])
    assert [token.reveal() for token in tried] == ["old", "new"]


@pytest.mark.parametrize(("number", "is_held"), [(2**63 - 1, True), (2**63, False), (-(2**63), True), (0, True)])
def test_ids_of_64_bits_with_a_sign_are_held(number: int, is_held: bool) -> None:
    assert keyset.fits(number) == is_held
    assert list(keyset.usable([(None, 1), (number, 2), (3, number)])) == ([(number, 2), (3, number)] if is_held else [])
