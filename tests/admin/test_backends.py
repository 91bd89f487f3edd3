"""Every list on both engines, under a time zone that the database does not know."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.harness import Finished, Portal, as_owner, drop_indexes, manage

CODE = """
from django.contrib.auth.models import User
from django.test import Client
User.objects.create_superuser("root", "", "a-made-up-password")
client = Client(headers={"host": "127.0.0.1"})
client.force_login(User.objects.get(), backend="django.contrib.auth.backends.ModelBackend")
A = "/admin/bytemark_sync/"
for url in (
    "/admin/", A + "pendingorder/", A + "pendingorder/?reason=never_tried", A + "pendingorder/?age=day",
    A + "pendingorder/?deferred=yes", A + "pendingorder/resync/?deferred=yes&reason=not_found",
    A + "pendingorder/?q=5001", A + "pendingorder/resync/?reason=api_error", A + "portaluser/?reason=no_token",
    A + "portaluser/?token_is=missing", A + "portaluser/?token_is=present", A + "portaluser/?token_is=needed",
    A + "portaluser/export/", A + "order/", A + "orderitem/", A + "orderitem/?product=day-pass-7f31",
    A + "orderitem/?day=" + __import__("django.utils.timezone").utils.timezone.localdate().isoformat(),
    A + "orderattempt/?reason=api_error", A + "syncrun/", "/admin/django_q/schedule/", "/admin/django_q/ormq/",
):
    response = client.get(url)
    print(response.status_code, url)
html = client.get("/admin/").content.decode()
print("pending", ">28<" in html.replace(" ", "").replace(chr(10), ""))
import re
words = re.findall(r'aria-label="(Items stored per day[^"]*)"', client.get(A + "orderitem/").content.decode())
print("chart", words)
print("lines", len(b"".join(client.get(A + "orderitem/export/").streaming_content).splitlines()))
"""


def fill(portal: Portal) -> None:
    code = "from tests.support.admin_data import fill; fill(days=5)"
    done = manage("shell", "-v", "0", "-c", code, database_url=as_owner(portal.url))
    assert done.status == 0, done.stderr


def test_every_list_works(run_manage: Callable[..., Finished], portal: Portal) -> None:
    env = {"TIME_ZONE": "Asia/Kathmandu", "DEBUG": "0", "SECRET_KEY": "made-up " * 8, "ALLOWED_HOSTS": "127.0.0.1"}
    fill(portal)
    done = run_manage("shell", "-v", "0", "-c", CODE, env=env)
    assert done.status == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert [line for line in lines if line[:3].isdigit() and not line.startswith("200 ")] == []
    assert "pending True" in lines
    items = int(portal.value("SELECT COUNT(*) FROM bytemark_order_items"))
    assert f"Items stored per day: {items} items in 30 days" in done.stdout
    assert f"lines {items + 1}" in lines


def test_the_riders_list_is_right_without_the_portals_index(
    run_manage: Callable[..., Finished], portal: Portal
) -> None:
    code = """
from bytemark_sync.admin.riders import one_row_a_user
from bytemark_sync.models import OrderToken
from bytemark_sync.storage.portal_schema import PortalSchema
from django.db import connection
rows = one_row_a_user(OrderToken.objects.order_by("pk"))
print(PortalSchema(connection).is_indexed(OrderToken, "user_id"), *((row.pk, row.user_id) for row in rows))
"""
    for key, user_id in enumerate((1, 1, 1, 2, None, None, 3, 3), start=1):
        portal.execute("INSERT INTO bytemark_tokens (id, user_id, token) VALUES (%s, %s, 'made-up')", key, user_id)
    riders = "(3, 1) (4, 2) (5, None) (6, None) (8, 3)"
    done = run_manage("shell", "-v", "0", "-c", code)
    assert done.stdout == f"True {riders}\n", done.stderr
    drop_indexes(portal, "bytemark_tokens", "user_id")
    done = run_manage("shell", "-v", "0", "-c", code)
    assert done.stdout == f"False {riders}\n", done.stderr


def test_the_pending_list_is_right_without_the_portals_indexes(
    run_manage: Callable[..., Finished], portal: Portal
) -> None:
    """A portal may lack the index that the list reads by; then it is read in another way."""
    code = """
from bytemark_sync.storage.portal_schema import PortalSchema
from bytemark_sync.models import Order, OrderItem
from bytemark_sync.storage.pending import pending_orders, pending_row_by_row
from django.db import connection
keys = set(pending_orders().values_list("pk", flat=True))
indexed = PortalSchema(connection).is_indexed(OrderItem, "order_id")
print(indexed, keys == set(pending_row_by_row(Order.objects.all()).values_list("pk", flat=True)), len(keys))
"""
    fill(portal)
    done = run_manage("shell", "-v", "0", "-c", code)
    assert done.stdout.split() == ["True", "True", "28"], done.stderr
    drop_indexes(portal, "bytemark_order_items", "order_id")
    done = run_manage("shell", "-v", "0", "-c", code)
    assert done.stdout.split() == ["False", "True", "28"], done.stderr
