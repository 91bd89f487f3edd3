"""What is chosen in each requirements*.in is pinned with hashes in the requirements*.txt beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import ROOT

CHOSEN = sorted(path.name for path in ROOT.glob("requirements*.in"))
PINNED = sorted(path.name for path in ROOT.glob("requirements*.txt"))
INTO_THE_VENV = ("requirements.txt", "requirements-observability.txt", "requirements-dev.txt")

_PIN = re.compile(r"([a-z0-9][a-z0-9.-]*)==([\w.]+)(?: ; ([^\\]+?))?((?: --hash=sha256:[0-9a-f]{64})+)")

each_chosen = pytest.mark.parametrize("name", CHOSEN)
each_pinned = pytest.mark.parametrize("name", PINNED)


def lines(name: str) -> list[str]:
    """Without comments; a line that goes on behind a backslash is one."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE))
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def references(name: str, option: str) -> list[str]:
    return [line.removeprefix(f"{option} ") for line in lines(name) if line.startswith(f"{option} ")]


def packages(name: str) -> list[str]:
    """As they are spelled in compiled files, without versions."""
    found = [line for line in lines(name) if not line.startswith("-")]
    return [re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", line)[0]).lower() for line in found]


def installed(name: str) -> Iterator[str]:
    """The compiled file, and those that it refers to."""
    yield name
    for other in references(name, "-r"):
        yield from installed(other)


def versions(*names: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name in names:
        for line in lines(name):
            if pin := _PIN.fullmatch(line):
                found.setdefault(pin[1], set()).add(pin[2])
    return found


def test_each_list_has_its_compiled_file() -> None:
    assert [name.replace(".in", ".txt") for name in CHOSEN] == PINNED
    assert set(INTO_THE_VENV) < set(PINNED)


@each_chosen
def test_what_is_chosen_is_pinned(name: str) -> None:
    pinned = versions(*installed(name.replace(".in", ".txt")))
    assert [package for package in packages(name) if package not in pinned] == []


@each_chosen
def test_a_compiled_file_brings_along_what_its_list_refers_to(name: str) -> None:
    assert references(name.replace(".in", ".txt"), "-r") == references(name, "-r")


@each_pinned
def test_every_line_is_a_version_with_hashes(name: str) -> None:
    """And no address of an index, no path: it installs from wherever pip is told to fetch."""
    assert [line for line in lines(name) if not _PIN.fullmatch(line) and not line.startswith("-r requirements")] == []


@each_pinned
def test_nothing_stands_twice_in_what_is_installed_together(name: str) -> None:
    """But for a package that one file needs on some Pythons or systems alone."""
    every = [pin.group(1, 3) for one in installed(name) for line in lines(one) if (pin := _PIN.fullmatch(line))]
    assert sorted(every) == sorted(set(every))


def test_each_package_has_one_version_everywhere() -> None:
    found = versions(*PINNED)
    assert found
    assert {package: each for package, each in found.items() if len(each) > 1} == {}


def test_what_the_code_imports_is_chosen() -> None:
    """Not only brought along by something else, which may stop to bring it."""
    chosen = {package for name in CHOSEN for package in packages(name)}
    distributions = {
        "axes": "django-axes",
        "axe_playwright_python": "axe-playwright-python",
        "csp": "django-csp",
        "django_q": "django-q2",
        "environ": "django-environ",
        "markdown_it": "markdown-it-py",
        "MySQLdb": "mysqlclient",
        "pythonjsonlogger": "python-json-logger",
        "unfold": "django-unfold",
    }
    imported = {
        module
        for folder in ("bytemark_sync", "project", "scripts", "tests")
        for path in Path(ROOT / folder).rglob("*.py")
        for module in re.findall(r"^ *(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
    }
    names = {re.sub(r"_", "-", distributions.get(module, module)).lower() for module in imported}
    brought = set(versions(*INTO_THE_VENV)) - chosen
    assert names & brought == set()
