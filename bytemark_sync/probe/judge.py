"""All checks in the order in which they are shown, and the settings that follow from them."""

from __future__ import annotations

import math
import statistics
from datetime import datetime

from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.probe import answer_checks, list_checks, login_checks
from bytemark_sync.probe.evidence import Evidence
from bytemark_sync.probe.verdicts import Check

Value = int | float

REQUESTS_A_SECOND = 100
"""What one process may ask for while no limit is known; Bytemark's 429 lowers it."""

DEFAULT_WORKERS, MAX_WORKERS = 16, 64
"""`BYTEMARK_WORKERS` as it is set by default, and the most that one process gains by."""

WORST_LATENCY_MARGIN = 10
"""Under load an answer may take so many times as long as the slowest that the probe saw."""


def judge(seen: Evidence, settings: BytemarkSettings, *, now: datetime) -> list[Check]:
    return [
        answer_checks.reachable(seen),
        answer_checks.tls(seen, now),
        answer_checks.token_accepted(seen),
        answer_checks.wrong_token(seen),
        answer_checks.envelope(seen),
        list_checks.total_count(seen),
        list_checks.pagination_next(seen),
        list_checks.page_size(seen, settings.page_size),
        list_checks.page_numbers(seen),
        list_checks.list_order(seen),
        list_checks.same_page_twice(seen),
        answer_checks.rate_limit(seen, settings),
        answer_checks.cache_headers(seen),
        answer_checks.latency(seen, settings),
        list_checks.order_shape(seen),
        list_checks.pass_uuid(seen),
        *([login_checks.wrong_login(seen), login_checks.rider_login(seen)] if settings.renews_tokens else []),
    ]


def recommended(seen: Evidence, settings: BytemarkSettings) -> dict[str, Value]:
    """Setting -> value, for the settings that the answers say something about. It may be set already."""
    found: dict[str, Value] = {}
    if size := list_checks.largest_filled(seen):
        found["BYTEMARK_PAGE_SIZE"] = size
    times = answer_checks.seconds_of_answers(seen)
    if not times:
        return found
    rate = announced_rate(answer_checks.rate_values(seen))
    if rate is not None:
        found["BYTEMARK_REQUESTS_PER_SECOND"] = rate
    wanted = math.ceil((rate or REQUESTS_A_SECOND) * statistics.median(times))
    found["BYTEMARK_WORKERS"] = min(MAX_WORKERS, max(1 if rate else DEFAULT_WORKERS, wanted))
    read = max(30, math.ceil(max(times) * WORST_LATENCY_MARGIN / 5) * 5)
    found["BYTEMARK_CONNECT_TIMEOUT"] = max(5, math.ceil(max(times)))
    found["BYTEMARK_READ_TIMEOUT"] = read
    found["BYTEMARK_REQUEST_DEADLINE"] = 2 * read
    return found


def announced_rate(headers: dict[str, str]) -> Value | None:
    """Requests a second, where the headers name both a limit and its window in seconds."""
    limit = _first(headers, "ratelimit-limit", "x-ratelimit-limit", "x-rate-limit-limit", "ratelimit")
    window = _first(headers, "x-ratelimit-window", "x-rate-limit-window", "ratelimit-window", "x-ratelimit-period")
    if not limit or not window:
        return None
    rate = limit / window
    return int(rate) if rate >= 10 else round(rate, 2)


def _first(headers: dict[str, str], *names: str) -> float:
    return next((float(headers[name]) for name in names if headers.get(name)), 0.0)
