"""Dockerfile, .dockerignore, compose.yaml and the example for Kubernetes name what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.papers import known
from tests.papers.reading import BY_NAME
from tests.support.servers import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
OPERATIONS = BY_NAME["docs/operations.md"]


def kubernetes() -> str:
    [text] = [code.text for code in OPERATIONS.codes if code.language == "yaml" and "kind: Deployment" in code.text]
    return text


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder as the service `settings` makes it."""
    subprocess.run([sys.executable, ROOT / "scripts/compose_settings.py", tmp_path], check=True)
    return tmp_path


def test_what_the_image_copies_is_there_and_let_through() -> None:
    copied = {name for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M) for name in line.split()[:-1]}
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_through
    assert copied <= {name.rstrip("/") for name in known.files()}


def test_commands_of_the_containers_exist() -> None:
    for text in (COMPOSE, kubernetes()):
        named = set(re.findall(r"manage\.py,? ([a-z_]+)", text.replace('"', "")))
        assert {"migrate", "qcluster"} <= named
        assert [name for name in named if known.command(name) is None] == []


def test_settings_of_the_containers_exist(made: Path) -> None:
    named = set(re.findall(r"^([A-Z_]+)=", (made / "env").read_text(), re.M))
    named |= set(re.findall(r"^  ([A-Z][A-Z_]+): ", kubernetes(), re.M))
    assert {"DATABASE_URL", "PORTAL_DATABASE", "SECRET_KEY"} <= named
    assert named <= known.settings_read()


def test_probes_of_the_containers_are_served() -> None:
    probed = re.findall(r"127\.0\.0\.1:8000(/\w+)", DOCKERFILE) + re.findall(r"path: (/\w+)", kubernetes())
    assert set(probed) == {"/livez", "/readyz"}
    assert all(f'"{path}"' in known.code()["bytemark_sync/monitoring/probes.py"] for path in probed)


def test_the_database_user_of_compose_has_the_rights_of_the_readme(made: Path) -> None:
    rights = re.compile(r"^ *(GRANT .+ TO 'bytemark_sync'@'%';)$", re.M)
    [block] = [code for code in BY_NAME["README.md"].codes if "CREATE USER 'bytemark_sync'" in code.text]
    assert rights.findall((made / "portal.sql").read_text()) == rights.findall(block.text)


def test_passwords_of_compose_are_made_once_and_stand_in_no_file_of_the_repository(made: Path, tmp_path: Path) -> None:
    first = {path.name: path.read_text() for path in made.iterdir()}
    subprocess.run([sys.executable, ROOT / "scripts/compose_settings.py", made], check=True)
    assert {path.name: path.read_text() for path in made.iterdir()} == first
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run([sys.executable, ROOT / "scripts/compose_settings.py", other], check=True)
    assert all((other / name).read_text() != text for name, text in first.items())
    assert not re.search(r"PASSWORD: |password@", COMPOSE)


def test_servers_of_compose_are_those_that_are_tested() -> None:
    [version] = re.findall(r"image: \S+/mariadb:([\d.]+)$", COMPOSE, re.M)
    [table] = OPERATIONS.tables_with("", below="Which servers")
    assert f"MariaDB {version}" in table.head


def test_a_cluster_has_the_same_time_to_stop_everywhere() -> None:
    """systemd's, where the reason stands."""
    systemd = [code.text for code in OPERATIONS.codes if "manage.py qcluster" in code.text and "[Unit]" in code.text]
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", systemd[0], re.M)
    assert f"stop_grace_period: {seconds}s" in COMPOSE
    assert f"terminationGracePeriodSeconds: {seconds}" in kubernetes()
