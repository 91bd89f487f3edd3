"""What import-linter's contracts (pyproject.toml) cannot see: a table is written by a call, not by an import."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.servers import ROOT

PORTAL = {"Order", "OrderItem", "OrderToken"}
WRITING = {
    *("create", "bulk_create", "get_or_create", "update_or_create", "update", "bulk_update", "delete"),
    *("acreate", "abulk_create", "aupdate", "abulk_update", "adelete"),
}


def test_only_the_store_of_items_makes_or_writes_rows_of_the_portal() -> None:
    writers = {
        path.relative_to(ROOT / "bytemark_sync").as_posix()
        for path in (ROOT / "bytemark_sync").rglob("*.py")
        if "migrations" not in path.parts and any(writes(path))
    }
    assert writers == {"storage/order_items.py"}


def writes(path: Path) -> Iterator[str]:
    """Calls that make a row of a portal model, and calls of a writing method on its manager or a query of it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in PORTAL:
            yield node.func.id
        if isinstance(node.func, ast.Attribute) and node.func.attr in WRITING and root(node.func) in PORTAL:
            yield node.func.attr


def root(node: ast.expr) -> str:
    """`OrderItem` of `OrderItem.objects.filter(...)`; a name that was given to such a query is not followed."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else ""


def test_the_admin_knows_three_modules_of_the_queue() -> None:
    """The contract must name each of the others, so a new module of the queue has to be decided on."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (admin,) = (contract for contract in contracts if contract["id"] == "admin-writes")
    named = {name.rpartition(".")[2] for name in admin["forbidden_modules"] if ".queue." in name}
    there = {path.stem for path in (ROOT / "bytemark_sync/queue").glob("[a-z]*.py")}
    assert there - named == {"requests", "schedules", "broker"}
