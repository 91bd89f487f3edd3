"""The code of a made-up next version: this tree, and a release that keeps to the rule for two versions side by side.

docs/decisions/0017-two-versions-side-by-side.md has the rule. The next version has a migration that only adds, models
that read and write what it adds, a task of a new name for planning, and more in what a batch keeps in JSON.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bytemark_sync import __version__
from tests.support.servers import ROOT

NEXT = f"{__version__}.next"
LAST = max(path.stem for path in (ROOT / "bytemark_sync/migrations").glob("0*.py"))
ADDED = f"bytemark_sync.{int(LAST[:4]) + 1:04}_next"
MIGRATION = """from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("bytemark_sync", {last!r})]
    operations = [
        migrations.AddField("syncrun", "note", models.CharField(max_length=20, null=True)),
        migrations.AddField("syncbatch", "weight", models.IntegerField(db_default=1)),
    ]
"""
EDITS = {
    "__init__.py": [(f'"{__version__}"', f'"{NEXT}"')],
    "models/runs.py": [
        (
            "    kind = models",
            '    note = models.CharField(max_length=20, null=True, default="new")\n    kind = models',
        ),
        ("    number = models", "    weight = models.IntegerField(db_default=1)\n    number = models"),
    ],
    "domain/matching.py": [("    pages: int = 0\n", "    pages: int = 0\n    of_next: str = 'more'\n")],
    "queue/broker.py": [('"bytemark_sync.tasks.plan_run"', '"bytemark_sync.tasks.plan_run_anew"')],
    "tasks.py": [
        ("def sync_batch(", "def plan_run_anew(run_id: int) -> None:\n    planning.plan(run_id)\n\n\ndef sync_batch(")
    ],
}


def next_version(folder: Path) -> Path:
    """Write the tree to `folder`, and return it."""
    for name in ("bytemark_sync", "project"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "manage.py", folder)
    package = folder / "bytemark_sync"
    for name, edits in EDITS.items():
        text = (package / name).read_text()
        for old, new in edits:
            assert old in text, f"{name}: {old}"
            text = text.replace(old, new, 1)
        (package / name).write_text(text)
    (package / "migrations" / f"{ADDED.partition('.')[2]}.py").write_text(MIGRATION.format(last=LAST))
    return folder
