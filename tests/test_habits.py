"""What a newcomer leans on before any code: make's targets, the example of `.env`, the version, what setup says."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import bytemark_sync
from tests.papers.known import make_targets, settings_read
from tests.support.servers import ROOT, clean_environment

# --- make -----------------------------------------------------------------------------------------------------------


def test_make_help_has_a_line_for_each_target() -> None:
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    told = dict(re.findall(r"^make ([a-z-]+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert set(told) == make_targets()
    assert len(told) == len(done.stdout.splitlines())


def test_every_target_is_phony() -> None:
    """A file or folder of a target's name, such as `tests` one day, must not switch the target off."""
    phony = re.search(r"^\.PHONY:(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == make_targets()


SETUP = """#!/bin/sh
echo begin >>said
sleep 0.2
echo end >>said
"""


def test_one_set_up_at_a_time_however_many_jobs_make_may_run(tmp_path: Path) -> None:
    """Both would run pip in the same .venv."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    programs = {"scripts/setup.sh": SETUP, ".venv/bin/lint-imports": "#!/bin/sh\n", "python": "#!/bin/sh\n"}
    for name, text in programs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    subprocess.run(["make", "-s", "-j", "test", "PYTHON=./python"], cwd=tmp_path, check=True)
    assert (tmp_path / "said").read_text().split() == ["begin", "end"] * 2


# --- .env.example ---------------------------------------------------------------------------------------------------

EXAMPLE = ROOT / ".env.example"
_LINE = re.compile(r"^(#?)([A-Z][A-Z0-9_]*)=(.*)$")
SECRETS = {"SECRET_KEY", "DATABASE_URL", "SLACK_BOT_TOKEN", "METRICS_TOKEN", "REDIS_URL"}

READ_BOTH = """
import json, os, runpy, sys
found = []
for values in ({}, json.loads(sys.argv[1])):
    os.environ.update(values)
    found_here = runpy.run_path("project/settings.py")
    names = filter(str.isupper, found_here)
    found.append({name: json.dumps(found_here[name], default=lambda each: type(each).__name__) for name in names})
print(json.dumps([name for name in found[0] if found[0][name] != found[1][name]]))
"""


def example() -> dict[str, tuple[bool, str]]:
    """Each variable of the example: whether its line is a comment, and its value."""
    lines = [found for line in EXAMPLE.read_text().splitlines() if (found := _LINE.match(line))]
    assert len({line[2] for line in lines}) == len(lines), "a variable stands there twice"
    return {line[2]: (bool(line[1]), line[3]) for line in lines}


def test_the_example_has_every_setting_and_no_other() -> None:
    assert set(example()) == settings_read()


def test_secrets_are_empty_in_the_example() -> None:
    assert {name: value for name, (_, value) in example().items() if name in SECRETS and value} == {}


def test_the_example_shows_the_defaults() -> None:
    """As it is, and with every comment taken away, it changes nothing."""
    values = {name: value for name, (_, value) in example().items() if name != "DEBUG"}
    unset = dict.fromkeys(settings_read(), None) | {"DEBUG": "1"}
    done = subprocess.run(
        [sys.executable, "-c", READ_BOTH, json.dumps(values)],
        cwd=ROOT,
        env=clean_environment(unset) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_what_the_example_sets_must_be_filled_in() -> None:
    assert {name for name, (comment, value) in example().items() if not comment and value} == set()


# --- One version, one pair of checkers ------------------------------------------------------------------------------


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "bytemark_sync.__version__"}
    number = re.escape(bytemark_sync.__version__)
    tracked = subprocess.run(
        ["git", "grep", "-lE", rf"version[^=]*= *.{number}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert tracked.stdout.split() == ["bytemark_sync/__init__.py"]


def test_pre_commit_runs_the_checkers_of_make_lint() -> None:
    """Each of its hooks is local and runs a program of .venv, so no version can differ and nothing is fetched."""
    config = (ROOT / ".pre-commit-config.yaml").read_text()
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    programs = re.findall(r"(?:\$\(PYTHON\) -m |\.venv/bin/)(ruff check|ruff format --check|mypy|lint-imports)", lint)
    assert programs == ["ruff check", "ruff format --check", "mypy", "lint-imports"]
    assert re.findall(r"repo: (\S+)", config) == ["local"]
    entries = re.findall(r"entry: (.*)", config)
    run = r"\.venv/bin/(?:python -m )?(ruff check|ruff format --check|mypy|lint-imports)"
    assert re.findall(run, "\n".join(entries)) == programs
    assert config.count("language: system") == len(entries) == len(programs)


# --- tests ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_test_module_is_imported_by_another() -> None:
    """What they share is in tests/support, fixtures in a conftest.py."""
    importers = [
        f"{path.relative_to(ROOT)}: {node.module}"
        for folder in ("tests", "scripts", "bytemark_sync")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and re.search(r"(^|\.)(test_\w+|conftest)$", node.module or "")
    ]
    assert importers == []


# --- The Pythons that are promised -----------------------------------------------------------------------------------

PYTHONS = ("Makefile", "scripts/pythons.sh", "scripts/test_pythons.sh")
PRETENDED = """#!/bin/sh
exec {python} -S -c 'import sys; sys.version_info = ({version}, 9); exec(sys.argv.pop(1))' "$2" "$3"
"""
MAKE_VENV = """#!/bin/sh
mkdir -p "$2/bin"
echo "$*" >>said
printf '#!/bin/sh\\necho "$0 $*" >>said; test $0 != .venv-3.13/bin/python\\n' >"$2/bin/python"
chmod +x "$2/bin/python"
"""


def promised() -> list[str]:
    found = re.search(r'^PROMISED="(.*)"$', (ROOT / "scripts/pythons.sh").read_text(), re.MULTILINE)
    assert found is not None
    return sorted(found[1].split(), key=lambda version: int(version.partition(".")[2]))


def test_papers_and_checkers_know_the_pythons_that_are_promised() -> None:
    oldest, newest = promised()[0], promised()[-1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == f">={oldest}"
    assert project["tool"]["mypy"]["python_version"] == oldest
    assert project["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    for name in ("README.md", "CONTRIBUTING.md", "Makefile"):
        assert f"{oldest} to {newest}" in (ROOT / name).read_text(), name


def test_the_suite_runs_on_each_python_that_is_found(tmp_path: Path) -> None:
    """3.12 is on the PATH, 3.13 is kept by pyenv behind a stand-in, 3.11 and 3.14 are not there; 3.13's suite fails."""
    programs, pyenv = tmp_path / "bin", tmp_path / "pyenv"
    files = {
        programs / "python3.12": PRETENDED.format(python=sys.executable, version="3, 12"),
        programs / "python3.13": "#!/bin/sh\nexit 127\n",
        pyenv / "versions/3.13.9/bin/python": PRETENDED.format(python=sys.executable, version="3, 13"),
        tmp_path / "scripts/setup.sh": MAKE_VENV,
        **{tmp_path / name: (ROOT / name).read_text() for name in PYTHONS},
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    for name in ("sh", "make", "dirname", "mkdir", "chmod", "printf"):
        (programs / name).symlink_to(shutil.which(name) or "")

    def tried(**variables: str) -> tuple[int, str, list[str]]:
        (tmp_path / "said").write_text("")
        done = subprocess.run(
            ["make", "-s", "test-pythons", "PYTEST_ARGS=-k some"],
            cwd=tmp_path,
            env={"PATH": str(programs), "PYENV_ROOT": str(pyenv)} | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, (tmp_path / "said").read_text().splitlines()

    status, told, said = tried()
    assert status != 0
    assert told.endswith("\n3.14: not found\n3.13.9: failed\n3.12.9: passed\n3.11: not found\n")
    assert said == [
        f"test .venv-3.13 {pyenv}/versions/3.13.9/bin/python",
        ".venv-3.13/bin/python -m pytest -k some",
        "test .venv-3.12 python3.12",
        ".venv-3.12/bin/python -m pytest -k some",
    ]
    assert tried(PYTHONS="3.12")[0] == tried(PYTHONS=str(programs / "python3.12"))[0] == 0
    assert tried(PYTHONS="3.12 3.14")[0] != 0  # one that is named must be there


# --- sudo -----------------------------------------------------------------------------------------------------------

SUDO = """#!/bin/sh
cp "$SAID" "$CALLS/$(ls "$CALLS" | wc -l) $1 $2 $3"
case "$*" in *apt-get\\ install*) exit 1;; esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, Any]:
    """A machine without MariaDB, Redis and Chromium, whose user is not root and may use sudo; it installs nothing."""
    programs = tmp_path / "bin"
    calls = tmp_path / "calls"
    programs.mkdir()
    calls.mkdir()
    for name in ("sh", "cat", "cksum", "cp", "dirname", "env", "ls", "mktemp", "rm", "tail", "wc"):
        found = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
        (programs / name).symlink_to(found.stdout.strip())
    for name, text in {
        "sudo": SUDO,
        "id": "#!/bin/sh\necho 1000\n",
        "sleep": "#!/bin/sh\n",
        "apt-get": "#!/bin/sh\n",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return {"PATH": str(programs), "CALLS": str(calls), "SAID": str(tmp_path / "said")}


def set_up(kind: str, machine: dict[str, Any], folder: Path) -> int:
    """Run the set-up in `folder`; its status."""
    (folder / "scripts").mkdir()
    for name in ("setup.sh", "pythons.sh"):
        (folder / "scripts" / name).write_text((ROOT / "scripts" / name).read_text())
    for name in ("requirements.txt", "requirements-dev.txt"):
        (folder / name).write_text("")
    with Path(machine["SAID"]).open("w") as said:
        command = ["sh", "scripts/setup.sh", kind]
        return subprocess.run(command, cwd=folder, env=machine, stderr=said, check=False).returncode


def test_the_quick_tests_want_no_server_and_no_browser(machine: dict[str, Any], tmp_path: Path) -> None:
    assert set_up("dev", machine, tmp_path) == 1  # for want of a Python alone
    assert os.listdir(machine["CALLS"]) == []
    assert Path(machine["SAID"]).read_text().startswith("setup: no Python 3.11 to 3.14 was found.")


def test_setup_says_what_it_installs_before_it_uses_sudo(machine: dict[str, Any], tmp_path: Path) -> None:
    assert set_up("test", machine, tmp_path) == 1  # the installation fails, on purpose
    before = {
        name.partition(" ")[2].strip(): (Path(machine["CALLS"]) / name).read_text()
        for name in os.listdir(machine["CALLS"])
    }
    assert set(before) == {"-n true", "-n apt-get update", "-n env DEBIAN_FRONTEND=noninteractive"}
    for text in before.values():
        assert "missing on this system: " in text
        assert "redis-server" in text
        assert "sudo" in text
    for call in ("-n apt-get update", "-n env DEBIAN_FRONTEND=noninteractive"):
        assert re.search(
            r"installing them: sudo -n apt-get update; sudo -n apt-get install .*redis-server", before[call]
        )
