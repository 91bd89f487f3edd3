"""The record of each reason. What follows from its fields is tested where it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """
import gc
import django
django.setup()
from bytemark_sync.domain.reasons import Reason, ReasonRecord

def made():
    return sum(isinstance(each, ReasonRecord) for each in gc.get_objects())

assert made() == 0, "a record is made while Django starts"
assert Reason.NOT_FOUND.record and made() == 1
"""


@pytest.mark.slow
def test_django_starts_without_the_records_so_that_mypy_can_name_a_field_that_is_missing() -> None:
    """mypy's Django plugin starts Django before mypy reads a line. If that fails, mypy says INTERNAL ERROR alone."""
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
