"""Stories that mostly wait are told at once, in threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def side_by_side(*stories: Callable[[], object]) -> None:
    """Tell all of them to the end. What went wrong in any is raised together, as one group of exceptions."""
    with ThreadPoolExecutor(len(stories)) as pool:
        told = [pool.submit(story) for story in stories]
    failures = [failure for each in told if (failure := each.exception())]
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} of {len(stories)} stories", failures)
