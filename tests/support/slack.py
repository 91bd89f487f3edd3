"""The one Slack of the tests: it answers over a real socket as a test scripts it, and keeps what was posted."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self
from urllib.parse import parse_qs

from tests.support.misbehaving_server import Handler, Request, Server, send, serve

TOKEN = "xoxb-made-up-for-tests"
PATH = "/api/"


def reply(status: int = 200, body: object = None, **headers: str) -> Handler:
    """An answer of Slack's, by default that the message was taken."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request, sock: send(sock, status, {"ok": True} if body is None else body, named)


class FakeSlack:
    """Answers from `script` in turn, the last one for ever."""

    def __init__(self) -> None:
        self.script: list[Handler] = [reply()]
        self.posts: list[dict[str, str]] = []
        self.tokens: list[str] = []
        self.server: Server

    @property
    def url(self) -> str:
        return self.server.url + PATH

    def handle(self, request: Request, sock: socket.socket) -> None:
        assert (request.method, request.path) == ("POST", f"{PATH}chat.postMessage")
        self.posts.append(posted(request))
        self.tokens.append(request.headers["authorization"])
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        answer(request, sock)

    @classmethod
    @contextmanager
    def serving(cls, *script: Handler) -> Iterator[Self]:
        fake = cls()
        fake.script = list(script) or fake.script
        with serve(fake.handle) as server:
            fake.server = server
            yield fake


def posted(request: Request) -> dict[str, str]:
    """The fields of a message, which Slack takes as JSON or as a form."""
    text = request.body.decode()
    return json.loads(text) if text.startswith("{") else {name: found[0] for name, found in parse_qs(text).items()}
