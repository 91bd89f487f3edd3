"""`make screenshots`: docs/screenshots/*.png, taken in Chromium from the running product, so that they stay true."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from tests.support.admin_site import Site, site  # noqa: E402
from tests.support.chromium import FLAGS, log_in  # noqa: E402

FOLDER = ROOT / "docs" / "screenshots"
APP = "/admin/bytemark_sync"


def main() -> int:
    path = shutil.which("chromium")
    if path is None:
        print("Chromium is not installed: run `make setup-test`, or install chromium.", file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        site(Path(folder), users=60, latency=0.3) as running,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        take_all(browser, running)
        browser.close()
    return 0


def take_all(browser: Browser, running: Site) -> None:
    """Every picture of the README; the live run last, for it changes what the others show."""
    page = open_page(browser, running)
    story = running.portal.value(
        "SELECT order_id FROM bytemark_sync_outcome WHERE reason = 'token_rejected' ORDER BY attempts DESC"
    )
    take(page, running, "dashboard", "/admin/")
    take(page, running, "pending-orders", f"{APP}/pendingorder/?o=1")  # oldest first: every reason
    take(page, running, "order", f"{APP}/pendingorder/{story}/change/")
    take(page, running, "riders", f"{APP}/portaluser/")
    take(page, running, "runs", f"{APP}/syncrun/")
    take(page, running, "items", f"{APP}/orderitem/")
    take(open_page(browser, running, scheme="dark"), running, "dashboard-dark", "/admin/")
    take(open_page(browser, running, width=390), running, "dashboard-phone", "/admin/")
    take(page, running, "resync", f"{APP}/pendingorder/resync/?reason=never_tried")
    running.bytemark.set_limit("rate=12,burst=6")
    page.get_by_role("button", name="Resync now").click()
    page.wait_for_function(
        "Number(document.querySelector('[role=progressbar]')?.ariaValueNow ?? 0) >= 40", timeout=60_000
    )
    save(page, "run-live")
    take(page, running, "limit", f"{APP}/syncrun/limit/")


def open_page(browser: Browser, running: Site, *, scheme: str = "light", width: int = 1360) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": 844 if width < 500 else 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    log_in(page, running.url, "operator")
    return page


def take(page: Page, running: Site, name: str, url: str) -> None:
    page.goto(running.url + url)
    page.wait_for_load_state("networkidle")
    save(page, name)


def save(page: Page, name: str) -> None:
    page.screenshot(path=FOLDER / f"{name}.png")
    print(f"docs/screenshots/{name}.png", flush=True)


if __name__ == "__main__":
    sys.exit(main())
