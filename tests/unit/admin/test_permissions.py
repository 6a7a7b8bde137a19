"""Each page, action and endpoint of the admin, walked by its URL patterns, for users of no, some and all rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver, resolve, reverse

from dispatch import permission_groups
from dispatch.models import OutboxMessage
from tests.unit.admin.conftest import VIEWS, client_of, make_user

pytestmark = pytest.mark.one_database

MODELS = {model._meta.model_name: model for model in apps.get_app_config("dispatch").get_models()}
CHANGING = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


def patterns(resolver: URLResolver) -> Iterator[URLPattern]:
    for each in resolver.url_patterns:
        if isinstance(each, URLResolver):
            yield from patterns(each)
        else:
            yield each


def own_patterns() -> dict[str, URLPattern]:
    """Return the patterns of dispatch's pages by name."""
    [site] = [
        each
        for each in get_resolver().url_patterns
        if isinstance(each, URLResolver) and each.namespace == admin.site.name
    ]
    return {each.name: each for each in patterns(site) if each.name and each.name.startswith("dispatch_")}


NAMES = sorted(own_patterns())


def address(name: str) -> str:
    """Return the address of a page; of a row's, that of the first row."""
    model = next((MODELS[word] for word in name.split("_") if word in MODELS), None)
    takes_key = own_patterns()[name].pattern.converters
    assert model or not takes_key, f"{name} takes a key, and its name does not say of which model."
    return reverse(f"admin:{name}", args=[model.objects.first().pk] if takes_key else [])


class Page(HTMLParser):
    """The links of a page, where its buttons send a form to, and the actions that its list offers."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__()
        self.url = url
        self.links: set[str] = set()
        self.buttons: set[str] = set()
        self.actions: set[str] = set()
        self._form = ""
        self._is_choice_of_actions = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in found:
            self.links.add(self._whole(found["href"]))
        if tag == "form":
            is_post = found.get("method", "").lower() == "post"
            self._form = self._whole(found.get("action", "")) if is_post else ""
        if (tag == "button" or found.get("type") == "submit") and (self._form or "formaction" in found):
            self.buttons.add(self._whole(found["formaction"]) if "formaction" in found else self._form)
        if tag == "select":
            self._is_choice_of_actions = found.get("name") == "action"
        if tag == "option" and self._is_choice_of_actions and found.get("value"):
            self.actions.add(found["value"])

    def _whole(self, url: str) -> str:
        return urljoin(self.url, url.partition("#")[0]) or self.url


def view_of(url: str) -> str:
    """Return the name of the admin's view that an address leads to, "" for none that matters here."""
    address = urlsplit(url)
    if address.netloc or not address.path.startswith(reverse("admin:index")):
        return ""
    name = resolve(address.path).view_name
    return "" if name in ("admin:logout", "admin:password_change", "admin:jsi18n") else name


def walk(client: Client) -> Iterator[Page]:
    """Follow all links from the named pages, to one page of each view: what is permitted hangs on the view."""
    starts = [reverse("admin:index"), reverse("admin:app_list", args=["dispatch"]), *map(address, NAMES)]
    waiting, seen = [(url, "") for url in starts], set()
    while waiting:
        url, source = waiting.pop()
        if (view_of(url), bool(source)) in seen:
            continue
        seen.add((view_of(url), bool(source)))
        response = client.get(url)
        assert not source or response.status_code not in (403, 404, 405), f"{source} links to {url}"
        if response.status_code == 200 and response["Content-Type"].startswith("text/html"):
            page = Page(url, response.content.decode())
            waiting += [(link, url) for link in sorted(page.links) if view_of(link)]
            yield page


def post(client: Client, url: str, data: dict[str, object] | None = None) -> int:
    """Return the status of a POST, what it changes being taken back."""
    with transaction.atomic():
        status: int = client.post(url, data or {}).status_code
        transaction.set_rollback(True)
    return status


@pytest.fixture(autouse=True)
def rows(one_of_each: None, broker_settings) -> None:
    broker_settings("memory://", BROKER_TIMEOUT=0.05)  # no worker answers


def test_a_look_changes_nothing_and_what_changes_something_takes_no_get(boss: Client) -> None:
    for name in NAMES:
        with CaptureQueriesContext(connection) as queries:
            status = boss.get(address(name)).status_code
        assert status in (200, 302, 403, 404, 405), name
        assert not [query["sql"] for query in queries if CHANGING.match(query["sql"])], name


def test_nobody_without_rights_gets_any_page_or_does_anything() -> None:
    nobody, stranger = client_of(make_user("nobody")), Client()
    for name in NAMES:
        assert nobody.get(address(name)).status_code in (403, 405), name
        assert post(nobody, address(name)) == 403, name
        assert stranger.get(address(name)).status_code in (302, 405), name
        assert post(stranger, address(name)) == 302, name


def test_who_may_only_look_changes_nothing(viewer: Client) -> None:
    before = {model: list(model.objects.order_by("pk").values()) for model in MODELS.values()}
    for name in NAMES:
        is_action = viewer.get(address(name)).status_code == 405
        status = viewer.post(address(name), {"post": "yes"}).status_code
        assert status == 403 or not is_action, name
    for name, model in MODELS.items():
        keys = list(model.objects.values_list("pk", flat=True))
        for action in getattr(admin.site._registry.get(model), "actions", ()):
            data = {"action": action, "_selected_action": keys}
            viewer.post(reverse(f"admin:dispatch_{name}_changelist"), data)
    assert {model: list(model.objects.order_by("pk").values()) for model in MODELS.values()} == before
    assert not LogEntry.objects.exists()


def rights() -> dict[str, tuple[str, ...]]:
    """Return what users may do: look at all; look at one model and do what is to be done there; change some."""
    own = {
        name: (f"view_{name}", *(codename for codename, _text in model._meta.permissions))
        for name, model in MODELS.items()
        if admin.site.is_registered(model)
    }
    changes = ("view_route", "change_route", "view_queue", "delete_queue", "add_trigger")
    return {"all views": VIEWS, **own, "some changes": changes}


RIGHTS = rights()


def check(pages: list[Page], client: Client) -> None:
    """Press each button of some pages."""
    for page in pages:
        for url in filter(view_of, page.buttons):
            assert post(client, url) not in (403, 404, 405), f"{page.url} has a button to {url}"


@pytest.mark.parametrize("codenames", RIGHTS.values(), ids=RIGHTS)
def test_no_page_shows_a_link_or_a_button_that_leads_to_a_403(codenames: tuple[str, ...]) -> None:
    client = client_of(make_user("some", *codenames))
    pages = list(walk(client))
    assert len(pages) > 2
    check(pages, client)


def test_operators_reach_what_there_is_to_be_done_and_viewers_are_offered_nothing(viewer: Client) -> None:
    permission_groups.make()
    user = make_user("operator")
    user.groups.add(Group.objects.get(name=permission_groups.OPERATORS))
    OutboxMessage.objects.update(status="dead")
    check(pages := list(walk(client := client_of(user))), client)
    message = OutboxMessage.objects.get().pk
    assert reverse("admin:dispatch_outboxmessage_requeue", args=[message]) in {
        url for page in pages for url in page.buttons
    }
    lists = [page.url for page in pages if page.actions]
    assert {action for page in pages for action in page.actions} >= {"pause", "resume", "requeue", "cancel"}
    assert not [url for url in lists if Page(url, viewer.get(url).content.decode()).actions]
