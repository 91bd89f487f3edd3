"""Figures that the tests before left are forgotten."""

from __future__ import annotations

import pytest

from bytemark_sync.monitoring import health


@pytest.fixture(autouse=True)
def _count_afresh(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    monkeypatch.setattr(health, "PENDING_FOR", -1.0)
    monkeypatch.setattr(health, "PENDING_SHARE", -1.0)
    health.count_pending(fresh=True)
    health.count_left(fresh=True)
