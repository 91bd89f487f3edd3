"""Checks of the connection, of tokens, and of answers as such."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from datetime import datetime

from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.bytemark.errors import Kind
from bytemark_sync.bytemark.names import safe_name
from bytemark_sync.domain.counters import many
from bytemark_sync.probe.evidence import Evidence, Exchange
from bytemark_sync.probe.verdicts import Check, differs, holds, not_seen

MIN_CERTIFICATE_DAYS = 14
RATE_HEADER = re.compile(r"(x-)?rate-?limit.*|x-(app-)?quota.*")
CACHE_HEADERS = (
    "cache-control",
    "etag",
    "last-modified",
    "expires",
    "age",
    "vary",
    "x-cache",
    "cf-cache-status",
    "via",
)
_SHARED = re.compile(r"\bpublic\b|\bs-maxage=[1-9]", re.IGNORECASE)


def reachable(seen: Evidence) -> Check:
    name = "reachable"
    answered = [one for one in seen.exchanges if one.answer.status is not None]
    failed = [one for one in seen.exchanges if one.answer.status is None or one.answer.status >= 500]
    if seen.down:
        so_far = f" {many(len(answered), 'request')} of {len(seen.exchanges)} got an answer." if answered else ""
        return differs(
            name,
            f"{_sentence(seen.down)}{so_far}",
            "Look at BYTEMARK_CUSTOMER_API_URL, the network and Bytemark's state, then probe again.",
        )
    if not answered:
        return not_seen(name, "Nothing was asked.")
    said = f"{many(len(answered), 'answer')} to {many(len(seen.exchanges), 'request')}."
    if failed:
        said += f" {many(len(failed), 'request')} failed, for example: {failed[-1].words}."
    return holds(name, said)


def tls(seen: Evidence, now: datetime) -> Check:
    name = "tls"
    if seen.tls is None:
        return not_seen(name, "Plain http to this machine.")
    if seen.tls.problem:
        return differs(name, _sentence(seen.tls.problem), "Without a trusted certificate nothing is asked.")
    ends = seen.tls.ends
    said = f"{seen.tls.version}; the certificate ends on {ends:%Y-%m-%d}." if ends else f"{seen.tls.version}."
    if ends is not None and (ends - now).days < MIN_CERTIFICATE_DAYS:
        return differs(name, said, "When it has ended nothing can be asked: tell Bytemark.")
    return holds(name, said)


def token_accepted(seen: Evidence) -> Check:
    name = "token_accepted"
    tried = len(seen.accepted) + len(seen.rejected)
    said = f"The tokens of {len(seen.accepted)} of {many(tried, 'rider')} are accepted."
    if seen.accepted:
        advice = "Riders whose token is rejected fail as token_rejected." if seen.rejected else ""
        return holds(name, said, advice)
    if seen.rejected:
        last = next(one for one in reversed(seen.exchanges) if one.rider is not None and one.error is not None)
        return differs(
            name,
            f"{said} The last: {last.words}.",
            "Name riders whose token is new (--user), or renew one (--login). Does the token belong to this API?",
        )
    return not_seen(name, "No rider's token was answered with a list or a rejection.")


def wrong_token(seen: Evidence) -> Check:
    name = "wrong_token"
    one = seen.wrong_token
    if one is None:
        return not_seen(name, "It was not asked.")
    if one.error is not None and one.error.kind == Kind.TOKEN_REJECTED:
        return holds(name, f"A made-up token is rejected: {one.words}.")
    if one.answer.status is None or one.answer.status >= 500 or one.answer.status == 429:
        return not_seen(name, f"A made-up token got no clear answer: {one.words}.")
    return differs(
        name,
        f"A made-up token is not rejected in a form that the product knows: {one.words}.",
        "The product would not see that a token has ended. The code that Bytemark sends belongs into body_errors.py.",
    )


def envelope(seen: Evidence) -> Check:
    name = "envelope"
    own = [one for one in seen.exchanges if one.rider is not None and one.answer.status is not None]
    bad = [one for one in own if one.error is not None and one.error.kind in _NO_LIST and not _odd(one)]
    forms = sorted({page.envelope for page in seen.pages})
    if bad:
        path = "Look at BYTEMARK_ORDERS_PATH." if not forms else "The product asks again after such an answer."
        said = f"{many(len(bad), 'answer')} of {len(own)} held no list of orders: {bad[-1].words}."
        return differs(name, said, path)
    if not forms:
        return not_seen(name, "No list of orders was seen.")
    words = {"data": "inside data of an envelope", "bare": "bare, without an envelope"}
    return holds(name, f"The list is {' or '.join(words[form] for form in forms)}. Both are read.")


_NO_LIST = {Kind.NOT_JSON, Kind.WRONG_SHAPE, Kind.API_ERROR, Kind.REDIRECT, Kind.REFUSED, Kind.TOO_LARGE}


def _odd(one: Exchange) -> bool:
    """Whether the request is unusual, so that the server may have refused the request itself."""
    return one.page < 1 or one.per_page > 10


def rate_limit(seen: Evidence, settings: BytemarkSettings) -> Check:
    name = "rate_limit"
    found = rate_values(seen)
    refused = [one for one in seen.exchanges if one.answer.status == 429]
    waited = [one for one in refused if one.answer.retry_after is not None]
    if not seen.exchanges:
        return not_seen(name, "Nothing was asked.")
    parts = []
    if refused:
        told = f"{len(waited)} with Retry-After" if waited else "none with Retry-After"
        parts.append(f"{many(len(refused), 'answer')} said 429, {told}; waited {seen.waited:.1f} s.")
    if found:
        parts.append("Headers: " + ", ".join(f"{header} {value}".strip() for header, value in found.items()) + ".")
    if not parts:
        return holds(name, f"No limit is announced, and none of {many(len(seen.exchanges), 'request')} was refused.")
    if settings.requests_per_second is not None:
        return holds(name, " ".join(parts), f"BYTEMARK_REQUESTS_PER_SECOND is {settings.requests_per_second:g}.")
    return differs(
        name,
        " ".join(parts),
        "The pace is learnt by itself. Where other jobs share the limit, set BYTEMARK_REQUESTS_PER_SECOND.",
    )


def cache_headers(seen: Evidence) -> Check:
    name = "cache_headers"
    good = [one for one in seen.exchanges if one.reading is not None]
    if not good:
        return not_seen(name, "No list of orders was seen.")
    names = [header for header in CACHE_HEADERS if any(header in one.answer.headers for one in good)]
    said = f"Headers: {', '.join(names)}." if names else "None."
    if any(_cached(one.answer.headers) for one in good):
        return differs(
            name,
            f"{said} Answers may come from a shared cache.",
            "A list may be old: new orders are then not found until the next run. Ask Bytemark.",
        )
    return holds(name, f"{said} Nothing says that an answer may come from a shared cache.")


def _cached(headers: Mapping[str, str]) -> bool:
    hit = any("hit" in headers.get(header, "").lower() for header in ("x-cache", "cf-cache-status"))
    aged = headers.get("age", "0").strip()
    return hit or (aged.isdecimal() and int(aged) > 0) or _SHARED.search(headers.get("cache-control", "")) is not None


def latency(seen: Evidence, settings: BytemarkSettings) -> Check:
    name = "latency"
    times = seconds_of_answers(seen)
    late = [one for one in seen.exchanges if one.error is not None and one.error.kind in (Kind.TIMEOUT, Kind.DEADLINE)]
    if not times:
        return not_seen(name, "No list of orders was seen.")
    said = f"Median {_time(statistics.median(times))}, worst {_time(max(times))} of {many(len(times), 'answer')}."
    if late:
        return differs(name, f"{said} {many(len(late), 'request')} came too late.", "Raise BYTEMARK_READ_TIMEOUT.")
    if max(times) > settings.read_timeout / 3:
        return differs(
            name,
            f"{said} The limit is {settings.read_timeout:g} s.",
            "Under load it may come too late: raise BYTEMARK_READ_TIMEOUT.",
        )
    return holds(name, said)


def seconds_of_answers(seen: Evidence) -> list[float]:
    """How long each good answer took."""
    return [one.answer.seconds for one in seen.exchanges if one.reading is not None]


def rate_values(seen: Evidence) -> dict[str, str]:
    """Known rate headers with their last value. The value is empty if it is not a number."""
    found: dict[str, str] = {}
    for one in seen.exchanges:
        for header, value in one.answer.headers.items():
            if RATE_HEADER.fullmatch(header):
                number = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*", value, re.ASCII)
                found[safe_name(header)] = number[1] if number else ""
    return found


def _time(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
