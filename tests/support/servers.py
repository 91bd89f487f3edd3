"""Private servers for tests: MariaDB, Redis, a sandbox process. Own folders, sockets and free ports; stopped by pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urlsplit

from bytemark_sync.sandbox import SandboxControl, World
from tests.support.children import spawn
from tests.support.portal_tables import PORTAL_TABLES

ROOT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "portal-password"  # made up; the server listens on loopback alone
OWNER = "portal"
"""Who owns every database of the tests: the tests look and fill with it. In two places the product has less."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(ready: Callable[[], bool], seconds: float, what: str, every: float = 0.05) -> None:
    """Poll until `ready`; AssertionError names `what` did not happen in time."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


class Server:
    """A private server process with a folder of its own: `with MariaDB() as server:`."""

    name = "server"
    allowed = True
    """False while a test runs that is not marked `server`, for `make test-fast` starts none."""

    @classmethod
    def must_be_allowed(cls) -> None:
        assert Server.allowed, "mark the test with `server`: it needs a database server or Redis"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"bytemark-{self.name}-"))
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    def command(self) -> list[str | Path]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.must_be_allowed()
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self) -> None:
        """Once, before the first start."""

    def start(self) -> None:
        """Start, and return when it answers."""
        log = (self.folder / "server.log").open("a")
        self.process = spawn(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        log.close()
        wait_for(self._up, 60, f"{self.name} answers (log in {self.folder})")

    def _up(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended: {(self.folder / 'server.log').read_text()[-2000:]}")
        return self.is_ready()

    def stop(self) -> None:
        """In good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None


class Databases:
    """What the tests ask of a database server, MariaDB or MySQL."""

    kind: str
    port: int

    def connect(self, database: str) -> Any:
        """A plain connection in autocommit, as administrator."""
        raise NotImplementedError

    def execute(self, *statements: str) -> None:
        connection = self.connect("")
        try:
            for statement in statements:
                connection.cursor().execute(statement)
        finally:
            connection.close()

    def all(self, statement: str, database: str = "") -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""
        connection = self.connect(database)
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall())
        finally:
            connection.close()

    def deadlocks(self) -> int:
        """How many transactions were given up for a deadlock since the server started."""
        statement = (
            "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'"
            if self.kind == "mariadb"
            else "SELECT name, count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'"
        )
        return int(self.all(statement)[0][1])

    def create_database(self, name: str, charset: str = "utf8mb4") -> str:
        """Make an empty database; its `DATABASE_URL`, of a user who owns it: one place (docs/contract.md#one-place)."""
        self.execute(
            f"CREATE DATABASE `{name}` CHARACTER SET {charset}",
            f"CREATE USER IF NOT EXISTS '{OWNER}'@'%' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT ALL ON `{name}`.* TO '{OWNER}'@'%'",
        )
        return f"mysql://{OWNER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def create_two_places(self, name: str, tables: Sequence[str] = PORTAL_TABLES, *, renews: bool = False) -> str:
        """A portal's database with `tables`, an empty one beside it, and a user with the contract's rights alone.

        `renews`: with the one right more that the renewal of tokens needs. The `DATABASE_URL` of that user, with the
        portal's database behind a `#` (`tests.support.harness.places`).
        """
        portal = f"{name}_portal"
        self.create_database(portal)
        self.create_database(name)
        connection = self.connect(portal)
        try:
            for statement in tables:
                connection.cursor().execute(statement)
        finally:
            connection.close()
        self.execute(f"CREATE USER '{name}'@'%' IDENTIFIED BY '{PASSWORD}'", *grants(name, name, portal, renews=renews))
        return f"mysql://{name}:{PASSWORD}@127.0.0.1:{self.port}/{name}#{portal}"

    def drop(self, url: str) -> None:
        """What `create_database` or `create_two_places` made."""
        address, _, portal = url.partition("#")
        name = address.rpartition("/")[2]
        self.execute(f"DROP DATABASE `{name}`")
        if portal:
            self.execute(f"DROP DATABASE `{portal}`", f"DROP USER '{name}'@'%'")


def grants(user: str, own: str, portal: str, *, renews: bool = False) -> list[str]:
    """The rights of the contract, and nothing more (README: On a real portal)."""
    update = ", UPDATE (token)" if renews else ""
    return [
        f"GRANT ALL PRIVILEGES ON `{own}`.* TO '{user}'@'%'",
        f"GRANT SELECT, UPDATE ON `{portal}`.`bytemark_orders` TO '{user}'@'%'",
        f"GRANT SELECT{update} ON `{portal}`.`bytemark_tokens` TO '{user}'@'%'",
        f"GRANT SELECT, INSERT ON `{portal}`.`bytemark_order_items` TO '{user}'@'%'",
    ]


class MySQL(Databases):
    """A server that is there already: `TEST_MYSQL_URL`, of an administrator."""

    kind = "mysql"

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self.port = self._parts.port or 3306

    def connect(self, database: str) -> Any:
        import MySQLdb

        return MySQLdb.connect(
            host="127.0.0.1",
            port=self.port,
            user=self._parts.username or "",
            password=self._parts.password or "",
            database=database,
            charset="utf8mb4",
            autocommit=True,
        )


class MariaDB(Server, Databases):
    """A MariaDB on loopback. Not durable against a crash of the machine unless `durable`; a killed server recovers."""

    name = kind = "mariadb"

    def __init__(self, *, durable: bool = False, options: Sequence[str] = ()) -> None:
        super().__init__()
        self.durable = durable
        self.options = list(options)
        self.socket = self.folder / "s"

    def prepare(self) -> None:
        if shutil.which("mariadb-install-db") is None:
            raise RuntimeError("MariaDB is not installed: run `make setup-test`, or install mariadb-server.")
        # Two installs at once would meet over their temporary tables in /tmp.
        (self.folder / "tmp").mkdir(exist_ok=True)
        command = [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--tmpdir={self.folder / 'tmp'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *self._user(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def command(self) -> list[str | Path]:
        fast = (
            [] if self.durable else ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--sync-binlog=0"]
        )
        program = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
        return [
            program,
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--tmpdir={self.folder / 'tmp'}",
            f"--socket={self.socket}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            "--aria-pagecache-buffer-size=8M",
            "--key-buffer-size=4M",
            "--performance-schema=OFF",
            "--max-connections=200",
            "--character-set-server=utf8mb4",
            "--log-warnings=1",
            *fast,
            *self._user(),
            *self.options,
        ]

    def is_ready(self) -> bool:
        import MySQLdb

        try:
            self.connect("").close()
        except MySQLdb.Error:
            return False
        return True

    def connect(self, database: str) -> Any:
        """A plain connection in autocommit, as root."""
        import MySQLdb

        return MySQLdb.connect(
            unix_socket=str(self.socket), user="root", database=database, charset="utf8mb4", autocommit=True
        )

    @staticmethod
    def _user() -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []


class Redis(Server):
    """A Redis on loopback, kept in memory; `persistent` keeps its data over `restart` and `kill`."""

    name = "redis"

    def __init__(self, *, persistent: bool = False) -> None:
        super().__init__()
        self.persistent = persistent
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str | Path]:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("Redis is not installed: run `make setup-test`, or install redis-server.")
        return [
            program,
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""),
            *("--appendonly", "yes" if self.persistent else "no", "--appendfsync", "always"),
        ]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class SandboxProcess(SandboxControl):
    """`manage.py bytemark_sandbox` in a process of its own: `with SandboxProcess(world) as sandbox: sandbox.url`."""

    def __init__(self, world: World, *, latency: float = 0.0, faults: str = "", options: Sequence[str] = ()) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="bytemark-sandbox-"))
        world.save(self._folder / "world.json")
        self._options = ["--latency", str(latency * 1000), "--faults", faults, *options]

    def __enter__(self) -> Self:
        command: list[str | Path] = [sys.executable, ROOT / "manage.py", "bytemark_sandbox", "--port", "0"]
        self.process = spawn(
            [*command, "--world", self._folder / "world.json", *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=clean_environment(),
        )
        output: IO[str] | None = self.process.stdout
        line = output.readline() if output else ""
        if "http://" not in line:
            self.__exit__(None, None, None)
            raise AssertionError("the sandbox did not start")
        self.url = line.split()[-1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(30)
        if self.process.stdout:
            self.process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def clean_environment(extra: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """What a process of the product gets in tests: nothing of the developer's own settings, tiny backoffs.

    A value of None takes a variable away.
    """
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
    environment: dict[str, str | None] = {name: os.environ.get(name) for name in kept}
    environment |= {
        "DEBUG": "1",
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE"),
        # Empty counts as unset, and keeps a developer's own .env out.
        **dict.fromkeys(
            ("REDIS_URL", "SLACK_BOT_TOKEN", "SLACK_CHANNEL_ID", "SITE_URL", "METRICS_TOKEN", "PORTAL_DATABASE"), ""
        ),
        **dict.fromkeys(("SENTRY_DSN", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER"), ""),
        "BYTEMARK_BACKOFF_BASE": "0.005",
        "BYTEMARK_BACKOFF_CAP": "0.05",
        "BYTEMARK_CONNECT_TIMEOUT": "2",
        "BYTEMARK_READ_TIMEOUT": "5",
        "BYTEMARK_REQUEST_DEADLINE": "10",
    }
    environment |= extra or {}
    return {name: value for name, value in environment.items() if value is not None}
