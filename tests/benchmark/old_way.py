"""The job as it was: a Node script, step by step, in plain Python.

One user at a time, one request at a time, ten orders a page, the user's one token, at most five attempts, one INSERT a
row under autocommit. It keeps its connection to Bytemark open, which is generous: the axios of that time opened one a
request. Reads DATABASE_URL, PORTAL_DATABASE and BYTEMARK_CUSTOMER_API_URL; prints `requests` and `items` as JSON.
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import urlsplit

import MySQLdb
import requests

PENDING = """
SELECT bytemark_orders.id, bytemark_orders.order_uuid, bytemark_orders.user_id, bytemark_orders.oauth_token
FROM bytemark_orders
JOIN bytemark_tokens ON bytemark_orders.user_id = bytemark_tokens.user_id
LEFT JOIN bytemark_order_items ON bytemark_orders.id = bytemark_order_items.order_id
WHERE bytemark_order_items.id IS NULL AND bytemark_orders.amount = '0'
"""
INSERT = (
    "INSERT INTO bytemark_order_items (order_id, order_uuid, oauth_token, product_uuid, pass_uuid)"
    " VALUES (%s, %s, %s, %s, %s)"
)
PAGE_SIZE = 10
MAX_ATTEMPTS = 5


def main() -> None:
    address = urlsplit(os.environ["DATABASE_URL"])
    database: Any = MySQLdb.connect(
        host=address.hostname or "",
        port=address.port or 3306,
        user=address.username or "",
        password=address.password or "",
        database=os.environ.get("PORTAL_DATABASE") or address.path.strip("/"),
        autocommit=True,
    )
    cursor = database.cursor()
    cursor.execute(PENDING)
    users: dict[int, dict[str, Any]] = {}
    for order_id, order_uuid, user_id, token in cursor.fetchall():
        user = users.setdefault(user_id, {"token": token, "orders": {}})
        user["orders"][order_uuid] = order_id
    session = requests.Session()
    requested = items = 0
    for user in users.values():
        asked, found = _fetch(session, user["token"], user["orders"])
        requested += asked
        for order in found:
            for item in order["order_items"]:
                for one in item["passes"]:
                    row = user["orders"][order["uuid"]], order["uuid"], user["token"]
                    cursor.execute(INSERT, (*row, item["product"]["uuid"], one["uuid"]))
                    items += 1
    print(json.dumps({"requests": requested, "items": items}))


def _fetch(session: requests.Session, token: str, wanted: dict[str, int]) -> tuple[int, list[dict[str, Any]]]:
    """(requests made, the wanted orders among those listed)."""
    url = os.environ["BYTEMARK_CUSTOMER_API_URL"] + "/v4.0/orders"
    found: list[dict[str, Any]] = []
    attempts = asked = seen = 0
    page = 1
    while len(found) < len(wanted) and attempts < MAX_ATTEMPTS:
        asked += 1
        try:
            answer = session.get(
                url,
                params={"page": page, "per_page": PAGE_SIZE},
                headers={"Authorization": f"Bearer {token}"},
                timeout=30,
            )
            answer.raise_for_status()
            data = answer.json()["data"]
        except requests.RequestException:
            attempts += 1
            continue
        found += [order for order in data["orders"] if order["uuid"] in wanted]
        seen += len(data["orders"])
        if not data["orders"] or seen >= data["total_count"]:
            break
        page += 1
    return asked, found


if __name__ == "__main__":
    main()
