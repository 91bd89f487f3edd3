"""What there is to be named: files, settings, targets of make, commands and their options, words of the code."""

from __future__ import annotations

import ast
import re
import subprocess
from argparse import ArgumentParser
from functools import cache
from pathlib import Path

from django.core.management import BaseCommand, get_commands, load_command_class

from tests.support.servers import ROOT

CODE = (".py", ".sh", ".toml", ".html", ".js", ".css", ".c", ".yaml", "Makefile", "Dockerfile", ".env.example")


def _git(*args: str) -> list[str]:
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.split("\n")


@cache
def files() -> frozenset[str]:
    """Files and folders that a clone holds, from its root; folders end with a slash."""
    found = {name for name in _git("ls-files", "-co", "--exclude-standard") if name and (ROOT / name).exists()}
    assert "manage.py" in found
    return frozenset(found | {f"{parent}/" for name in found for parent in Path(name).parents if str(parent) != "."})


def is_made(path: str) -> bool:
    """Whether it is something that the product or a person makes, and no clone holds: `.env`, `.venv/`, `.demo/`."""
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()}
    return Path(path).parts[0] in ignored


@cache
def code() -> dict[str, str]:
    """Each file of code with its text; the tests of the papers, which name what is not there, left out."""
    names = (name for name in sorted(files()) if name.endswith(CODE) and not name.startswith("tests/papers/"))
    return {name: (ROOT / name).read_text() for name in names}


@cache
def code_words() -> frozenset[str]:
    return frozenset(word for text in code().values() for word in re.findall(r"\w+", text))


@cache
def settings_read() -> frozenset[str]:
    """The variables that `project/` reads: the first argument of each reader of `project.env` where it is called."""
    env = ast.parse((ROOT / "project/env.py").read_text())
    readers = {each.name for each in env.body if isinstance(each, ast.FunctionDef)}
    names = set()
    for path in sorted((ROOT / "project").glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())) if path.name != "env.py" else ():
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in readers:
                assert isinstance(call.args[0], ast.Constant), f"{path.name}:{call.lineno}: name a setting in full"
                names.add(str(call.args[0].value))
    assert "DATABASE_URL" in names
    return frozenset(names)


def environment_read() -> dict[str, set[str]]:
    """Variables that code of the product reads past `project.env`, with the files that do."""
    found: dict[str, set[str]] = {}
    pattern = re.compile(r"(?:environ(?:\.get\(|\[)|getenv\()\s*[\"'](\w+)[\"']")
    for name, text in code().items():
        if name.startswith(("bytemark_sync/", "project/", "manage.py")):
            for variable in pattern.findall(text):
                found.setdefault(variable, set()).add(name)
    return found


@cache
def make_targets() -> frozenset[str]:
    """Those that the Makefile has a rule for."""
    return frozenset(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def is_variable_of_make(name: str) -> bool:
    """Whether the Makefile, or a script that it starts, reads it."""
    makefile = (ROOT / "Makefile").read_text()
    if f"$({name})" in makefile or f"$${name}" in makefile:
        return True
    scripts = (text for path, text in code().items() if path.startswith(("scripts/", "tests/")))
    return any(f'"{name}"' in text or f"${{{name}:-" in text for text in scripts)


@cache
def command(name: str) -> BaseCommand | None:
    app = get_commands().get(name)
    if app is None:
        return None
    return app if isinstance(app, BaseCommand) else load_command_class(app, name)


def own_commands() -> list[str]:
    return sorted(name for name, app in get_commands().items() if app == "bytemark_sync")


def options(name: str) -> frozenset[str]:
    """All options of a command, Django's own included."""
    found = command(name)
    assert found is not None, name
    return _strings(found.create_parser("manage.py", name))


def own_options(name: str) -> frozenset[str]:
    """Those that the command adds to Django's."""
    return options(name) - _strings(BaseCommand().create_parser("manage.py", name))


def _strings(parser: ArgumentParser) -> frozenset[str]:
    return frozenset(string for action in parser._actions for string in action.option_strings)


@cache
def any_option() -> frozenset[str]:
    """Options of the product's commands, and of the programs that scripts and tests start or are."""
    found = {option for name in (*own_commands(), "check") for option in options(name)}
    for name, text in code().items():
        if name.startswith(("scripts/", "tests/")):
            found.update(re.findall(r"[\"'](--?[a-z][a-z-]*)[\"']", text))
    return frozenset(found)
