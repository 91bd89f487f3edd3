"""Many command lines of one command in one process, for those that end before any work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.support.harness import places, python

_EACH = """
import contextlib, io, json, sys, django
django.setup()
from django.core.management import execute_from_command_line
for args in json.loads(sys.argv[1]):
    shown, status = io.StringIO(), 0
    with contextlib.redirect_stderr(shown):
        try:
            execute_from_command_line(["manage.py", *args])
        except SystemExit as end:
            status = end.code
    print(json.dumps([status, shown.getvalue()]))
"""


class Refusal(NamedTuple):
    status: int
    shown: str
    """On standard error."""


def results(
    command: str, lines: Sequence[Sequence[str]], *, database_url: str, env: Mapping[str, str | None]
) -> list[Refusal]:
    """What came of `command` with each line of arguments."""
    table = json.dumps([[command, *line] for line in lines])
    done = python(_EACH, table, env={**places(database_url), **env})
    assert done.status == 0, done.stderr
    return [Refusal(*json.loads(line)) for line in done.stdout.splitlines()]
