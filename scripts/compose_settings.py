"""What the containers of compose.yaml share, made once with random passwords: `compose_settings.py FOLDER`.

The folder is a volume. `env` has the product's settings. The database server runs `portal.sql` at its first start, with
`root-password` as its administrator's. Redis reads `redis.conf`. `portal-url` is for the sandbox, which fills the
portal's tables as their owner.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

ENV = """\
SECRET_KEY={key}
DATABASE_URL=mysql://bytemark_sync:{password}@database:3306/bytemark_sync
PORTAL_DATABASE=portal
REDIS_URL=redis://:{redis_password}@redis:6379/0
ALLOWED_HOSTS=localhost,127.0.0.1
BYTEMARK_CUSTOMER_API_URL=http://127.0.0.1:8765
PROJECT_STAGE=sandbox
"""
PORTAL_URL = "mysql://portal:{portal_password}@database:3306/portal"

REDIS = """\
requirepass {redis_password}
maxmemory-policy noeviction
save ""
appendonly no
"""

SQL = """\
CREATE DATABASE portal CHARACTER SET utf8mb4;
CREATE TABLE portal.bytemark_orders (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, order_uuid VARCHAR(255), user_id BIGINT, oauth_token LONGTEXT,
  amount VARCHAR(64), KEY uuids (order_uuid), KEY users (user_id));
CREATE TABLE portal.bytemark_tokens (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id BIGINT, email VARCHAR(191), password VARCHAR(191),
  token LONGTEXT, status VARCHAR(64), KEY users (user_id));
CREATE TABLE portal.bytemark_order_items (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, order_id BIGINT NOT NULL, order_uuid VARCHAR(255) NOT NULL,
  oauth_token LONGTEXT NOT NULL, product_uuid VARCHAR(255) NOT NULL, pass_uuid VARCHAR(255) NOT NULL,
  KEY orders (order_id));
CREATE USER 'portal'@'%' IDENTIFIED BY '{portal_password}';
GRANT ALL PRIVILEGES ON `portal`.* TO 'portal'@'%';
CREATE DATABASE bytemark_sync CHARACTER SET utf8mb4;
CREATE USER 'bytemark_sync'@'%' IDENTIFIED BY '{password}';
GRANT ALL PRIVILEGES ON `bytemark_sync`.* TO 'bytemark_sync'@'%';
GRANT SELECT, UPDATE ON `portal`.`bytemark_orders` TO 'bytemark_sync'@'%';
GRANT SELECT ON `portal`.`bytemark_tokens` TO 'bytemark_sync'@'%';
GRANT SELECT, INSERT ON `portal`.`bytemark_order_items` TO 'bytemark_sync'@'%';
"""


def main() -> int:
    folder = Path(sys.argv[1])
    if (folder / "env").exists():
        return 0
    passwords = {name: secrets.token_urlsafe(24) for name in ("password", "portal_password", "redis_password")}
    # The servers read these three under other user ids. No other container but ours has the volume.
    write(folder / "redis.conf", REDIS.format(**passwords), 0o444)
    write(folder / "portal.sql", SQL.format(**passwords), 0o444)
    write(folder / "root-password", secrets.token_urlsafe(24), 0o444)
    write(folder / "portal-url", PORTAL_URL.format(**passwords), 0o400)
    write(folder / "env", ENV.format(key=secrets.token_urlsafe(50), **passwords), 0o400)
    return 0


def write(path: Path, text: str, mode: int) -> None:
    path.unlink(missing_ok=True)  # of a start that was cut off
    path.write_text(text)
    path.chmod(mode)


if __name__ == "__main__":
    sys.exit(main())
