"""The sandbox's answers to single requests, as fault rules ask for them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from bytemark_sync.sandbox.faults import FaultRule
from bytemark_sync.sandbox.http_server import Answer
from bytemark_sync.sandbox.wire import LOGIN_REFUSALS, NO_TOKEN, WRONG_SHAPES, encode, error_json

JSON = {"Content-Type": "application/json"}
HTML = b"<!doctype html><html><head><title>Maintenance</title></head><body><h1>Be right back</h1></body></html>"
OVERSIZE = 9 * 1024 * 1024
DRIP_SECONDS = 0.2
HANG_SECONDS = 600.0


def error(status: int, code: int, form: str) -> Answer:
    return Answer(status, encode(error_json(form, code) if code else {"data": None, "errors": []}), dict(JSON))


def refuse_login(reason: str, email: str, rule: FaultRule | None = None) -> Answer:
    """A login's refusal, a key of `LOGIN_REFUSALS`. `rule` may have another form, status and code for it."""
    refusal = LOGIN_REFUSALS[reason]
    form, status, code = (rule.form, rule.status, rule.code) if rule else ("", 0, 0)
    return Answer(status or refusal.status, encode(refusal.body(form, code, email)), dict(JSON))


def status_answer(rule: FaultRule) -> Answer:
    if rule.status == 304:
        return Answer(304, b"", {"ETag": '"sandbox"'})
    if rule.kind == "outage":
        answer = error(rule.status or 503, 0, "")
    else:
        answer = error(rule.status or 500, rule.code, rule.form)
    if rule.retry_after.startswith("date"):
        at = datetime.now(UTC) + timedelta(seconds=float(rule.retry_after.removeprefix("date") or 1))
        answer.headers["Retry-After"] = format_datetime(at, usegmt=True)
    elif rule.retry_after:
        answer.headers["Retry-After"] = rule.retry_after
    return answer


def _redirect(rule: FaultRule) -> Answer:
    return Answer(rule.status or 302, b"", {"Location": rule.location})


def _oversize(rule: FaultRule) -> Answer:
    size = rule.size or OVERSIZE
    start, end = b'{"data":{"orders":[],"total_count":0,"more":"', b'"},"errors":[]}'
    return Answer(200, start + b"x" * (size - len(start) - len(end)) + end, dict(JSON))


def _gzip_bomb(rule: FaultRule) -> Answer:
    return Answer(200, gzip.compress(_oversize(rule).body, 6), JSON | {"Content-Encoding": "gzip"})


READY: dict[str, Callable[[FaultRule], Answer]] = {
    "status": status_answer,
    "errors": lambda rule: error(rule.status or 200, rule.code or 50020, rule.form),
    "redirect": _redirect,
    "empty": lambda rule: Answer(200, b"", dict(JSON)),
    "not_json": lambda rule: Answer(200, HTML, {"Content-Type": "text/html"}),
    "wrong_shape": lambda rule: Answer(200, encode(WRONG_SHAPES[rule.form or "no_orders"]), dict(JSON)),
    "oversize": _oversize,
    "gzip_bomb": _gzip_bomb,
    "no_token": lambda rule: Answer(rule.status or 200, encode(NO_TOKEN[rule.form or "absent"]), dict(JSON)),
    "raw": lambda rule: Answer(rule.status or 200, rule.data or rule.body.encode(), dict(JSON)),
    "hang": lambda rule: Answer(0, delivery="hang", seconds=rule.seconds or HANG_SECONDS),
    "close": lambda rule: Answer(0, delivery="close"),
}
"""Faults that need no rider and no page. The other faults change how a good answer is sent."""


def misdeliver(answer: Answer, rule: FaultRule) -> None:
    if rule.kind == "half_json":
        answer.body = answer.body[: len(answer.body) // 2]
        return
    answer.delivery = rule.kind
    answer.seconds = DRIP_SECONDS if rule.seconds is None else rule.seconds
    answer.limit = rule.size or 0
