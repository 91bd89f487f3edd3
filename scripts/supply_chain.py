"""`make supply-chain`: what the product and its tests stand on may be used, and has no known vulnerability.

Licences are read from the installed packages and held against a list. Vulnerabilities are asked of PyPI by pip-audit;
where it cannot be reached that is said, for then nothing is known. Exit status 1 where something was found.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tool_venv import ROOT, tool_venv

ALLOWED = {
    "MIT",
    "MIT License",
    "BSD License",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "3-Clause BSD License",
    "Apache Software License",
    "Apache-2.0",
    "PSF-2.0",
    "DFSG approved",
    "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)",
}
"""The MPL binds whoever changes the library's own files; nobody does here."""

EXCEPTIONS = {
    "mysqlclient": ("GPL-2.0-or-later", "the job runs on the operator's own machines and is not handed on"),
    "axe-playwright-python": (
        "UNKNOWN",
        "names no licence in its data; its LICENSE file is the MIT licence; tests only",
    ),
}
"""Package to the licence it is known to have, and why it may be used all the same."""


def main() -> int:
    programs = tool_venv("audit") / "bin"
    bad = licences(programs)
    found = vulnerabilities(programs)
    return 1 if bad or found else 0


def licences(programs: Path) -> list[str]:
    """Packages whose licence is not on the list."""
    tool: list[str | Path] = [programs / "pip-licenses", "--python", sys.executable, "--format=json"]
    done = subprocess.run(tool, check=True, capture_output=True, text=True)
    packages = json.loads(done.stdout)
    bad = []
    for package in packages:
        name, licence = package["Name"], package["License"]
        if allowed(licence):
            continue
        known, reason = EXCEPTIONS.get(name, ("", ""))
        if known == licence:
            print(f"licences: {name} ({licence}) is an exception: {reason}")
        else:
            bad.append(name)
            print(f"licences: {name} {package['Version']} has {licence!r}, which is not on the list")
    print(f"licences: {len(packages)} packages, {len(bad)} not allowed")
    return bad


def allowed(licence: str) -> bool:
    """Where a package may be had under one of several, one that is allowed is enough; of several at once, all."""
    choices = re.split(r" OR ", licence)
    return any(all(part.strip() in ALLOWED for part in re.split(r" AND |;", choice)) for choice in choices)


def vulnerabilities(programs: Path) -> list[str]:
    """Packages with a known vulnerability, as far as the service could be asked."""
    found: list[str] = []
    for path in sorted(ROOT.glob("requirements*.txt")):
        found += _ask(programs / "pip-audit", path)
    return found


def _ask(program: Path, requirements: Path) -> list[str]:
    tool: list[str | Path] = [program, "-r", requirements]
    options = ("--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json")
    try:
        done = subprocess.run([*tool, *options], capture_output=True, text=True, timeout=300, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print(f"vulnerabilities: COULD NOT LOOK for {requirements.name}: the service was not reached; nothing is known")
        return []
    skipped = [package for package in packages if "skip_reason" in package]
    found = [package for package in packages if package.get("vulns")]
    for package in found:
        for one in package["vulns"]:
            fixed = ", ".join(one["fix_versions"]) or "no version yet"
            print(f"vulnerabilities: {package['name']} {package['version']}: {one['id']}, mended in {fixed}")
    if len(skipped) == len(packages):
        print(f"vulnerabilities: COULD NOT LOOK for {requirements.name}: the service knows none of its packages,")
        print("    so it was not really reached (a mirror stands in its place?); nothing is known")
    elif skipped:
        names = ", ".join(package["name"] for package in skipped)
        print(f"vulnerabilities: COULD NOT LOOK for some of {requirements.name}: {names}")
    looked = f"{len(packages) - len(skipped)} of {len(packages)} packages looked up"
    print(f"vulnerabilities: {requirements.name}: {looked}, {len(found)} with findings")
    return [package["name"] for package in found]


if __name__ == "__main__":
    sys.exit(main())
