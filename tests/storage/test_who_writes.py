"""The store of items alone writes the portal's tables, and the admin writes none (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import ROOT

PACKAGE = ROOT / "bytemark_sync"
PORTAL = {"Order", "OrderItem", "OrderToken"}
WRITES = {"save", "create", "bulk_create", "get_or_create", "update", "update_or_create", "bulk_update", "delete"}


def writes(path: Path) -> Iterator[tuple[str, str]]:
    """(model, text) of each write through a model's manager, and of each new row of a portal table."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        text = ast.unparse(node)
        if isinstance(node.func, ast.Name) and node.func.id in PORTAL:
            yield node.func.id, text
        if isinstance(node.func, ast.Attribute) and node.func.attr in WRITES and ".objects" in text:
            yield ast.unparse(node.func).split(".objects")[0], text


@pytest.mark.slow
def test_only_the_store_of_items_and_the_renewal_write_portal_tables() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "sandbox" not in path.parts  # it fills a portal of its own
        for model, _ in writes(path)
        if model in PORTAL
    }
    assert found == {"storage/order_items.py", "storage/token_rows.py"}


def test_the_admin_writes_no_table_itself() -> None:
    assert {str(path): text for path in (PACKAGE / "admin").rglob("*.py") for _, text in writes(path)} == {}
    assert not [path for path in (PACKAGE / "admin").rglob("*.py") if "storage.bulk_insert" in path.read_text()]
