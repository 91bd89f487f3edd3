"""Rules that say which requests go wrong, and how. They follow from a seed, whatever the order of the requests.

A rule is JSON, or short text for a command line: `status:status=503,retry_after=2,probability=0.1;hang:nth=3`.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from bytemark_sync.sandbox.wire import ERROR_FORMS, JUNK, LOGIN_FORMS, LOGIN_REFUSALS, NO_TOKEN, WRONG_SHAPES

LOGIN_ANSWERS = {
    "refuse": "a login is refused for `reason` (wrong_password, unknown_account, client or unclear), in `form` (also"
    " oauth), with `status` and `code` of its own",
    "no_token": "a login is answered without a token that could be used, by `form`",
    "dead_token": "a login gives a token that opens nothing",
}
ANSWERS = LOGIN_ANSWERS | {
    "status": "an HTTP error `status` (500), with `code` in `form` where set, and `retry_after` (seconds, or `date+N`);"
    " 304 comes without a body",
    "errors": "HTTP 200 with error `code` (50020) in `form`",
    "redirect": "`status` (302) to `location` (a path of the sandbox that records who comes)",
    "hang": "no answer for `seconds` (600), then the connection is closed",
    "close": "the connection is closed without an answer",
    "reset": "the connection is reset, after `size` bytes of the answer",
    "drip_headers": "the answer's head, a byte each `seconds` (0.2)",
    "drip_body": "the answer's body, a byte each `seconds` (0.2)",
    "cut": "half of the body that Content-Length promises",
    "cut_chunked": "half of a chunked body, without its end",
    "empty": "HTTP 200 without a body",
    "not_json": "HTTP 200 with a page of HTML",
    "half_json": "HTTP 200 with half of the JSON, of the right length",
    "wrong_shape": "HTTP 200 with JSON that is no page, by `form`",
    "oversize": "HTTP 200 with a body of `size` bytes (9 MiB), of JSON that would be a page",
    "gzip_bomb": "the same, compressed",
    "raw": "HTTP `status` (200) with `body` as it stands, or `data` (bytes; base64 in JSON)",
}
SENDING = {
    "latency": "`seconds` more, with `jitter` seconds at random on top",
    "gzip": "the answer is compressed with gzip",
    "chunked": "the answer is sent in chunks, without Content-Length",
}
CHANGES = SENDING | {
    "malformed_order": "a junk entry by `form` before the page's orders",
    "ignore_page": "page 1 whatever page is asked for",
    "repeat_page": "the page before the one asked for",
    "reorder": "the list is shuffled anew for this request",
    "grow": "a new order has come to the head of the list since the last request",
    "total_count": "`form`: absent, big, small, text, null, negative, float",
    "next": "`pagination.next`: absent, null or always there whatever follows; or, where more follows, path, true (null"
    " at the end), false (true, then false), empty (a path, then an empty text)",
    "clamp": "at most `size` (20) orders a page, whatever `per_page` asks for",
    "no_pagination": "nothing in the object but `orders`",
}
OUTAGE = {
    "outage": "the whole API, or only what `on` says, is away from `after` seconds after the first request, or once"
    " `after_requests` came, for `seconds` (for good); `form`: status (`status` 503, with `retry_after`"
    " where set), close (a connection is closed without an answer), refuse (no connection is taken, to the controls"
    " neither, so it needs `seconds`), hang",
}
KINDS = ANSWERS | CHANGES | OUTAGE
NEXT_FORMS = ("absent", "null", "always", "path", "true", "false", "empty")
OUTAGE_FORMS = ("status", "close", "refuse", "hang")
OUTAGE_FIELDS: Final = {"kind", "on", "form", "status", "retry_after", "after", "after_requests", "seconds"}
TOTAL_FORMS = ("absent", "big", "small", "text", "null", "negative", "float")


class FaultRule(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """One rule. It applies to each request that it matches. Of several answers the first one is used; changes add up.

    It is for requests for `orders`, or `on` a `login`. It matches if every given limit does: `users`, `pages`, `nth`
    (of the requests within these, from 1), `times` (in total), `times_per_user`, and `probability` last.
    """

    kind: str
    on: str = ""
    probability: float = 1.0
    nth: list[int] | None = None
    users: list[int] | None = None
    pages: list[int] | None = None
    times: int | None = None
    times_per_user: int | None = None
    status: int = 0
    code: int = 0
    form: str = ""
    reason: str = ""
    retry_after: str = ""
    location: str = "/elsewhere"
    seconds: float | None = None
    jitter: float = 0.0
    size: int | None = None
    body: str = ""
    data: bytes = b""
    after: float = 0.0
    after_requests: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; use one of {', '.join(KINDS)}")
        forms: dict[str, Any] = {
            "errors": ERROR_FORMS,
            "status": ERROR_FORMS,
            "wrong_shape": WRONG_SHAPES,
            "malformed_order": JUNK,
            "total_count": TOTAL_FORMS,
            "next": NEXT_FORMS,
            "outage": OUTAGE_FORMS,
            "refuse": LOGIN_FORMS,
            "no_token": NO_TOKEN,
        }
        if self.form and self.form not in forms.get(self.kind, ()):
            raise ValueError(
                f"unknown form {self.form!r} of {self.kind}; use one of {', '.join(forms.get(self.kind, ()))}"
            )
        given = {field.name for field in msgspec.structs.fields(self) if getattr(self, field.name) != field.default}
        useless = given - OUTAGE_FIELDS if self.kind == "outage" else given & {"after", "after_requests"}
        if useless:
            raise ValueError(f"{self.kind} takes no {', '.join(sorted(useless))}")
        self._check_place()
        if self.form == "refuse" and self.seconds is None:
            raise ValueError("an outage that refuses connections needs seconds: nothing but time can end it")
        if self.kind == "clamp" and self.size is not None and self.size < 1:
            raise ValueError("clamp: size must be at least 1")

    def _check_place(self) -> None:
        if self.on not in ("", "orders", "login"):
            raise ValueError(f"unknown on={self.on}; use orders or login")
        if self.kind in LOGIN_ANSWERS and self.on == "orders":
            raise ValueError(f"{self.kind} is for logins")
        if self.on == "login" and (self.kind in CHANGES.keys() - SENDING.keys() or self.pages is not None):
            raise ValueError(f"{self.kind}: a login has no pages and no list")
        if self.form == "refuse" and self.on:
            raise ValueError("an outage that refuses connections is of the whole API")
        if self.reason and (self.kind != "refuse" or self.reason not in LOGIN_REFUSALS):
            raise ValueError(f"reason={self.reason}: a rule refuse has one, of {', '.join(LOGIN_REFUSALS)}")

    @property
    def place(self) -> str:
        """`orders` or `login`; empty where an outage is of both."""
        if self.kind in LOGIN_ANSWERS:
            return "login"
        return self.on or ("" if self.kind in OUTAGE else "orders")


def parse_faults(text: str) -> list[FaultRule]:
    """Rules from JSON, `@file` with JSON, or the short form. Raises `ValueError` that says what is wrong."""
    text = text.strip()
    if text.startswith("@"):
        text = Path(text[1:]).read_text().strip()
    if text.startswith(("[", "{")):
        return decode_rules(text.encode())
    return [_short(part.strip()) for part in text.split(";") if part.strip()]


def decode_rules(body: bytes) -> list[FaultRule]:
    """A JSON list of rules, or one rule."""
    return (
        msgspec.json.decode(body, type=list[FaultRule])
        if body.lstrip().startswith(b"[")
        else [msgspec.json.decode(body, type=FaultRule)]
    )


def _short(part: str) -> FaultRule:
    kind, _, rest = part.partition(":")
    fields: dict[str, Any] = {"kind": kind.strip()}
    for pair in filter(None, rest.split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"fault {part!r}: {pair!r} is not name=value")
        name = name.strip()
        fields[name] = value.split("|") if name in ("nth", "users", "pages") else value
    return msgspec.convert(fields, type=FaultRule, strict=False)


class FaultBook:
    """The rules in force for single requests, and how often each has matched."""

    def __init__(self, rules: list[FaultRule], seed: int = 0) -> None:
        self._seed = seed
        self.fired: dict[str, int] = {}
        self.replace(rules)

    def replace(self, rules: list[FaultRule]) -> None:
        self._rules = [
            _Counted(rule, f"{self._seed} {number}") for number, rule in enumerate(rules) if rule.kind not in OUTAGE
        ]

    def choose(self, user_id: int | None, page: int, place: str = "orders") -> list[FaultRule]:
        """The rules for this request: all changes, and at most one answer. A login is of page 0."""
        chosen: list[FaultRule] = []
        answered = False
        for counted in self._rules:
            is_answer = counted.rule.kind in ANSWERS
            if counted.rule.place != place or (answered and is_answer) or not counted.fits(user_id, page):
                continue
            answered = answered or is_answer
            chosen.append(counted.rule)
            self.fired[counted.rule.kind] = self.fired.get(counted.rule.kind, 0) + 1
        return chosen


class _Counted:
    __slots__ = ("_asked", "_matched", "_per_user", "_seed", "_times", "rule")

    def __init__(self, rule: FaultRule, seed: str) -> None:
        self.rule = rule
        self._seed = seed
        self._matched = 0
        self._times = 0
        self._per_user: dict[int | None, int] = {}
        self._asked: dict[tuple[int | None, int], int] = {}

    def fits(self, user_id: int | None, page: int) -> bool:
        rule = self.rule
        if rule.users is not None and user_id not in rule.users:
            return False
        if rule.pages is not None and page not in rule.pages:
            return False
        self._matched += 1
        if rule.nth is not None and self._matched not in rule.nth:
            return False
        if rule.times is not None and self._times >= rule.times:
            return False
        if rule.times_per_user is not None and self._per_user.get(user_id, 0) >= rule.times_per_user:
            return False
        if rule.probability < 1.0 and not self._drawn(user_id, page):
            return False
        self._times += 1
        if rule.times_per_user is not None:
            self._per_user[user_id] = self._per_user.get(user_id, 0) + 1
        return True

    def _drawn(self, user_id: int | None, page: int) -> bool:
        """Drawn from user, page and the number of requests for that page, so that racing threads change nothing."""
        asked = self._asked.get((user_id, page), 0)
        self._asked[user_id, page] = asked + 1
        return Random(f"{self._seed} {user_id} {page} {asked}").random() < self.rule.probability
