"""Everything by keyboard alone. A live run's page holds the focus, says when it is cut off, and ends whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.admin_site import Site

APP = "/admin/bytemark_sync"
Visit = Callable[..., Page]
BOTTOM_IN_ROW = "document.activeElement.matches('tbody *') && document.activeElement.getBoundingClientRect().bottom"


def tab_to(page: Page, name: str, most: int = 60) -> None:
    """Press Tab until the focus is on what is called `name`."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if re.search(name, focused(page)):
            return
    raise AssertionError(f"{name} is not reached by Tab")


def focused(page: Page) -> str:
    return str(
        page.evaluate("(document.activeElement.ariaLabel ?? document.activeElement.textContent).replace(/\\s+/g, ' ')")
    )


def outlined(page: Page) -> bool:
    return bool(page.evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none'"))


def test_the_first_tab_offers_a_way_past_the_sidebar(visit: Visit, served: Site) -> None:
    page = visit("operator")
    page.goto(f"{served.url}{APP}/syncrun/")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.getElementById('content').contains(document.activeElement)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_focus_is_seen_above_the_bar_and_icons_are_not_heard(visit: Visit, served: Site, scheme: str) -> None:
    page = visit("operator", scheme=scheme)
    page.goto(f"{served.url}{APP}/order/")
    expect(page.get_by_role("button", name="Search", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Pending orders", exact=True)).to_be_visible()
    bar = page.locator(".lg\\:sticky").last.bounding_box()
    assert bar
    page.locator("#searchbar").focus()
    for _ in range(45):
        page.keyboard.press("Tab")
        assert outlined(page)
        assert page.evaluate(BOTTOM_IN_ROW) <= bar["y"]


def test_filters_are_opened_set_and_closed(visit: Visit, served: Site) -> None:
    page = visit("operator")
    page.goto(f"{served.url}{APP}/pendingorder/")
    panel = page.locator("#changelist-filter")
    tab_to(page, "Filters")
    assert outlined(page)
    page.keyboard.press("Enter")
    expect(panel).to_be_visible()
    expect(panel.locator(":focus")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.locator("[role=button]:focus")).to_contain_text("Filters")

    page.keyboard.press(" ")
    expect(panel.locator("[role=combobox]:focus")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".select2-search__field:focus")).to_have_count(1)  # the list of choices opens a moment later
    page.keyboard.type("never")
    expect(page.locator(".select2-results__option--highlighted")).to_have_text(re.compile("never tried", re.I))
    page.keyboard.press("Enter")
    expect(panel.locator(".select2-selection__rendered").first).to_have_text(re.compile("never tried", re.I))
    tab_to(page, "Apply Filters", 10)
    page.keyboard.press("Enter")
    page.wait_for_url("**reason=never_tried**")


def test_a_rows_menu_leads_to_its_resync(visit: Visit, served: Site) -> None:
    page = visit("operator")
    page.goto(f"{served.url}{APP}/pendingorder/")
    tab_to(page, "More actions")
    menu = page.locator("nav", has_text="Resync the rider").locator("visible=true")
    page.keyboard.press("Enter")
    expect(menu).to_have_count(1)
    expect(menu.locator("a:focus")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(page.locator(":focus")).to_have_attribute("aria-label", "More actions")
    page.keyboard.press("Enter")
    expect(menu.locator("a:focus")).to_have_count(1)
    page.keyboard.press("Enter")
    page.wait_for_url("**/resync/?user=*")


@pytest.mark.parametrize("width", [1360, 390])
def test_the_account_menu_and_the_log_out(visit: Visit, served: Site, width: int) -> None:
    page = visit("viewer", width=width, new=True)
    if width == 390:
        tab_to(page, "^Sidebar$")
        page.keyboard.press("Enter")
        expect(page.locator("#nav-sidebar")).to_be_visible()
    tab_to(page, "Account menu")
    assert "viewer" in focused(page)
    assert page.evaluate("document.activeElement.ariaExpanded") == "false"
    page.keyboard.press("Enter")
    expect(page.locator("[role=button]:focus")).to_contain_text("Light")
    tab_to(page, "Change password", 5)
    page.keyboard.press("Escape")
    expect(page.locator(":focus")).to_have_attribute("aria-label", re.compile("Account menu"))
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()  # it fades for a moment
    page.keyboard.press("Enter")
    expect(page.locator("[role=button]:focus")).to_contain_text("Light")
    tab_to(page, "Log out", 6)
    page.keyboard.press("Enter")
    page.wait_for_url("**/logout/")


@pytest.fixture
def _slow_bytemark(served: Site) -> Iterator[None]:
    served.bytemark.set_faults("latency:seconds=3")
    yield
    served.bytemark.set_faults()


@pytest.mark.usefixtures("_slow_bytemark")
def test_a_live_page_keeps_the_focus_says_when_it_is_cut_off_and_ends_whole(visit: Visit, served: Site) -> None:
    page = visit("operator", refused=True)
    page.goto(f"{served.url}{APP}/pendingorder/resync/?reason=never_tried")
    page.get_by_role("button", name="Resync now").click()
    expect(page.locator("#messages")).to_contain_text("is queued")
    expect(page.locator("#run-state")).to_have_text(re.compile("running", re.I), timeout=40_000)

    stop = page.get_by_role("link", name="Stop")
    stop.focus()
    page.evaluate("window.stop = document.activeElement")
    with page.expect_response(re.compile("/live/")), page.expect_response(re.compile("/live/")):
        pass
    page.wait_for_timeout(200)
    assert page.evaluate("document.activeElement === window.stop && document.contains(window.stop)")

    lost = page.locator("#connection-lost")
    expect(lost).to_be_hidden()
    cut: Callable[[Route], Any] = lambda route: route.abort()  # noqa: E731
    page.route("**/live/**", cut)
    expect(lost).to_be_visible()
    expect(lost).to_contain_text("Connection lost")
    assert page.evaluate("document.activeElement === window.stop")
    page.unroute("**/live/**", cut)
    expect(lost).to_be_hidden()
    page.route("**/live/**", lambda route: route.fulfill(status=503, body="away"))
    expect(lost).to_be_visible()
    page.unroute("**/live/**")
    expect(lost).to_be_hidden()

    run = int(page.url.rstrip("/").split("/")[-2])
    served.portal.execute("UPDATE bytemark_sync_run SET stop_requested = 1 WHERE id = %s", run)  # by somebody else
    expect(page.locator("#run-state")).to_have_text(re.compile("interrupted", re.I), timeout=20_000)
    expect(page.locator("#messages")).to_have_text(re.compile(rf"^\s*Run {run} has ended: Interrupted\.\s*$"))
    expect(stop).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == "messages"
    expect(page.locator("#run-request")).to_contain_text(re.compile(r"Slack result\s+(not needed|no token)"))
    expect(page.locator("#run-request")).not_to_have_attribute("hx-get", re.compile("."))
