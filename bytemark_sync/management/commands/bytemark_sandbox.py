"""`manage.py bytemark_sandbox`: a local Bytemark with sample riders and their accounts, and faults on demand."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from bytemark_sync.sandbox.accounts import LIFETIME_FORMS, Lifetime, parse_lifetimes
from bytemark_sync.sandbox.faults import KINDS, FaultRule, parse_faults
from bytemark_sync.sandbox.limits import FORMS, Limit, parse_limit
from bytemark_sync.sandbox.replay import Replay, load
from bytemark_sync.sandbox.server import Sandbox
from bytemark_sync.sandbox.world import World


class Command(BaseCommand):
    help = "Serves a local Bytemark until Ctrl-C; prints its URL when it is ready. Faults: " + "; ".join(
        f"{kind}: {text}" for kind, text in KINDS.items()
    ).replace("%", "%%")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8765, help="0 takes a free one (default: %(default)s)")
        parser.add_argument("--latency", type=float, default=0.0, metavar="MS", help="milliseconds before each answer")
        parser.add_argument("--seed", type=int, default=1, help="of the sample and of the faults (default: 1)")
        parser.add_argument("--faults", default="", metavar="SPEC", help="kind:name=value,...;kind... or JSON or @file")
        parser.add_argument("--limit", default="", metavar="SPEC", help=f"429 beyond {FORMS}")
        parser.add_argument("--world", metavar="FILE", help="riders, tokens and listed orders as JSON; else a sample")
        parser.add_argument("--replay", metavar="FILE", help="riders of the shape that bytemark_probe --record kept")
        parser.add_argument("--users", type=int, default=200, help="of the sample (default: 200)")
        parser.add_argument("--orders-per-user", type=int, default=3, help="pending ones, of the sample (default: 3)")
        parser.add_argument("--trouble", type=float, default=0.0, help="share of users with something wrong, 0 to 1")
        parser.add_argument("--envelope", choices=["data", "bare"], default="data")
        parser.add_argument("--orders-path", default="/v4.0/orders")
        parser.add_argument("--login-path", default="/users/login")
        parser.add_argument("--client-id", action="append", default=[], help="that logins need; else any (repeatable)")
        parser.add_argument("--client-secret", default="", help="that logins need; else any or none")
        parser.add_argument("--lifetimes", default="", metavar="SPEC", help=f"of tokens: {LIFETIME_FORMS}")
        parser.add_argument("--keep-older-tokens", action="store_true", help="a login does not end the rider's tokens")
        parser.add_argument("--save-world", metavar="FILE", help="write the world that is served as JSON")
        parser.add_argument(
            "--fill-portal", action="store_true", help="insert its orders into the portal's tables, if these are empty"
        )
        parser.add_argument("--log-requests", action="store_true", help="a line a request on standard error, no tokens")

    def handle(self, *args: Any, **options: Any) -> None:
        replay = _replay(options)
        world = replay.world if replay else _world(options)
        if options["save_world"]:
            world.save(Path(options["save_world"]))
        if options["fill_portal"]:
            filled = world.fill_empty_portal()
            self.stdout.write("The portal's tables are filled." if filled else "The portal's tables hold rows already.")
        sandbox = Sandbox(
            world,
            faults=[*(replay.faults if replay else []), *_faults(options["faults"])],
            rejection=replay.rejection if replay else None,
            limit=_limit(options["limit"]),
            latency=options["latency"] / 1000,
            port=options["port"],
            seed=options["seed"],
            envelope=replay.envelope if replay else options["envelope"],
            orders_path=options["orders_path"],
            login_path=options["login_path"],
            client_ids=options["client_id"],
            client_secret=options["client_secret"],
            lifetimes=_lifetimes(options["lifetimes"]),
            keeps_older_tokens=options["keep_older_tokens"],
            log_requests=options["log_requests"],
        )
        try:
            sandbox.run(self._ready)
        except OSError as error:
            raise CommandError(
                f"Port {options['port']} cannot be used: {error.strerror}. Choose another by --port."
            ) from None

    def _ready(self, url: str) -> None:
        self.stdout.write(f"Bytemark sandbox at {url}")
        self.stdout.flush()


def _world(options: dict[str, Any]) -> World:
    if options["world"]:
        try:
            world = World.load(options["world"])
        except OSError as error:
            raise CommandError(f"--world: {error.strerror}: {options['world']}", returncode=2) from None
        except msgspec.MsgspecError as error:
            raise CommandError(f"--world: {error}", returncode=2) from None
    else:
        world = World.sample(
            users=options["users"],
            orders_per_user=options["orders_per_user"],
            seed=options["seed"],
            trouble=options["trouble"],
            accounts=True,
        )
    return world


def _replay(options: dict[str, Any]) -> Replay | None:
    if not options["replay"]:
        return None
    if options["world"]:
        raise CommandError("--replay and --world exclude each other.", returncode=2)
    try:
        return load(options["replay"])
    except OSError as error:
        raise CommandError(f"--replay: {error.strerror}: {options['replay']}", returncode=2) from None
    except (ValueError, msgspec.MsgspecError) as error:
        raise CommandError(f"--replay: {error}", returncode=2) from None


def _faults(text: str) -> list[FaultRule]:
    try:
        return parse_faults(text)
    except (ValueError, OSError, msgspec.MsgspecError) as error:
        raise CommandError(f"--faults: {error}", returncode=2) from None


def _lifetimes(text: str) -> list[Lifetime]:
    try:
        return parse_lifetimes(text)
    except (ValueError, msgspec.MsgspecError) as error:
        raise CommandError(f"--lifetimes: {error}", returncode=2) from None


def _limit(text: str) -> Limit | None:
    try:
        return parse_limit(text)
    except (ValueError, msgspec.MsgspecError) as error:
        raise CommandError(f"--limit: {error}", returncode=2) from None
