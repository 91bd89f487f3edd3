"""The API's behaviour in bounded memory: requests by kind of answer, and latency."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bytemark_sync.bytemark.shape import Shape
from bytemark_sync.bytemark.shape_sampler import ShapeSampler

_WIDTH = math.log(1.05)
_SMALLEST = 0.0001
_LAST_BUCKET = 400


class Histogram:
    """Durations in seconds, in buckets 5 % wide from 0.1 ms to over 8 hours: at most 401 numbers. Exact maximum."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.maximum = 0.0

    @property
    def count(self) -> int:
        return sum(self._buckets.values())

    def add(self, seconds: float) -> None:
        ratio = seconds / _SMALLEST
        bucket = 0 if ratio <= 1 else min(_LAST_BUCKET, math.ceil(math.log(ratio) / _WIDTH))
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.maximum = max(self.maximum, seconds)

    def merge(self, other: Histogram) -> None:
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.maximum = max(self.maximum, other.maximum)

    def quantile(self, q: float) -> float:
        """The quantile `q` (0 to 1) in seconds, at most 5 % too high; 0.0 if there are no durations."""
        rank = max(1, math.ceil(q * self.count))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                # The last bucket has no upper bound, so the maximum stands for it.
                top = self.maximum if bucket == _LAST_BUCKET else _SMALLEST * math.exp(bucket * _WIDTH)
                return min(top, self.maximum)
        return 0.0

    def to_json(self) -> dict[str, Any]:
        return {"max": self.maximum, "buckets": {str(bucket): n for bucket, n in sorted(self._buckets.items())}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Histogram:
        """The histogram that `to_json` wrote; empty for an empty dict or `None`."""
        histogram = cls()
        if value:
            histogram.maximum = float(value["max"])
            histogram._buckets = {int(bucket): int(count) for bucket, count in value["buckets"].items()}
        return histogram


@dataclass(frozen=True, slots=True)
class ApiSample:
    """What happened since the last sample. `answers` counts by `Kind`; `latency` is of all requests.

    `is_limited`: Bytemark's limit was known, so that the requests were made at the pace.
    """

    requests: int = 0
    retries: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    shape: Shape = field(default_factory=Shape)
    is_limited: bool = False


class ApiStats:
    """Counts from many threads. `shapes` looks at the answers themselves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.shapes = ShapeSampler()
        self._reset()

    def _reset(self) -> None:
        self._retries = 0
        self._answers: dict[str, int] = {}
        self._latency = Histogram()

    def record(self, kind: str, seconds: float) -> None:
        """One request that ended as `kind` after `seconds`, its body included."""
        with self._lock:
            self._answers[str(kind)] = self._answers.get(str(kind), 0) + 1
            self._latency.add(seconds)

    def retry(self) -> None:
        """One request is about to be repeated."""
        with self._lock:
            self._retries += 1

    @property
    def is_empty(self) -> bool:
        """There was no request since the last call of `drain`."""
        return not self._answers

    def drain(self) -> ApiSample:
        """The counts since the last call. Sets them to zero."""
        with self._lock:
            requests = sum(self._answers.values())
            sample = ApiSample(requests, self._retries, self._answers, self._latency, self.shapes.drain())
            self._reset()
            return sample
