"""`make update`: what it writes and prints, with a stand-in for the tool that compiles."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import pytest

from tests.support.servers import ROOT

TOOL = """#!/bin/sh
# Gives what is asked for from a folder of answers, and fails where there is none.
while [ "$1" != -o ]; do case "$1" in --upgrade*) echo "$1" >>"$ANSWERS/asked" ;; esac; shift; done
cat "$ANSWERS/$2" >"$2"
"""
HASH = "    --hash=sha256:" + "0" * 64
COMPILED = f"alpha==1.0 \\\n{HASH}\n    # via -r requirements.in\nbeta==2.0 \\\n{HASH}\n    # via alpha\n"
TESTS = (
    COMPILED.replace("-r requirements.in", "-r requirements.txt") + f"gamma==3.0 ; python_version < '4' \\\n{HASH}\n"
)


class Tree:
    """A clone with two lists, and the tool in its venv."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.answers = folder / "clone", folder / "answers"
        self.answers.mkdir()
        program = self.folder / ".venv-update/bin/uv"
        program.parent.mkdir(parents=True)
        program.write_text(TOOL)
        program.chmod(0o755)
        (self.folder / "scripts").mkdir()
        for name in ("update.py", "tool_venv.py"):
            shutil.copy(ROOT / "scripts" / name, self.folder / "scripts")
        self.write("requirements-update.txt", "")
        (self.folder / ".venv-update/stamp").write_text(str(crc32(b"")))
        self.write("requirements.in", "alpha\n")
        self.write("requirements-dev.in", "-r requirements.txt\ngamma\n")
        self.answer("requirements.txt", COMPILED)
        self.answer("requirements-dev.txt", TESTS)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def answer(self, name: str, text: str) -> None:
        (self.answers / name).write_text(text)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def update(self, *packages: str) -> tuple[int, str]:
        command = [sys.executable, "scripts/update.py", *packages]
        env = {"PATH": "/usr/bin:/bin", "ANSWERS": str(self.answers)}
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_each_version_stands_in_one_of_the_files_that_are_installed_together(tree: Tree) -> None:
    status, said = tree.update()
    assert status == 0
    assert said.startswith(
        "requirements-dev.txt:\n  gamma: new, 3.0\nrequirements.txt:\n  alpha: new, 1.0\n  beta: new,"
    )
    assert tree.read("requirements.txt").endswith(COMPILED)
    pinned = [line for line in tree.read("requirements-dev.txt").splitlines() if not line.startswith(("#", " "))]
    assert pinned == ["-r requirements.txt", "gamma==3.0 ; python_version < '4' \\"]
    assert tree.update() == (0, "Nothing has changed.\n")


def test_what_changed_is_told_and_only_what_is_named_is_renewed(tree: Tree) -> None:
    tree.update()
    (tree.answers / "asked").unlink()
    tree.answer("requirements.txt", COMPILED.replace("beta==2.0", "beta==2.1"))
    tree.answer("requirements-dev.txt", TESTS.replace("beta==2.0", "beta==2.1").replace("'4'", "'5'"))
    status, said = tree.update("Beta")
    assert status == 0
    marker = "requirements-dev.txt:\n  gamma: 3.0 as before, with other hashes or another marker\n"
    assert said.startswith(f"{marker}requirements.txt:\n  beta: 2.0 -> 2.1\n")
    assert (tree.answers / "asked").read_text().split() == ["--upgrade-package=Beta"] * 2


def test_all_files_are_changed_or_none(tree: Tree) -> None:
    tree.update()
    before = tree.read("requirements.txt")
    tree.answer("requirements.txt", COMPILED.replace("beta==2.0", "beta==2.1"))
    (tree.answers / "requirements-dev.txt").unlink()
    status, said = tree.update()
    assert (status, said.splitlines()[-1]) == (1, "requirements-dev.in could not be compiled. Nothing was changed.")
    assert tree.read("requirements.txt") == before


def test_a_package_that_nothing_leads_to_is_an_error(tree: Tree) -> None:
    status, said = tree.update("nosuch")
    assert (status, said) == (2, "No requirements*.in leads to nosuch. Nothing was changed.\n")
    assert not (tree.folder / "requirements.txt").exists()
