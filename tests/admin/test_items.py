"""The pass inventory and its export."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bytemark_sync.admin.csv_export import ROWS_PER_PAGE
from bytemark_sync.models import Order, OrderItem, StoredOrder
from tests.support.admin_data import PRODUCTS, Filled

HEADER = ("item_id", "order_id", "order_uuid", "user_id", "product_uuid", "pass_uuid", "stored_at", "run_id")
ITEMS = "/admin/bytemark_sync/orderitem/"


def shown(client: Client, query: str = "") -> set[int]:
    """The keys on all pages of the list."""
    pages = client.get(f"{ITEMS}{query}").context["cl"].paginator.num_pages
    sign = "&" if query else "?"
    lists = [client.get(f"{ITEMS}{query}{sign}p={page}").context["cl"] for page in range(1, pages + 1)]
    return {item.pk for cl in lists for item in cl.result_list}


def exported(client: Client, query: str = "") -> list[dict[str, str]]:
    response = client.get(f"{ITEMS}export/{query}")
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/csv")
    assert "attachment" in response["Content-Disposition"]
    assert response.streaming
    return list(csv.DictReader(io.StringIO(response.getvalue().decode())))


def test_the_export_is_what_is_filtered(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("viewer")
    rows = exported(client)
    assert tuple(rows[0]) == HEADER
    assert {int(row["item_id"]) for row in rows} == set(OrderItem.objects.values_list("pk", flat=True))
    one = OrderItem.objects.select_related("order").get(pk=int(rows[0]["item_id"]))
    stored = StoredOrder.objects.get(order=one.order_id)
    assert rows[0]["pass_uuid"] == one.pass_uuid
    assert rows[0]["user_id"] == str(one.order.user_id)
    assert rows[0]["run_id"] == str(stored.run_id)

    product = exported(client, f"?product={PRODUCTS[1]}")
    assert {row["product_uuid"] for row in product} == {PRODUCTS[1]}
    assert len(product) == OrderItem.objects.filter(product_uuid=PRODUCTS[1]).count()
    assert exported(client, f"?q={one.pass_uuid}") == [rows[0]]
    yesterday = timezone.localdate() - timedelta(days=1)
    day = exported(client, f"?day={yesterday.isoformat()}")
    assert {row["stored_at"][:10] for row in day} <= {yesterday.isoformat()}
    assert exported(client, "?order=999999") == []
    assert client.get(f"{ITEMS}export/?oauth_token__startswith=r").status_code == 400


def test_it_is_read_in_pages_and_each_row_once(logged_in: Callable[[str], Client], filled: Filled) -> None:
    order = filled.stored[0]
    item = {"order": order, "order_uuid": "x", "oauth_token": "made-up", "product_uuid": "many"}
    count = 2 * ROWS_PER_PAGE + 7
    OrderItem.objects.bulk_create(OrderItem(pass_uuid=f"pass-{n}", **item) for n in range(count))
    client = logged_in("viewer")
    with CaptureQueriesContext(connection) as queries:
        rows = exported(client, "?product=many")
    assert len(rows) == count
    assert len({row["item_id"] for row in rows}) == count
    assert len([each for each in queries if f"LIMIT {ROWS_PER_PAGE}" in each["sql"]]) == 3


@pytest.mark.slow
def test_an_item_whose_order_is_gone_is_in_the_list_and_in_the_file(
    logged_in: Callable[[str], Client], filled: Filled
) -> None:
    client = logged_in("viewer")
    order = filled.stored[0]
    items = set(OrderItem.objects.filter(order=order).values_list("pk", flat=True))
    day = timezone.localdate(StoredOrder.objects.get(order=order).stored_at).isoformat()
    Order.objects.filter(pk=order.pk).delete()
    for query in ("", f"?day={day}", f"?order={order.pk}"):
        rows = {int(row["item_id"]): row for row in exported(client, query)}
        assert items <= set(rows), query
        assert {rows[pk]["user_id"] for pk in items} == {""}
        assert shown(client, query) == set(rows), query


def test_no_cell_is_a_formula(logged_in: Callable[[str], Client], filled: Filled) -> None:
    order = filled.stored[0]
    formulas = ("=1+1", "+1", "-1", "@x", "\tx", "\n=1", "\nx", "\rx", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20x")
    # A spreadsheet that takes another mark for the separator begins a new cell behind it, quoted or not.
    inner = ("x;=1+1", "x,-1", "x\t@y", 'x"=1', "x\n+1", "x;\uff1d1", "x|=1")
    harmless = ("a-1", "a=1", "day-pass-7f31", "a; b, c: -d")
    for text in (*formulas, *inner, *harmless):
        OrderItem.objects.create(
            order=order, order_uuid="u", oauth_token="made-up", product_uuid="evil", pass_uuid=text
        )
    cells = {row["pass_uuid"] for row in exported(logged_in("viewer"), "?product=evil")}
    guarded = {"x;'=1+1", "x,'-1", "x\t'@y", "x\"'=1", "x\n'+1", "x;'\uff1d1", "x|'=1"}
    assert cells == {f"'{text}" for text in formulas} - {"'\n=1"} | {"'\n'=1"} | guarded | set(harmless)


def test_the_list_has_its_charts_and_links(logged_in: Callable[[str], Client], filled: Filled) -> None:
    html = logged_in("viewer").get(ITEMS).content.decode()
    counts = {product: OrderItem.objects.filter(product_uuid=product).count() for product in PRODUCTS}
    for product, count in counts.items():
        assert f"{product} {count}" in html
    order = OrderItem.objects.order_by("-pk")[0].order_id
    assert f"/admin/bytemark_sync/order/{order}/change/" in html
    filtered = logged_in("viewer").get(f"{ITEMS}?product={PRODUCTS[0]}").content.decode()
    assert f"{ITEMS}export/?product={PRODUCTS[0]}" in filtered
