"""`python -m tests.search`: a search of its own on a database of its own. Exit status 1 where a promise is broken."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.harness import as_owner, manage, places, sqlite_url
from tests.support.servers import MariaDB


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.search", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="how many (default: 20000)")
    parser.add_argument("--seed", type=int, help="of the steps; without it they are those of every test run")
    parser.add_argument("--engine", choices=("sqlite", "mariadb"), default="sqlite")
    parser.add_argument("--database-url", help="a migrated database that may be emptied, in place of a new one")
    options = parser.parse_args()
    with _database(options.engine) if not options.database_url else _given(options.database_url) as url:
        found = places(as_owner(url))  # the search fills the portal's tables too
        os.environ |= {"DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_DATABASE_URL": found["DATABASE_URL"]}
        os.environ["PORTAL_DATABASE"] = found["PORTAL_DATABASE"]
        import django

        django.setup()
        from tests.search.play import search

        began = time.monotonic()
        seed = "" if options.seed is None else f" SEED={options.seed}"
        print(
            f"{options.steps} steps on {options.engine}, again by: make faults LANE=search{seed} STEPS={options.steps}"
        )
        sys.stdout.flush()
        search(options.steps, options.seed)
        print(f"Every promise held, {time.monotonic() - began:.0f} s")
    return 0


@contextmanager
def _database(engine: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bytemark-search-") as folder:
        if engine == "sqlite":
            url = sqlite_url(Path(folder) / "portal.sqlite3")
            manage("migrate", "-v0", database_url=url)
            yield url
            return
        with MariaDB() as server:
            url = server.create_two_places(f"search_{uuid.uuid4().hex[:8]}")
            manage("migrate", "-v0", database_url=url)
            yield url


@contextmanager
def _given(url: str) -> Iterator[str]:
    yield url


if __name__ == "__main__":
    sys.exit(main())
