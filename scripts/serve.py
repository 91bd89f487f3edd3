"""`make serve`: web server, queue and a local Bytemark on the demo's data, until Ctrl-C. `PORT=8001 make serve`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from demo_folder import DATABASE, ROOT, SERVING, WORLD, environment, free_port, is_serving, manage, port_is_free, secret

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
    bytemark = free_port()
    env = environment(
        WEB_PORT=port,
        SANDBOX_PORT=str(bytemark),
        BYTEMARK_CUSTOMER_API_URL=f"http://127.0.0.1:{bytemark}",
        SITE_URL=f"http://127.0.0.1:{port}",
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
    command = [sys.executable, "-m", "honcho", "-d", str(ROOT), "-f", "scripts/Procfile", "-e", os.devnull, "start"]
    # A session of its own: Ctrl-C comes to us alone, and honcho is asked once, in good order.
    runner = subprocess.Popen(command, env=env, cwd=ROOT, start_new_session=True)
    SERVING.write_text(str(os.getpid()))
    asked: list[int] = []

    def stop(number: int, _frame: object) -> None:
        asked.append(number)
        runner.send_signal(signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        status = runner.wait()
    finally:
        SERVING.unlink(missing_ok=True)
    return 0 if asked else status


if __name__ == "__main__":
    sys.exit(main())
