"""The look whose database it is, from inside a process that has a connection already."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from bytemark_sync.models import NamedLock


def test_a_command_that_is_called_in_a_transaction_leaves_it_open(
    db: None, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bytemark_sync")  # the command sets it by its verbosity; this puts it back
    settings.BYTEMARK_CUSTOMER_API_URL = "http://127.0.0.1:9"
    before = connection.connection
    with transaction.atomic():
        NamedLock.objects.create(name="of the caller")
        call_command("sync_order_items", verbosity=0, skip_checks=False)
        assert connection.connection is before
        assert NamedLock.objects.filter(name="of the caller").exists()
    assert NamedLock.objects.filter(name="of the caller").exists()
