"""A tool in a venv of its own, so that it never changes what the product and its tests run on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zlib import crc32

ROOT = Path(__file__).resolve().parent.parent


def tool_venv(name: str) -> Path:
    """The venv `.venv-NAME` with what `requirements-NAME.txt` pins; made where it is missing or out of date."""
    venv, pinned = ROOT / f".venv-{name}", ROOT / f"requirements-{name}.txt"
    stamp, wanted = venv / "stamp", str(crc32(pinned.read_bytes()))
    if stamp.exists() and stamp.read_text() == wanted:
        return venv
    print(f"{venv.name}: making it from {pinned.name}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    pip: list[str | Path] = [venv / "bin" / "python", "-m", "pip", "install", "--require-hashes", "-r", pinned]
    subprocess.run([*pip, "--quiet", "--disable-pip-version-check"], check=True)
    stamp.write_text(wanted)
    return venv
