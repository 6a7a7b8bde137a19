"""A real browser and a server whose pages may load nothing inline and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from tests.support import browser_steps, servers


@pytest.fixture
def server(settings: Any, transactional_db: None) -> Iterator[LiveServer]:
    settings.MIDDLEWARE = [f"{browser_steps.__name__}.strict_policy", *settings.MIDDLEWARE]
    settings.DISPATCH = {**settings.DISPATCH, "BROKER_TIMEOUT": 0.3}
    live = LiveServer("127.0.0.1")
    yield live
    live.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser for all tests. Playwright runs an event loop in this thread, in which Django would refuse the ORM."""
    if not servers.CHROMIUM:
        servers.missing("Chromium was not found")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        servers.missing("Playwright is not installed")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=servers.CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def console() -> Iterator[list[str]]:
    """What the browser complained of: errors of scripts, and what the policy forbade. A test ends without any."""
    told: list[str] = []
    yield told
    assert told == []


@pytest.fixture
def page(server: LiveServer, browser: Any, admin_client: Client, console: list[str]) -> Iterator[Any]:
    """A page of who may do everything and has logged in, with nothing of an earlier test in its browser."""
    context = browser.new_context(base_url=server.url)
    cookie = admin_client.cookies["sessionid"]
    context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": server.url}])
    context.route("**/favicon.ico", lambda route: route.fulfill(status=204))  # which the project has not
    page = context.new_page()
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    yield page
    context.close()
