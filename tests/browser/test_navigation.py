"""Back leads to where one came from; what leads from a row to its page looks so, and a row's menu is within reach."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.admin_site import Site

APP = "/admin/bytemark_sync"
Visit = Callable[..., Page]
WIDE = """document.querySelectorAll("#result_list tbody td:nth-of-type(3)").forEach((cell) => {
  cell.style.minWidth = "60rem"
})"""


def back(page: Page) -> None:
    with page.expect_navigation():
        page.get_by_title("Go back").click()


def at(page: Page, served: Site) -> str:
    return page.url.removeprefix(served.url)


def test_back_leads_to_where_one_came_from(visit: Visit, served: Site) -> None:
    page = visit("operator")
    expect(page.get_by_title("Go back")).to_be_hidden()
    page.locator("td a", has_text=re.compile(r"^run \d+$")).first.click()
    page.wait_for_url("**/syncrun/**")
    back(page)
    assert at(page, served) == "/admin/"

    page.goto(f"{served.url}{APP}/pendingorder/")
    page.locator("#nav-sidebar").get_by_role("link", name="Riders").click()
    page.wait_for_url("**/portaluser/")
    expect(page.get_by_title("Go back")).to_be_hidden()
    filtered = f"{APP}/pendingorder/?reason=not_found&o=1"
    page.goto(served.url + filtered)
    page.locator("#result_list tbody th a").first.click()
    page.wait_for_url("**/change/**")
    order = at(page, served)
    page.locator("dl a").first.click()
    page.wait_for_url("**/portaluser/**")
    back(page)
    assert at(page, served) == order
    back(page)
    assert at(page, served) == filtered

    page.goto(f"{served.url}{APP}/order/")
    page.locator("#list-length").get_by_role("link", name="2", exact=True).click()  # an order may have 2 items
    page.wait_for_url("**p=2**")
    second = at(page, served)
    with page.context.expect_page() as opened:
        page.locator("#result_list tbody th a").first.click(modifiers=["Control"])
    expect(opened.value.get_by_title("Go back")).to_have_attribute("href", second)
    page.locator("#result_list tbody th a").first.click()
    page.wait_for_url("**/change/**")
    page.go_back()
    page.locator("#result_list tbody th a").nth(1).click()
    page.wait_for_url("**/change/**")
    back(page)
    assert at(page, served) == second

    page.goto(served.url + order)  # reached directly: as the server has it
    expect(page.get_by_title("Go back")).to_have_attribute("href", re.compile(rf"^{APP}/pendingorder/\?.*reason=not_f"))


def test_a_form_that_was_sent_is_no_place_to_come_back_to(visit: Visit, served: Site) -> None:
    page = visit("operator")
    filtered = f"{APP}/pendingorder/?reason=no_token&o=1"
    page.goto(served.url + filtered)
    page.get_by_role("link", name="Resync all that match this filter").click()
    page.get_by_role("link", name="Back", exact=True).click()
    page.wait_for_url(f"**{filtered}")
    page.get_by_role("link", name="Resync all that match this filter").click()
    page.get_by_role("button", name="Resync now").click()
    page.wait_for_url("**/change/")
    back(page)
    assert at(page, served) == filtered


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_rows_menu_is_within_reach_and_its_link_looks_like_one(visit: Visit, served: Site, scheme: str) -> None:
    page = visit("operator", scheme=scheme, width=1280)
    for name in ("pendingorder", "portaluser"):
        page.goto(f"{served.url}{APP}/{name}/?o=1")
        colours = page.locator("#result_list tbody a:visible").evaluate_all(
            "all => all.map(a => getComputedStyle(a).color)"
        )
        assert len(set(colours)) == 1, name
        page.evaluate(WIDE)
        assert page.evaluate("result_list.scrollWidth > result_list.parentElement.clientWidth")
        button = page.get_by_role("button", name="More actions").first
        box = button.bounding_box()
        assert box
        assert box["x"] + box["width"] < 1280, name
        button.click()
        menu = page.locator("body > nav").locator("visible=true")  # outside of the table, which would cut it off
        expect(menu).to_have_count(1)
        menu.get_by_role("link", name=re.compile("Resync")).click()
        page.wait_for_url("**/resync/?user=*")
