"""A Chromium of Debian's, with the flags that it needs in a container, and the site it visits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, expect, sync_playwright

from tests.support.admin_site import Site, site
from tests.support.chromium import FLAGS, log_in

PATIENCE = 15_000
"""Milliseconds for whatever a page is to show or do: on a busy machine a poll every two seconds may be late."""
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "Chromium is not installed: run `make setup-test`, or install chromium."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def sessions() -> dict[str, StorageState]:
    """By name: the cookies of someone who has logged in. To log in takes a browser and a server a second each."""
    return {}


@pytest.fixture
def visit(chromium: Browser, served: Site, sessions: dict[str, StorageState]) -> Iterator[Callable[..., Page]]:
    """`visit("operator", scheme="dark", width=390)`: a page of someone logged in. No error may reach its console.

    `new`: by a log in of its own, for who logs out.
    """
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_page(
        name: str, *, scheme: str = "light", width: int = 1360, refused: bool = False, new: bool = False
    ) -> Page:
        known = None if new else sessions.get(name)
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            accept_downloads=True,
            storage_state=known,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
        if not refused:
            page.on("console", lambda said: errors.append(f"{page.url}: {said.text}") if said.type == "error" else None)
        if known:
            page.goto(f"{served.url}/admin/")
            return page
        log_in(page, served.url, name)
        if not new:
            sessions[name] = context.storage_state()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
