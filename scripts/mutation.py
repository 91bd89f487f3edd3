"""`make mutation`: changes the code in one place at a time, and sees that a test notices nine times out of ten.

In a copy of the tree, part by part: `make mutation PART=storing`; with one process, or as many as PROCESSES says (but
the client's tests measure time). Prints the changes that no test noticed; `docs/mutation.md` says why each may stay.
Exit status 1 where `bytemark/`, the matching or the storing falls short.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tool_venv import ROOT, tool_venv

VENV = ROOT / ".venv-mutation"
COPY = ROOT / ".test-tmp" / "mutation"
WANTED = 0.9

_CLIENT = "bytemark_sync/bytemark"
PARTS = {
    "answers": (
        [
            f"{_CLIENT}/{name}.py"
            for name in ("decoding", "body_errors", "errors", "transport_errors", "retry", "stats", "token")
        ],
        [f"tests/bytemark/test_{name}.py" for name in ("decoding", "errors", "retry", "stats", "error_words")],
    ),
    "client": (
        [f"{_CLIENT}/{name}.py" for name in ("client", "transport")],
        ["tests/bytemark/test_client.py"],
    ),
    "config": ([f"{_CLIENT}/config.py"], ["tests/bytemark/test_config.py"]),
    "matching": (
        ["bytemark_sync/domain/matching.py"],
        ["tests/domain/test_matching.py", "tests/bytemark/test_error_words.py"],
    ),
    "storing": (["bytemark_sync/storage/order_items.py"], ["tests/storage/test_order_items.py"]),
}
"""Name to the files that are changed and the tests that are to notice."""

PLAIN_NAMES = """

# The tool asks for tests by name, and cannot for some whose names are made of values.
from _pytest.python import IdMaker

IdMaker._idval_from_function = lambda *_: None


def pytest_make_parametrize_id(config, val, argname):
    return argname
"""
REFUSED = ("BadTestExecutionCommands", "ERROR: not found")
"""What the tool's log holds where it could not run the tests, which it would count as noticed."""

NOTICED = {"killed", "timeout", "segfault", "suspicious"}


def main(names: list[str]) -> int:
    prepare()
    noticed: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    for name in names or PARTS:
        good, every = part(name)
        whole = name if name in ("matching", "storing") else "bytemark/"
        noticed[whole] += good
        changes[whole] += every
    for whole, every in changes.items():
        print(f"{whole}: {noticed[whole]} of {every} changes noticed, {noticed[whole] / max(every, 1):.1%}")
    return 1 if [whole for whole, every in changes.items() if noticed[whole] < WANTED * max(every, 1)] else 0


def prepare() -> None:
    venv = tool_venv("mutation")
    packages = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    own = next((venv / "lib").glob("python*/site-packages"))
    (own / "product.pth").write_text(f"{packages}\n")


def part(name: str) -> tuple[int, int]:
    """Change the files of one part; how many changes were noticed, and how many there were."""
    mutated, tests = PARTS[name]
    folder = COPY / name
    copy_tree(folder)
    lines = {
        "source_paths": ["bytemark_sync"],
        "only_mutate": mutated,
        "also_copy": ["project", "manage.py", "scripts"],
        "pytest_add_cli_args": ["-p", "no:xdist", "-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": tests,
    }
    text = "".join(f"{key}=\n" + "".join(f"    {value}\n" for value in values) for key, values in lines.items())
    (folder / "setup.cfg").write_text("[mutmut]\ndebug=true\n" + text)
    log = folder / "log.txt"
    with log.open("w") as file:
        command: list[str | Path] = [VENV / "bin" / "mutmut", "run", "--max-children", os.environ.get("PROCESSES", "1")]
        done = subprocess.run(command, cwd=folder, stdout=file, stderr=file, env=environment(), check=False)
    results = read_results(folder)
    refused = any(words in log.read_text(errors="replace") for words in REFUSED)
    if done.returncode or not results or refused:
        print(f"{name}: the tool failed, see {log}")
        return 0, 0
    counts = Counter(results.values())
    noticed = sum(count for result, count in counts.items() if result in NOTICED)
    print(f"{name}: {noticed} of {len(results)} changes noticed, {noticed / len(results):.1%} ({dict(counts)})")
    for mutant, result in results.items():
        if result not in NOTICED:
            print(f"  {result}: {mutant}\n{change(folder, mutant)}")
    return noticed, len(results)


def copy_tree(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("bytemark_sync", "project", "scripts", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("manage.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    with (folder / "tests" / "conftest.py").open("a") as file:
        file.write(PLAIN_NAMES)


def environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{VENV / 'bin'}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}


def read_results(folder: Path) -> dict[str, str]:
    command: list[str | Path] = [VENV / "bin" / "mutmut", "results", "--all", "true"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(), check=False)
    return dict(re.findall(r"^\s*(\S+__mutmut_\d+): (.+)$", done.stdout, re.MULTILINE))


def change(folder: Path, mutant: str) -> str:
    command: list[str | Path] = [VENV / "bin" / "mutmut", "show", mutant]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(), check=False)
    return "\n".join(f"    {line.strip()}" for line in done.stdout.splitlines() if re.match(r"[-+] ", line))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
