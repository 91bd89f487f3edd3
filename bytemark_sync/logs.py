"""Logging to the standard error of the moment, so that a progress bar or a test that replaces it gets the lines."""

from __future__ import annotations

import logging
import sys
from typing import TextIO


class StderrHandler(logging.StreamHandler[TextIO]):
    """A `StreamHandler` that looks `sys.stderr` up at each line instead of once at start-up."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr
