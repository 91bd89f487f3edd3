from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.next_version import next_version


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the next version."""
    return next_version(tmp_path_factory.mktemp("newer"))
