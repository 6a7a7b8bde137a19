"""Every page, wide, narrow and dark: it keeps to the policy, fits, and can be read by all.

Their pictures go to ``var/screenshots/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support.browser_steps import POLICY
from tests.support.full_site import MODELS, TASK, fill_site, manifest

pytestmark = [pytest.mark.slow, pytest.mark.one_database]

SCREENSHOTS = Path(__file__).resolve().parents[3] / "var" / "screenshots"
LOOKS = {"wide": (1280, "light"), "narrow": (390, "light"), "dark": (1280, "dark")}
#: What holds a backtick that somebody can read.
BACKTICKS = "//body//*[contains(text(), '`') or contains(@title, '`')][not(self::script)]"
#: Tables whose rows become cards where they have no room.
CARDS = ".dispatch-scroll:has(> .dispatch-cards)"
#: What axe-core does not look at, since Django's own templates and widgets make it.
DJANGOS_OWN = {
    ".breadcrumbs": "its links differ from the text by colour alone",
    "#changelist-search": "its field has no label, and its link differs by colour alone",
    "#result_list input": "what is edited in a list has no label",
    ".tabular input": "a column's heading is no label",
    ".tabular select": "the same",
    ".tabular textarea": "the same",
    ".select2-container": "a field that searches has no name",
    ".help-tooltip": "an icon's text has no role",
}


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest, page: Any) -> str:
    """Let the browser be of some width, with light or dark colours."""
    width, scheme = LOOKS[request.param]
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    return request.param


def test_every_page_fits_and_has_no_serious_barrier(page, console, look):
    found = [finding for name in full_pages(page) for finding in seen(page, console, f"{name}-{look}")]
    assert not found, "\n".join(found)


def test_the_pages_of_an_empty_site_do_too(page, console, look):
    found = [finding for name in empty_pages(page) for finding in seen(page, console, f"{name}-{look}")]
    assert not found, "\n".join(found)


def test_what_the_policy_forbids_would_be_seen(page, console):
    assert page.goto("/admin/dispatch/").headers["content-security-policy"] == POLICY
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">')")
    page.wait_for_timeout(100)
    assert "Content Security Policy" in console[0]
    console.clear()


# ------------------------------------------------------------------ steps


def empty_pages(page: Any) -> Iterator[str]:
    """Open the pages that say what to do first, and yield what they are called."""
    for name in ("", *MODELS):
        page.goto(f"/admin/dispatch/{name}/".replace("//", "/"))
        yield f"empty-{name or 'overview'}"


def full_pages(page: Any) -> Iterator[str]:
    """Open each page of a site that has rows, and yield what it is called."""
    addresses = fill_site()
    for name, address in addresses.items():
        assert page.goto(address).status == 200, address
        yield name
    yield from asked_pages(page, addresses)


def asked_pages(page: Any, addresses: dict[str, str]) -> Iterator[str]:
    """Open the pages that come after a question."""
    page.goto(addresses["send-form"])
    page.get_by_role("button", name="Show what would be sent").click()
    page.locator(".errornote").wait_for()
    yield "send-errors"
    page.get_by_label("number").fill("7")
    page.get_by_label("street").fill("High Street 1")
    page.get_by_label("town").fill("York")
    page.get_by_role("button", name="Show what would be sent").click()
    page.get_by_text("Nothing is sent yet.").wait_for()
    yield "send-preview"

    page.goto(addresses["manifest-upload"])
    file = {"name": "manifest.json", "mimeType": "application/json"}
    text = manifest("2.0.0", {TASK: {}, "worker.tasks.new": {}})
    page.get_by_label("Manifest").set_input_files({**file, "buffer": text.encode()})
    page.get_by_role("button", name="Show what it changes").click()
    page.get_by_role("heading", name="What it changes").wait_for()
    yield "manifest-difference"

    page.goto(addresses["outboxmessage-list"])
    page.locator("#action-toggle").check()
    page.select_option("select[name=action]", "cancel")
    page.get_by_role("button", name="Go", exact=True).click()
    page.get_by_role("button", name="Yes, cancel them").wait_for()
    yield "bulk-question"


def seen(page: Any, console: list[str], name: str) -> list[str]:
    """Take a picture of a page, and return what is wrong with it."""
    page.wait_for_load_state()
    if page.locator(".dispatch-live").count():  # filled after the page has loaded
        page.wait_for_load_state("networkidle")
    told = console.copy()
    width = page.viewport_size["width"]
    if page.evaluate("document.documentElement.scrollWidth") > width:
        told.append(f"wider than {width} px")
    if page.evaluate(
        f"Array.from(document.querySelectorAll('{CARDS}')).some((e) => e.scrollWidth > e.clientWidth)"
    ):
        told.append("a table that has to be scrolled sideways")
    if page.locator(f"xpath={BACKTICKS}").count():
        told.append("backticks, which are to be code")
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, caret="initial")
    told += barriers(page)
    console.clear()  # axe-core measures by inline styles
    return [f"{name}: {each}" for each in told]


def barriers(page: Any) -> list[str]:
    """Return what keeps people from using a page, as axe-core finds it."""
    found = Axe().run(page, context={"exclude": [[selector] for selector in DJANGOS_OWN]})
    return [
        f"{rule['id']}: {node['target']} {node['html'][:200]}"
        for rule in found.response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
