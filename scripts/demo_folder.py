"""What `make demo` and `make serve` share: the folder `.demo/`, its database, its secrets, its environment."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
DATABASE = DEMO / "portal.sqlite3"
WORLD = DEMO / "world.json"
FAULTS = DEMO / "faults.json"
SERVING = DEMO / "serving.pid"
CLIENT_ID = "demo-client"


def secret(name: str, length: int) -> str:
    """A random text, made once and kept in `.demo/` for its owner alone."""
    path = DEMO / name
    if not path.exists():
        DEMO.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(length))
    return path.read_text()


def environment(**more: str) -> dict[str, str]:
    """As in production, but for plain http on loopback and the demo's database. Empty counts as unset."""
    unset = ("REDIS_URL", "SLACK_BOT_TOKEN", "SLACK_CHANNEL_ID", "METRICS_TOKEN", "CSRF_TRUSTED_ORIGINS")
    renewal = ("BYTEMARK_ACCOUNT_API_URL", "BYTEMARK_CLIENT_ID", "BYTEMARK_CLIENT_SECRET")
    return (
        os.environ
        | dict.fromkeys(unset + renewal, "")
        | {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DEBUG": "0",
            "SECRET_KEY": secret("secret-key", 50),
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "SITE_URL": "",
            "DATABASE_URL": f"sqlite:///{DATABASE}",
            "PROJECT_STAGE": "demo",
            "BYTEMARK_ORDERS_PATH": "/v4.0/orders",
            "BYTEMARK_LOGIN_PATH": "/users/login",
            "BYTEMARK_BACKOFF_BASE": "0.1",
            "PYTHONUNBUFFERED": "1",
        }
        | more
    )


def bytemark(port: int) -> dict[str, str]:
    """The settings that lead to the local Bytemark: orders, and the accounts by which tokens are renewed."""
    url = f"http://127.0.0.1:{port}"
    return {"BYTEMARK_CUSTOMER_API_URL": url, "BYTEMARK_ACCOUNT_API_URL": url, "BYTEMARK_CLIENT_ID": CLIENT_ID}


def manage(*args: str, env: dict[str, str]) -> int:
    """Run `manage.py`; its exit status."""
    return subprocess.run([sys.executable, ROOT / "manage.py", *args], env=env, cwd=ROOT, check=False).returncode


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_serving() -> bool:
    """Whether a `make serve` is at work on this folder."""
    try:
        os.kill(int(SERVING.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True
