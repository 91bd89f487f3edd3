"""What import-linter's contracts cannot say of themselves; who writes a table is in storage/test_who_writes.py."""

from __future__ import annotations

import tomllib

from tests.support.servers import ROOT


def test_the_admin_knows_three_modules_of_the_queue() -> None:
    """The contract must name each of the others, so a new module of the queue has to be decided on."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (admin,) = (contract for contract in contracts if contract["id"] == "admin-writes")
    named = {name.rpartition(".")[2] for name in admin["forbidden_modules"] if ".queue." in name}
    there = {path.stem for path in (ROOT / "bytemark_sync/queue").glob("[a-z]*.py")}
    assert there - named == {"requests", "schedules", "broker"}
