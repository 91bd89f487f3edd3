"""The account API's client: one POST for one login. Every failure is a `BytemarkError`."""

from __future__ import annotations

import time

import msgspec

from bytemark_sync.bytemark.account_errors import read_login
from bytemark_sync.bytemark.client import HEADERS, BytemarkClient
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.bytemark.errors import BytemarkError, Eras, Interrupted, Kind, PauseRule, TryAgain
from bytemark_sync.bytemark.exchange import exchange
from bytemark_sync.bytemark.outage import Pass, Witness
from bytemark_sync.bytemark.token import Credentials, Secret, Token
from bytemark_sync.bytemark.transport import Transport

_HEADERS = {"Content-Type": "application/json", **HEADERS}


class NotSent(Interrupted):
    """The process was asked to stop before the login was sent."""


class AccountClient:
    """Shared by all threads of a process. It asks at the pace of `customer`, the order API's client, and waits with it.

    Whether Bytemark is away is told by the order API alone. A login is not sent meanwhile.
    """

    def __init__(self, settings: BytemarkSettings, customer: BytemarkClient, *, ca_file: str | None = None) -> None:
        self._settings = settings
        self._customer = customer
        self._transport = Transport(settings.login_url, settings, customer.stop, ca_file=ca_file, method="POST")

    def log_in(self, credentials: Credentials, *, user: int = 0, is_last: bool = False) -> Token:
        """Make one POST. Raises only `BytemarkError`: `LoginRefused`, `RateLimited`, `TryAgain`, `Interrupted`.

        `is_last`: it is the user's last attempt. If it fails, it is found out whether the order API answers.
        """
        one, generation = self._turn()
        kind = Kind.INTERRUPTED
        failed: TryAgain | None = None
        try:
            token = self._send(generation, credentials)
            kind = Kind.LOGIN
            return token
        except BytemarkError as error:
            kind = error.kind
            failed = error if isinstance(error, TryAgain) else None
            raise
        finally:
            eras = self._leave(one, kind, user)
            if failed is not None:
                failed.eras = eras
                if is_last:
                    self._customer.outage.doubt(eras)

    def _turn(self) -> tuple[Pass, int]:
        try:
            return self._customer.wait_for_turn()
        except Interrupted:
            raise NotSent from None

    def _leave(self, one: Pass, kind: Kind, user: int) -> Eras:
        """The eras of the login. Its answer says something of an outage only where it was itself the trial."""
        if one.is_trial and kind in (Kind.LOGIN, Kind.LOGIN_REFUSED):
            kind = Kind.REFUSED
        told = kind if one.is_trial else Kind.INTERRUPTED
        return self._customer.outage.leave(one, told, Witness(user, Token("")))

    def _send(self, generation: int, credentials: Credentials) -> Token:
        started = time.perf_counter()
        kind = Kind.INTERRUPTED
        try:
            deadline = self._transport.deadline()
            body = _body(credentials, self._settings)
            answer = exchange(lambda: self._transport.post(body, _HEADERS, deadline), deadline)
            token = read_login(answer, credentials, PauseRule(self._settings.outage_patience, time.time()))
            kind = Kind.LOGIN
            return token
        except BytemarkError as error:
            kind = error.kind
            self._customer.note_pause(error, generation)
            raise
        finally:
            self._customer.stats.record(kind, time.perf_counter() - started)
            self._customer.note_end(kind, generation)


def _body(credentials: Credentials, settings: BytemarkSettings) -> bytes:
    """The JSON of a login. That the client's id and secret stand in it, and by these names, is assumed here alone."""
    sent = {
        "email": credentials.email.reveal(),
        "password": credentials.password.reveal(),
        "client_id": settings.client_id,
    }
    if isinstance(settings.client_secret, Secret):
        sent["client_secret"] = settings.client_secret.reveal()
    return msgspec.json.encode(sent)
