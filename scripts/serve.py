"""`make serve`: web server, queue and a local Bytemark on the demo's data, until Ctrl-C. `PORT=8001 make serve`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from demo_folder import (
    CLIENT_ID,
    DATABASE,
    FAULTS,
    ROOT,
    SERVING,
    WORLD,
    bytemark,
    environment,
    free_port,
    is_serving,
    manage,
    port_is_free,
    secret,
)

ADMIN = """
from django.contrib.auth import get_user_model
import os
user, _ = get_user_model().objects.get_or_create(username="admin")
user.is_staff = user.is_superuser = user.is_active = True
user.set_password(os.environ["DEMO_ADMIN_PASSWORD"])
user.save()
"""


def main() -> int:
    port = os.environ.get("PORT") or "8000"
    if not port.isdigit() or not 1 <= int(port) <= 65535:
        print(f"PORT: {port!r} is no port number.", file=sys.stderr)
        return 2
    if is_serving():
        print("make serve is running already.", file=sys.stderr)
        return 1
    if not port_is_free(int(port)):
        print(f"Port {port} is taken. Choose another: make serve PORT=8001", file=sys.stderr)
        return 1
    if not DATABASE.exists() or not WORLD.exists():
        import demo

        demo.prepare()
    sandbox = free_port()
    env = environment(
        WEB_PORT=port,
        SANDBOX_PORT=str(sandbox),
        SITE_URL=f"http://127.0.0.1:{port}",
        **bytemark(sandbox),
    )
    password = secret("admin-password", 12)
    if manage("migrate", "-v0", env=env):
        return 1
    if manage("shell", "-v0", "-c", ADMIN, env=env | {"DEMO_ADMIN_PASSWORD": password}):
        return 1
    print(f"\n  http://127.0.0.1:{port}/admin/   user admin   password {password}\n  Ctrl-C stops all.\n", flush=True)
    return serve(env)


def serve(env: dict[str, str]) -> int:
    """Run the three processes; Ctrl-C, SIGTERM or SIGHUP stops them all, and so does the end of one."""
    SERVING.write_text(str(os.getpid()))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    running = {name: start(name, command, env) for name, command in commands(env).items()}
    try:
        while not stop.wait(0.2):
            ended = [name for name, process in running.items() if process.poll() is not None]
            if ended:
                print(f"{ended[0]} ended with exit status {running[ended[0]].returncode}", file=sys.stderr)
                return 1
        return 0
    finally:
        end(list(running.values()))
        SERVING.unlink(missing_ok=True)


def commands(env: dict[str, str]) -> dict[str, list[str]]:
    manage_py = [sys.executable, "manage.py"]
    web = ["--bind", f"127.0.0.1:{env['WEB_PORT']}", "--workers", "1", "--threads", "8", "--log-level", "warning"]
    sandbox = ["--port", env["SANDBOX_PORT"], "--world", str(WORLD), "--faults", f"@{FAULTS}", "--latency", "20"]
    sandbox += ["--client-id", CLIENT_ID]
    return {
        "bytemark": [*manage_py, "bytemark_sandbox", *sandbox],
        "queue": [*manage_py, "qcluster"],
        "web": [sys.executable, "-m", "gunicorn", "project.wsgi", *web],
    }


def start(name: str, command: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
    """In a session of its own: Ctrl-C comes to us alone, and each is asked once to stop."""
    process = subprocess.Popen(
        command,
        env=env,
        cwd=ROOT,
        start_new_session=True,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    def show() -> None:
        for line in process.stdout or ():
            print(f"{name:8} | {line}", end="", flush=True)

    threading.Thread(target=show, daemon=True).start()
    return process


def end(processes: list[subprocess.Popen[str]]) -> None:
    """SIGTERM to the leaders alone: the queue stops its own workers, and hangs when they are gone before it."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + 15
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
