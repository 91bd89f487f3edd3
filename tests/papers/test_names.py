"""Every file, link, setting, target, command, option and address that a paper names is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from django.conf import settings
from django.urls import Resolver404, resolve

from tests.papers import known
from tests.papers.reading import BY_NAME, PAPERS, Code, Paper
from tests.support.servers import ROOT

each_paper = pytest.mark.parametrize("paper", PAPERS, ids=[paper.name for paper in PAPERS])

_PATH = re.compile(r"^[\w.-]+(/[\w.-]+)*/?$")
_SUFFIXES = (".py", ".md", ".sh", ".toml", ".txt", ".c", ".css", ".js", ".html", ".yaml", ".json", ".sqlite3")
_CAPITALS = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
_COMMAND = re.compile(r"manage\.py +([a-z_]+)([^\n|&;#]*)")
_MAKE = re.compile(r"^(?:\$ )?((?:[A-Z_]+=\S+ )*)make ([a-z][a-z-]*)((?: +[A-Z_]+=(?:\"[^\"]*\"|\S+))*)", re.MULTILINE)
_OF_OPENTELEMETRY = {
    *("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
}
_OF_SERVERS = {"GET_LOCK"}  # functions of MySQL and MariaDB that no code uses
_ELSEWHERE = ("/etc/", "/srv/", "/dev/", "/tmp")  # on the machine, or in the container, where the product is installed


# --- Files and links ------------------------------------------------------------------------------------------------


def paths(paper: Paper) -> Iterator[str]:
    """What looks like a file or folder of the clone: a span that is nothing else, or a word below a folder of ours."""
    tops = {name for name in known.files() if name.count("/") == 1 and name.endswith("/")}
    for code in paper.codes:
        if code.language is None and _PATH.match(code.text) and ("/" in code.text or code.text.endswith(_SUFFIXES)):
            if not code.text.startswith("/"):
                yield code.text
        elif code.language == "mermaid":
            yield from re.findall(r"[\w/]+\.py", code.text)
        else:
            yield from (word for word in code.words if _PATH.match(word) and word.startswith(tuple(tops)))


def is_there(path: str, paper: Paper) -> bool:
    """From the root, beside the paper, or within the package: modules are named as in `bytemark/client.py`."""
    places = (Path(), paper.path.parent.relative_to(ROOT), Path("bytemark_sync"))
    names = {str(place / path) for place in places}
    return any({name, f"{name}/"} & known.files() for name in names) or known.is_made(path)


@each_paper
def test_files_that_are_named_are_there(paper: Paper) -> None:
    assert [path for path in paths(paper) if not is_there(path, paper)] == []


def leads_somewhere(link: str, paper: Paper) -> bool:
    """Whether the file is there, and the heading in it. Other hosts are not asked."""
    if re.match(r"[a-z]+:", link):
        return True
    target, _, anchor = link.partition("#")
    path = (paper.path.parent / target).resolve() if target else paper.path
    name = str(path.relative_to(ROOT))
    if not {name, f"{name}/"} & known.files():
        return False
    return not anchor or (name in BY_NAME and anchor in BY_NAME[name].anchors)


@each_paper
def test_links_lead_somewhere(paper: Paper) -> None:
    assert [link for link in paper.links if not leads_somewhere(link, paper)] == []


# --- Settings and other names in capitals ---------------------------------------------------------------------------


def capitals(paper: Paper) -> Iterator[str]:
    for code in paper.codes:
        if code.language not in ("sql", "nginx", "mermaid"):
            yield from _CAPITALS.findall(code.text)


def is_known(name: str) -> bool:
    """A name that begins as settings do must be one, of ours or of Django; any other must occur in the code."""
    if name in known.settings_read() or hasattr(settings, name) or name in _OF_SERVERS | _OF_OPENTELEMETRY:
        return True
    families = {each.partition("_")[0] for each in known.settings_read() if "_" in each}
    return name.partition("_")[0] not in families and name in known.code_words()


@each_paper
def test_settings_that_are_named_exist(paper: Paper) -> None:
    assert sorted({name for name in capitals(paper) if not is_known(name)}) == []


def test_settings_are_read_in_one_place() -> None:
    """Nothing reads the environment past `project.env`, but for what Django and django-q2 want there."""
    assert known.environment_read() == {"Q_CLUSTER_NAME": {"bytemark_sync/management/commands/qcluster.py"}}


# --- make, manage.py ------------------------------------------------------------------------------------------------


@each_paper
def test_targets_that_are_named_exist(paper: Paper) -> None:
    found = [match for code in paper.codes for match in _MAKE.findall(_one_line(code))]
    assert [target for _, target, _ in found if target not in known.make_targets()] == []
    variables = {name for before, _, behind in found for name in re.findall(r"([A-Z_]+)=", before + behind)}
    assert [name for name in sorted(variables) if not known.is_variable_of_make(name)] == []


def _one_line(code: Code) -> str:
    """A span may be broken over two lines; a block's lines may be indented or numbered by nothing."""
    return " ".join(code.words) if code.language is None else code.text


@each_paper
def test_commands_that_are_named_exist_with_their_options(paper: Paper) -> None:
    wrong = []
    for code in paper.codes:
        for name, behind in _COMMAND.findall(_one_line(code)):
            if known.command(name) is None:
                wrong.append(name)
                continue
            given = re.findall(r"(?<=\s)--[a-z][a-z-]*", behind)
            wrong += [f"{name} {option}" for option in given if option not in known.options(name)]
    assert wrong == []


@each_paper
def test_options_that_are_named_alone_exist(paper: Paper) -> None:
    alone = {code.words[0] for code in paper.codes if code.language is None and code.text.startswith("--")}
    assert sorted(alone - known.any_option()) == []


# --- Addresses and dotted names -------------------------------------------------------------------------------------


@each_paper
def test_addresses_that_are_named_are_served(paper: Paper) -> None:
    """By the product, or by the local Bytemark, whose addresses stand in its code."""
    named = {code.text for code in paper.codes if code.language is None and re.fullmatch(r"/[\w./-]*", code.text)}
    assert [path for path in sorted(named) if not path.startswith(_ELSEWHERE) and not _is_served(path)] == []


def _is_served(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return any(f'"{path}"' in text for name, text in known.code().items() if name.startswith("bytemark_sync/"))
    return True


@each_paper
def test_dotted_names_exist(paper: Paper) -> None:
    named = {code.text for code in paper.codes if re.fullmatch(r"bytemark_sync(\.\w+)+", code.text)}
    assert [name for name in sorted(named) if not _exists(name)] == []


def _exists(name: str) -> bool:
    if re.fullmatch(r"bytemark_sync\.[EW]\d+", name):  # a system check
        return name.rpartition(".")[2] in known.code_words()
    module, _, attribute = name.rpartition(".")
    try:
        return hasattr(import_module(module), attribute)
    except ImportError:
        return False
