"""`manage.py bytemark_probe`: parse, call, print (docs/contract.md#managepy-bytemark_probe)."""

from __future__ import annotations

import os
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError

from bytemark_sync.bytemark.account import AccountClient
from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.bytemark.errors import Interrupted
from bytemark_sync.bytemark.gate import Gate
from bytemark_sync.domain.counters import many
from bytemark_sync.domain.matching import PendingUser
from bytemark_sync.management.base import JobCommand, checked_settings, read_options, stopping_on_signals
from bytemark_sync.management.probe_output import json_line, plain_lines, print_table, recommended_lines
from bytemark_sync.probe.asker import Asker
from bytemark_sync.probe.evidence import Evidence
from bytemark_sync.probe.judge import judge, recommended
from bytemark_sync.probe.login_checks import ask_as_stranger
from bytemark_sync.probe.plan import investigate
from bytemark_sync.probe.recording import record, write
from bytemark_sync.probe.tls import look_at_tls
from bytemark_sync.probe.verdicts import Verdict
from bytemark_sync.runs.pace_keeper import PaceKeeper
from bytemark_sync.runs.probe_login import ProbeLogin
from bytemark_sync.storage.database_retry import DatabaseGone, RowRefused, explain
from bytemark_sync.storage.probe_riders import named_riders, rider_with_any_token, riders_with_pending

LOGIN_HELP = (
    "log the one --user in, and read the orders with the new token. It is a real login: Bytemark makes a new token and"
    " may end the older ones, so the new one is written into bytemark_tokens, as a run does"
)

READERS: dict[str, Callable[[str], Any]] = {"user": int}


class Command(JobCommand):
    help = (
        "Check what is assumed of Bytemark's API against the real one, in at most 60 requests. It reads (see --login)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--user", type=int, action="append", default=[], metavar="ID", help="ask about this user; may be repeated")
        add("--login", action="store_true", help=LOGIN_HELP)
        add("--record", metavar="FILE", help="keep the shape of the answers in a new file, never a value")
        add("--json", action="store_true", help="the last line on standard output is one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        read_options(options, READERS)
        client_settings = checked_settings()
        file = _new_file(options["record"])
        login = _login(options, client_settings)
        seen = Evidence((_rider_of(login),) if login else _riders(options["user"]))
        stop = threading.Event()
        with stopping_on_signals(stop) as caught:
            seen.tls = look_at_tls(client_settings.base_url, timeout=client_settings.connect_timeout)
            try:
                self._ask(seen, BytemarkClient(client_settings, stop=stop), login)
            except Interrupted:
                raise CommandError("interrupted", returncode=128 + caught[0] if caught else 1) from None
        checks = judge(seen, client_settings, now=datetime.now(UTC))
        advised = recommended(seen, client_settings)
        out = self.stderr if options["json"] else self.stdout
        if out.isatty():
            print_table(out._out, checks, color=not options["no_color"])
        else:
            for line in plain_lines(checks):
                out.write(line, str)
        if file is not None:
            self._record(seen, file)
        set_now = {name: getattr(settings, name) for name in advised}
        for line in recommended_lines(advised, set_now, seen.requests):
            out.write(line, str)
        if options["json"]:
            self.stdout.write(json_line(checks, advised, seen.requests))
        wrong = [check for check in checks if check.verdict == Verdict.DIFFERS]
        if wrong:
            names = ", ".join(check.title for check in wrong)
            raise CommandError(f"{many(len(wrong), 'check')} with a difference: {names}", returncode=1)

    def _ask(self, seen: Evidence, client: BytemarkClient, login: ProbeLogin | None) -> None:
        """Raises `Interrupted`."""
        gate = Gate(client.stop, is_shared=True)
        pace = PaceKeeper(gate, client.settings.requests_per_second, dry_run=True)
        asker = Asker(
            seen,
            client.get_answer,
            wait=partial(_wait, client.stop),
            say=lambda text: self.stderr.write(text, str),
            turn=partial(_wait_for_turn, pace, gate),
        )
        with _explained():
            if client.settings.renews_tokens:
                account = AccountClient(client.settings, client)
                ask_as_stranger(asker, account.log_in)
                if login:
                    login.make(asker, account.log_in)
            investigate(asker, page_size=client.settings.page_size)
            if login:
                login.end(seen)

    def _record(self, seen: Evidence, file: Path) -> None:
        recording = record(seen)
        if recording is None:
            self.stderr.write(f"Nothing to record: {file} is not written.", self.style.NOTICE)
            return
        try:
            write(recording, file)
        except OSError as error:
            raise CommandError(f"--record: {error.strerror}: {file}", returncode=2) from None
        self.stderr.write(f"Recorded: {file}", str)


def _new_file(name: str | None) -> Path | None:
    """Raises `CommandError` with status 2 if no new file can be made there."""
    if not name:
        return None
    file = Path(name)
    if file.exists() or file.is_symlink():
        raise CommandError(f"--record: {file} exists already; it is not overwritten.", returncode=2)
    if not os.access(file.parent, os.W_OK):
        raise CommandError(f"--record: no file can be written in {file.parent}.", returncode=2)
    return file


def _login(options: dict[str, Any], client_settings: BytemarkSettings) -> ProbeLogin | None:
    """Raises `CommandError` with status 2 if the login that is wanted cannot be made."""
    if not options["login"]:
        return None
    if len(options["user"]) != 1:
        raise CommandError("--login: name the one rider by --user ID.", returncode=2)
    if not client_settings.renews_tokens:
        raise CommandError("--login: set BYTEMARK_ACCOUNT_API_URL and BYTEMARK_CLIENT_ID.", returncode=2)
    login = ProbeLogin(options["user"][0])
    with _explained():
        why_not = login.why_not()
    if why_not:
        raise CommandError(f"--login: {why_not}", returncode=2)
    return login


def _rider_of(login: ProbeLogin) -> PendingUser:
    with _explained():
        return rider_with_any_token(login.user_id)


@contextmanager
def _explained() -> Iterator[None]:
    """An error of the database inside the block ends the command with status 2."""
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        raise CommandError(explain(error), returncode=2) from None
    except (DatabaseGone, RowRefused) as error:
        raise CommandError(str(error), returncode=2) from None


def _riders(user_ids: list[int]) -> tuple[PendingUser, ...]:
    """Raises `CommandError` with status 2 if there is nobody to ask about."""
    with _explained():
        riders = named_riders(user_ids) if user_ids else riders_with_pending()
    without = [str(user_id) for user_id in user_ids if user_id not in {rider.user_id for rider in riders}]
    if without:
        raise CommandError(f"--user {', '.join(without)}: no token to ask with.", returncode=2)
    if not riders:
        raise CommandError("No user has pending orders and a token. Name one by --user.", returncode=2)
    return tuple(riders)


def _wait_for_turn(pace: PaceKeeper, gate: Gate) -> None:
    """Wait until the pace of all processes lets a request through. The pace is only read."""
    pace.tick()
    if gate.enter(meanwhile=pace.tick) is None:
        raise Interrupted


def _wait(stop: threading.Event, seconds: float) -> None:
    if stop.wait(seconds):
        raise Interrupted
