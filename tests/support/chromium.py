"""A Chromium of Debian's, with the flags that it needs in a container, and the way into the admin."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.support.admin_site import PASSWORD

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


def log_in(page: Page, url: str, name: str) -> None:
    page.goto(f"{url}/admin/")
    page.fill("#id_username", name)
    page.fill("#id_password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"{url}/admin/")
