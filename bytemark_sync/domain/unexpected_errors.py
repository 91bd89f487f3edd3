"""Words for an unexpected exception. Knows no Django, so that the threads of the pool can use it."""

from __future__ import annotations

import traceback
from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def describe(error: BaseException) -> str:
    """Its class and where it was raised. Its text is left out because it may hold a row's value or a token."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if PACKAGE in Path(frame.filename).parents] or frames
    place = f" in {ours[-1].name}, {Path(ours[-1].filename).name} line {ours[-1].lineno}" if ours else ""
    return f"internal error: {type(error).__name__}{place}"
