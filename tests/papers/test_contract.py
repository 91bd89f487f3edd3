"""docs/contract.md is complete and says what is so; the decisions are listed, and of one form."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest
from django.apps import apps

from bytemark_sync.bytemark.config import API_DEFAULTS
from bytemark_sync.domain.comparison import FindingKind
from bytemark_sync.domain.reasons import Reason, deferred_reasons, user_failures
from bytemark_sync.management.output import queued_line
from bytemark_sync.models import RunStatus
from bytemark_sync.models.portal import bare_name
from bytemark_sync.monitoring.health import Health, Part
from bytemark_sync.storage.portal_schema import PORTAL
from tests.papers import known
from tests.papers.reading import BY_NAME, Table, spans
from tests.support.servers import ROOT

CONTRACT = BY_NAME["docs/contract.md"]
README = BY_NAME["README.md"]


def settings_of_the_contract() -> list[list[str]]:
    return [row for table in CONTRACT.tables_with("variable", below="Settings") for row in table.body]


def first_column(tables: list[Table]) -> list[str]:
    return [name for table in tables for row in table.body for name in spans(row[0])]


# --- Settings -------------------------------------------------------------------------------------------------------


def test_the_contract_has_every_setting_once() -> None:
    assert sorted(first_column(CONTRACT.tables_with("variable", below="Settings"))) == sorted(known.settings_read())


def test_the_readme_names_no_setting_that_is_not_there() -> None:
    names = first_column(README.tables_with("variable"))
    assert len(names) == len(set(names))
    assert set(names) <= known.settings_read()


def test_the_readme_gives_the_defaults_of_the_contract() -> None:
    told = {name: row[1].strip("`") for row in settings_of_the_contract() for name in spans(row[0])}
    held = set()
    for table in README.tables_with("variable"):
        for row in table.body:
            names = list(spans(row[0]))
            if not names[0].startswith("BYTEMARK_") or told[names[0]].startswith("none"):
                continue
            assert [each.strip().strip("`") for each in row[1].split(",")] == [told[name] for name in names]
            held.update(names)
    assert held >= {f"BYTEMARK_{name.upper()}" for name, default in API_DEFAULTS.items() if default is not None}


def test_defaults_are_those_of_the_example() -> None:
    """Which are held against the settings themselves (tests/test_habits.py)."""
    example = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    told = {name: row[1].strip("`") for row in settings_of_the_contract() for name in spans(row[0])}
    words = {"DATABASE_URL": "a SQLite file beside `manage.py", "DEBUG": "off"}
    for name, default in told.items():
        if name in words:
            assert default == words[name]
        elif example[name]:
            assert default == example[name], name
        else:
            assert default.startswith("none"), name


# --- Commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", known.own_commands())
def test_the_contract_has_every_option_of_a_command(name: str) -> None:
    told = [
        option
        for table in CONTRACT.tables_with("option", below=f"manage.py {name}")
        for span in first_column([table])
        for option in re.findall(r"^--[a-z-]+", span)
    ]
    assert sorted(told) == sorted(option for option in known.own_options(name) if name not in DJANGOS)


DJANGOS = {"migrate", "qcluster", "runserver"}
"""Their options are Django's and django-q2's own."""


def test_the_contract_has_every_command() -> None:
    ours = {heading.removeprefix("manage.py ") for heading in CONTRACT.headings if heading.startswith("manage.py ")}
    assert ours == set(known.own_commands()) - DJANGOS
    assert {span.split()[1] for span in first_column(CONTRACT.tables_with("command"))} >= DJANGOS


# --- Tables ---------------------------------------------------------------------------------------------------------


def columns(heading: str) -> dict[str, set[str]]:
    (table,) = CONTRACT.tables_with("table", below=heading)
    return {next(spans(row[0])): set(spans(row[1])) for row in table.body}


def test_the_portals_columns_are_those_that_are_mapped() -> None:
    mapped = {bare_name(model): {field.column for field in model._meta.local_fields} for model in PORTAL}
    assert columns("The portal's tables") == mapped


def test_every_table_of_our_own_is_told_and_its_columns_exist() -> None:
    models = apps.get_app_config("bytemark_sync").get_models()
    ours = {
        model._meta.db_table: {field.column for field in model._meta.local_fields}
        for model in models
        if not model._meta.proxy and model not in PORTAL
    }
    told = columns("The product's own tables")
    assert set(told) == set(ours)
    assert {name: found - ours[name] for name, found in told.items() if found - ours[name]} == {}


def test_reasons_are_told_with_what_to_do_and_what_follows_from_them() -> None:
    (table,) = README.tables_with("outcome")
    told = {name: (row[3], row[4]) for row in table.body for name in spans(row[0])}
    words = {False: "no", True: "yes"}
    assert list(told) == [each.value for each in Reason]
    assert told == {each.value: (words[each in user_failures()], words[each in deferred_reasons()]) for each in Reason}
    assert all(row[1] and row[2] for row in table.body)


# --- Words that other programs read ---------------------------------------------------------------------------------


def test_the_json_line_has_the_keys_that_are_told() -> None:
    (table,) = CONTRACT.tables_with("key", below="manage.py sync_order_items")
    assert sorted(first_column([table])) == sorted({*json.loads(queued_line(None)), "error"})


def test_findings_are_told() -> None:
    (table,) = CONTRACT.tables_with("finding")
    assert sorted(first_column([table])) == sorted(kind.value for kind in FindingKind)


def test_ends_of_a_run_are_told() -> None:
    (table,) = CONTRACT.tables_with("status", below="Queue")
    assert sorted(first_column([table])) == sorted({status.value for status in RunStatus} - {"queued", "running"})


def test_the_keys_of_healthz_are_told() -> None:
    (table,) = CONTRACT.tables_with("path", below="HTTP")
    (answer,) = [row[1] for row in table.body if row[0] == "`/healthz`"]
    assert list(spans(answer)) == list(Health().in_full())
    (brief,) = re.findall(r"Without that token (.*?)The status is", (ROOT / CONTRACT.name).read_text(), re.DOTALL)
    assert list(spans(brief)) == ["/healthz", *Health().in_brief(), "problems", *get_args(Part)]


# --- Decisions ------------------------------------------------------------------------------------------------------

RECORDS = [paper for name, paper in BY_NAME.items() if re.match(r"docs/decisions/\d", name)]


def test_every_record_is_listed_in_its_place() -> None:
    (table,) = BY_NAME["docs/decisions/README.md"].tables_with("record")
    listed = [re.findall(r"\[(\d{4})\]\(([\w.-]+)\)", row[0])[0] for row in table.body]
    assert listed == [(paper.path.name[:4], paper.path.name) for paper in RECORDS]


@pytest.mark.parametrize("number", range(1, len(RECORDS) + 1))
def test_a_record_has_its_number_and_the_four_parts(number: int) -> None:
    record = RECORDS[number - 1]
    assert record.path.name.startswith(f"{number:04d}-")
    title, *parts = record.headings
    assert title.startswith(f"{number}. ")
    assert parts == ["Context", "Decision", "Measurement", "Consequences"]
