"""The admin in a real browser, with a real cluster working what is asked for."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.admin_site import Site

APP = "/admin/bytemark_sync"
MAIN = {
    "dashboard": "/admin/",
    "pending orders": f"{APP}/pendingorder/",
    "riders": f"{APP}/portaluser/",
    "runs": f"{APP}/syncrun/",
    "Bytemark's limit": f"{APP}/syncrun/limit/",
    "items": f"{APP}/orderitem/",
}
Visit = Callable[..., Page]


def test_from_the_dashboard_to_a_resync_worked_off_by_the_cluster(visit: Visit, served: Site) -> None:
    page = visit("operator")
    expect(page.get_by_text("Riders who need a new token")).to_be_visible()
    page.get_by_role("link", name="Pending orders").first.click()
    page.locator("#changelist a", has_text="Filters").first.click()
    page.select_option("select[name=reason]", "never_tried")
    page.get_by_role("button", name="Apply Filters").click()
    page.wait_for_url("**reason=never_tried**")
    before = int(served.portal.value("SELECT COUNT(*) FROM bytemark_order_items"))

    page.locator("input.action-select").nth(0).check()
    page.locator("input.action-select").nth(3).check()
    page.select_option("select[name=action]", "resync_users")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text(re.compile(r"^\s*\d users?, \d+ pending orders"))).to_be_visible()
    page.get_by_role("button", name="Resync now").click()

    expect(page.get_by_text("is queued.")).to_be_visible()
    page.evaluate("window.same = true")
    expect(page.locator("#run-state")).to_have_text(re.compile("succeeded|partial", re.I), timeout=40_000)
    assert page.evaluate("window.same") is True  # followed without a reload
    assert page.locator("#run-live").get_attribute("hx-get") is None
    assert int(served.portal.value("SELECT COUNT(*) FROM bytemark_order_items")) > before


@pytest.fixture
def _slow_bytemark(served: Site) -> Iterator[None]:
    served.bytemark.set_faults("latency:seconds=1")
    yield
    served.bytemark.set_faults()


@pytest.mark.usefixtures("_slow_bytemark")
def test_all_that_match_live_progress_and_stop(visit: Visit, served: Site) -> None:
    page = visit("operator")
    page.goto(f"{served.url}{APP}/pendingorder/?reason=never_tried")
    page.get_by_role("link", name="Resync all that match this filter").click()
    page.get_by_role("button", name="Resync now").click()
    page.evaluate("window.same = true")
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", re.compile("^[1-9]"), timeout=40_000)
    expect(page.locator("#run-state")).to_have_text(re.compile("running", re.I))
    assert page.evaluate("window.same") is True
    page.get_by_role("link", name="Stop").click()
    page.get_by_role("button", name="Stop the run").click()
    expect(page.get_by_text("The run stops within seconds")).to_be_visible()
    expect(page.locator("#run-state")).to_have_text(re.compile("interrupted", re.I), timeout=20_000)
    run = int(page.url.rstrip("/").split("/")[-2])
    stored = served.portal.rows("SELECT orders_synced, items_created FROM bytemark_sync_run WHERE id = %s", run)[0]
    kept = served.portal.value("SELECT COUNT(*) FROM bytemark_sync_stored_order WHERE run_id = %s", run)
    assert stored["orders_synced"] == kept > 0


def test_the_export_is_a_file_of_what_is_filtered(visit: Visit, served: Site, tmp_path: Path) -> None:
    page = visit("viewer")
    page.goto(f"{served.url}{APP}/orderitem/?product=day-pass-7f31")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export what is filtered").click()
    path = tmp_path / "items.csv"
    download.value.save_as(path)
    rows = list(csv.DictReader(path.open()))
    count = served.portal.value("SELECT COUNT(*) FROM bytemark_order_items WHERE product_uuid = 'day-pass-7f31'")
    assert len(rows) == count > 0


def test_a_viewer_is_refused(visit: Visit, served: Site) -> None:
    page = visit("viewer", refused=True)
    page.goto(f"{served.url}{APP}/pendingorder/")
    assert page.get_by_text("Resync").count() == 0
    assert page.locator("input.action-select").count() == 0
    for url in (f"{APP}/pendingorder/resync/?user=5001", "/admin/django_q/schedule/", f"{APP}/syncrun/daily/"):
        response = page.goto(served.url + url)
        assert response
        assert response.status == 403


@pytest.mark.parametrize(("scheme", "width"), [("light", 1360), ("dark", 1360), ("light", 390)])
def test_the_main_pages_are_accessible_and_fit(visit: Visit, served: Site, scheme: str, width: int) -> None:
    page = visit("operator", scheme=scheme, width=width)
    found: dict[str, list[str]] = {}
    for name, url in MAIN.items():
        page.goto(served.url + url)
        page.wait_for_load_state("networkidle")
        assert (page.locator("html.dark").count() == 1) == (scheme == "dark")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the screen"
        violations = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        found |= {
            f"{name}: {each['id']}": [node["html"][:300] for node in each["nodes"][:3]]
            for each in violations
            if each["impact"] in ("serious", "critical")
        }
    assert found == {}
