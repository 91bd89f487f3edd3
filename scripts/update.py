"""`make update`: compiles each requirements*.in into its requirements*.txt, newest versions, and shows what changed.

`make update PACKAGE=django` renews that one and leaves the others as they are, but for what it needs; PACKAGE=x also
adds an x that was written into a .in file, and `PACKAGE="django<5.2.19"` goes back. All or nothing: where one file
cannot be compiled, none is changed. Nothing is installed but the tool, in a venv of its own. Exit status 1 where the
tool failed, 2 where no file leads to PACKAGE.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tool_venv import ROOT, tool_venv

OLDEST_PYTHON = "3.11"
COMPILE = (
    *("pip", "compile", "--universal", "--python-version", OLDEST_PYTHON, "--generate-hashes", "--no-header"),
    # One version for all Pythons, also where newer Pythons could have a newer one.
    *("--fork-strategy", "fewest", "--no-python-downloads", "--no-config", "--quiet"),
)
_REFERENCE = re.compile(r"^(-[rc]) +(\S+)$", re.MULTILINE)
_PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==([^\s;\\]+)(.*)$", re.DOTALL)


class Pin(NamedTuple):
    """`text`: all its lines, with marker, hashes and why it is there. `means`: the same without the reason."""

    name: str
    version: str
    text: str

    @property
    def means(self) -> str:
        return re.sub(r"^ *#.*\n?", "", self.text, flags=re.MULTILINE).strip()


def pins(text: str) -> list[Pin]:
    """Those of a compiled file, in its order."""
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)
    return [Pin(found[1], found[2], block) for block in blocks if (found := _PIN.match(block))]


def changes(before: str, after: str) -> Iterator[str]:
    """A line for each package that differs between two compiled texts of a file, by name."""
    old = {pin.name: pin for pin in pins(before)}
    new = {pin.name: pin for pin in pins(after)}
    for name in sorted(old | new):
        if name not in old:
            yield f"{name}: new, {new[name].version}"
        elif name not in new:
            yield f"{name}: gone, was {old[name].version}"
        elif old[name].version != new[name].version:
            yield f"{name}: {old[name].version} -> {new[name].version}"
        elif old[name].means != new[name].means:
            yield f"{name}: {new[name].version} as before, with other hashes or another marker"


def main(packages: Sequence[str]) -> int:
    uv = tool_venv("update") / "bin" / "uv"
    with TemporaryDirectory(prefix="bytemark-update-") as made:
        folder = Path(made)
        for path in ROOT.glob("requirements*"):
            shutil.copy(path, folder)
        for name in in_order(folder):
            if not compile_file(uv, folder, name, packages):
                print(f"{name}.in could not be compiled. Nothing was changed.", file=sys.stderr)
                return 1
        if missing := sorted({_name(each) for each in packages} - _names(folder)):
            print(f"No requirements*.in leads to {', '.join(missing)}. Nothing was changed.", file=sys.stderr)
            return 2
        if tell(folder):
            print("Nothing is installed yet: `make setup-dev` does that. Read what is new in these versions, then run")
            print("`make test` and `make supply-chain`.")
        else:
            print("Nothing has changed.")
        for path in folder.glob("requirements*.txt"):
            shutil.copy(path, ROOT)
    return 0


def in_order(folder: Path) -> list[str]:
    """The names of the files without their endings, those first that others refer to by `-r` or `-c`."""
    graph = {
        path.stem: {Path(other).stem for _, other in _REFERENCE.findall(path.read_text())}
        for path in sorted(folder.glob("requirements*.in"))
    }
    return list(TopologicalSorter(graph).static_order())


def compile_file(uv: Path, folder: Path, name: str, packages: Sequence[str]) -> bool:
    """Anew from the .in file; what `packages` does not name keeps its version, unless none is named at all."""
    target = folder / f"{name}.txt"
    renew = [f"--upgrade-package={each}" for each in packages] or ["--upgrade"]
    command: list[str | Path] = [uv, *COMPILE, *renew, "--python", sys.executable, "-o", target.name, f"{name}.in"]
    done = subprocess.run(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        return False
    references = [other for option, other in _REFERENCE.findall((folder / f"{name}.in").read_text()) if option == "-r"]
    there = {pin.means for other in references for pin in _all_pins(folder, other)}
    head = [
        f"# Made of {name}.in by `make update`, for Python {OLDEST_PYTHON} and newer on Linux and macOS, with the",
        "# hashes that pip holds the packages against. Change that file, and see CONTRIBUTING.md: A dependency.",
        *(f"-r {other}" for other in references),
    ]
    own = [pin.text for pin in pins(target.read_text()) if pin.means not in there]
    target.write_text("\n".join(head) + "\n" + "".join(own))
    return True


def _all_pins(folder: Path, name: str) -> Iterator[Pin]:
    """Those of a compiled file, and of the files that it refers to."""
    text = (folder / name).read_text()
    yield from pins(text)
    for _, other in _REFERENCE.findall(text):
        yield from _all_pins(folder, other)


@cache
def environment() -> dict[str, str]:
    """uv reads no setting of pip. Where pip is told of a mirror or a certificate, so is uv; its own variables win."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    told = dict(reversed(re.findall(r"^\S*\.([a-z-]+)='(.*)'$", said, re.MULTILINE)))  # the environment comes first
    names = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    return {names[key]: value for key, value in told.items() if key in names} | dict(os.environ)


def tell(folder: Path) -> bool:
    """Print what differs from the files that there are; whether anything does."""
    found = False
    for path in sorted(folder.glob("requirements*.txt")):
        before = ROOT / path.name
        lines = list(changes(before.read_text() if before.exists() else "", path.read_text()))
        if lines:
            print("\n  ".join([f"{path.name}:", *lines]))
        found = found or bool(lines)
    return found


def _name(package: str) -> str:
    """As files write it: PACKAGE may have another spelling, and a version behind it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", package.strip())[0]).lower()


def _names(folder: Path) -> set[str]:
    return {pin.name for path in folder.glob("requirements*.txt") for pin in pins(path.read_text())}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
