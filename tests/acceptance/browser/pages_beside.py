"""What `test_beside.py` runs in a process with another app beside: each page answers, and its buttons work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from dispatch.models import OutboxMessage, Route
from tests.acceptance.browser.test_pages import LOOKS, SCREENSHOTS
from tests.support.full_site import fill_site

THEME = os.environ["BESIDE"].split()[0]
#: Of which a picture is taken.
SEEN = ("overview", "outboxmessage-list", "message-waits", "send-form", "trigger-page")


@pytest.fixture
def server(transactional_db: None) -> Iterator[LiveServer]:
    """Without the strict policy of our own pages: that is the theme's business."""
    live = LiveServer("127.0.0.1")
    yield live
    live.stop()


@pytest.fixture
def console() -> list[str]:
    """What scripts say is the theme's business, too."""
    return []


@pytest.fixture
def addresses(page: Any) -> dict[str, str]:
    return fill_site()


def test_every_page_answers_and_is_seen(page: Any, addresses: dict[str, str]) -> None:
    wrong = {name: status for name, url in addresses.items() if (status := page.goto(url).status) != 200}
    assert wrong == {}
    for look, (width, scheme) in LOOKS.items():
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        for name in SEEN:
            page.goto(addresses[name])
            page.wait_for_load_state("networkidle")
            page.screenshot(path=SCREENSHOTS / f"{THEME}-{name}-{look}.png", full_page=True, caret="initial")


def test_a_message_is_cancelled_and_a_route_saved_by_their_buttons(
    page: Any, addresses: dict[str, str]
) -> None:
    page.goto(addresses["message-waits"])
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("1 message is cancelled").wait_for()
    assert OutboxMessage.objects.filter(status="cancelled").count() == 1
    page.goto(addresses["route-page"])
    page.fill("#id_position", "7")
    page.locator("[name=_save]").first.click()
    page.get_by_text("was changed successfully").wait_for()
    assert Route.objects.get().position == 7
