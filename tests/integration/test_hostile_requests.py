"""Every page of the admin, asked with what no browser would send: an answer, and never an error of the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from dispatch.api import send_task
from dispatch.models import (
    Binding,
    Exchange,
    Manifest,
    OutboxMessage,
    Queue,
    Route,
    TaskDefinition,
    Trigger,
)
from tests.support.odd_values import DEEP, LONG
from tests.support.registry import ARGUMENTS, TASK, make_registry, make_trigger

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.one_database,
    pytest.mark.timeout(900),
]

PAGES = [Exchange, Queue, Route, TaskDefinition, Manifest, Trigger, OutboxMessage]
NAMES = {model: model._meta.model_name for model in PAGES}
#: As they stand in an address: NUL, numbers that are none or too many, nothing, half a surrogate pair, other digits.
VALUES = [
    "a%00b", LONG, "", "%ED%A0%80", "9" * 30, "-1", "nan", "%D9%A3", "%27%22%3C%3E", "notes.note%20%00", "a+" * 3_000
]  # fmt: skip
#: What is written into a form: as text, as a number, as JSON.
WRITTEN = [
    "\0", "a\0b", r'{"a": "\ud800"}', LONG, "-5", "nan", "inf", "1e300", "1e999", "-1e999", "9" * 30, "٣", "", DEEP,
    "NaN", "[1e999]", r'["\u0000"]', f"[{LONG}]", "[" * 900 + "]" * 900, '{"a": {"b": NaN}}', "[]",
    '{"__type__": "x", "__value__": 1}', "null", "{", "pk = \0", "body = 1\npk = " + LONG,
]  # fmt: skip
#: What lists are asked by anyway; each list adds its filters.
OF_LISTS = [
    "q",
    "p",
    "until",
    "start",
    "o",
    "e",
    "all",
    "_changelist_filters",
    "_popup",
    "_to_field",
    "_facets",
    "id",
    "pk__in",
    "nope",
]
LOOKUPS = ["__exact", "__id__exact", "__isnull", "__in", "__range"]
OF_OTHERS = {
    "choices": ["model", "task", "%00"],
    "preview": ["pk", "event", "changes"],
    "code_preview": ["name", "model", "task", "events"],
    "seen": ["queue"],
    "send": ["again"],
    "add": ["name", "queue", "priority", "events", "_to_field", "_changelist_filters"],
    "change": ["_to_field", "_popup", "_changelist_filters"],
    "delete": ["_to_field", "_popup"],
    "history": ["p", "all"],
}


@pytest.fixture
def boss(broker_settings: Any) -> Client:
    """One who may do everything, in a registry with a row on each page."""
    broker_settings("memory://", BROKER_TIMEOUT=0.05)  # no worker answers
    task = make_registry()
    exchange = Exchange.objects.create(name="media", type="topic")
    Binding.objects.create(queue=Queue.objects.get(name="llm"), exchange=exchange, routing_key="media.#")
    Manifest.objects.create(worker="worker", version="1", checksum="sha256:00", queues=[{"name": "llm"}])
    make_trigger(task, "created")
    send_task(TASK, kwargs=ARGUMENTS)
    client = Client(raise_request_exception=True)
    client.force_login(User.objects.create_superuser("boss"))
    return client


def addresses(model: Any) -> Iterator[tuple[str, str]]:
    """Yield the kind and the address of each page of a model, for a row and for what is none."""
    for pattern in admin.site.get_model_admin(model).get_urls():
        if not pattern.name:
            continue
        kind = pattern.name.removeprefix(f"dispatch_{NAMES[model]}_")
        for pk in (
            [model.objects.first().pk, *("%00", LONG, "9" * 30, "nan", "a%00b")]
            if pattern.pattern.converters
            else [""]
        ):
            try:
                address = reverse(f"admin:{pattern.name}", args=["PK"] if pk else [])
            except Exception:  # noqa: BLE001 - the key has a form
                address = reverse(f"admin:{pattern.name}", args=[model.objects.first().pk]).replace(
                    str(model.objects.first().pk), "PK"
                )
            yield kind, address.replace("PK", str(pk))


def parameters(model: Any, kind: str) -> list[str]:
    if kind != "changelist":
        return OF_OTHERS.get(kind, [])
    found = list(OF_LISTS)
    for each in admin.site.get_model_admin(model).list_filter:
        name = each[0] if isinstance(each, tuple) else each
        found += (
            [f"{name}{lookup}" for lookup in LOOKUPS]
            if isinstance(name, str)
            else [getattr(name, "parameter_name", "since")]
        )
    return found


class Crawler:
    """Asks, and notes each request whose answer is an error of the server."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.failures: list[str] = []

    def get(self, address: str, query: str = "") -> None:
        self._ask(
            f"GET {address[:60]}?{query[:60]}", self.client.get, f"{address}?{query}" if query else address
        )

    def post(self, what: str, address: str, data: dict[str, Any]) -> None:
        self._ask(f"POST {address[:60]} {what[:60]}", self.client.post, address, data)

    def _ask(self, request: str, send: Any, *args: Any) -> None:
        try:
            status = send(*args).status_code
        except Exception as error:  # noqa: BLE001 - whatever it is, it would have been a 500
            self.failures.append(f"{request}: {type(error).__name__}: {error}"[:200])
        else:
            if status >= 500:
                self.failures.append(f"{request}: {status}")


@pytest.mark.parametrize(
    "apart", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["together", "each alone"]
)
@pytest.mark.parametrize("model", PAGES, ids=NAMES.get)
def test_no_address_and_no_query_string_is_an_error_of_the_server(
    boss: Client, model: Any, apart: bool
) -> None:
    crawler = Crawler(boss)
    for kind, address in addresses(model):
        crawler.get(address)
        names = parameters(model, kind) if LONG not in address else []
        for value in VALUES[:6] if apart else VALUES[:2]:
            for asked in [[name] for name in names] if apart else [names]:
                crawler.get(address, "&".join(f"{name}={value}" for name in asked))
        crawler.get(address, "%00=%00&%FF&=&&;")
    assert not crawler.failures, "\n".join(crawler.failures)


@pytest.mark.parametrize("model", [Exchange, Queue, TaskDefinition], ids=NAMES.get)
def test_no_search_for_a_choice_is_an_error_of_the_server(boss: Client, model: Any) -> None:
    crawler = Crawler(boss)
    names = {
        Exchange: ("binding", "exchange"),
        Queue: ("trigger", "queue"),
        TaskDefinition: ("trigger", "task"),
    }
    field = dict(zip(("model_name", "field_name"), names[model], strict=True))
    for value in VALUES:
        asked = {"app_label": "dispatch", **field, "term": value}
        crawler.get(reverse("admin:autocomplete"), "&".join(f"{name}={each}" for name, each in asked.items()))
    assert not crawler.failures, "\n".join(crawler.failures)


def filled(client: Client, address: str) -> dict[str, Any]:
    """Return what a browser would send if the form on this page were saved as it is."""
    context = client.get(address).context
    found: dict[str, Any] = {}
    for form in (context["adminform"].form, *_of_formsets(context["inline_admin_formsets"])):
        for bound in form:
            value = bound.value()
            found[bound.html_name] = "" if value is None else bound.field.prepare_value(value)
    return found


def _of_formsets(inlines: Any) -> Iterator[Any]:
    for inline in inlines:
        yield inline.formset.management_form
        yield from inline.formset.forms


def forms(model: Any) -> Iterator[str]:
    yield reverse(f"admin:dispatch_{NAMES[model]}_add")
    yield reverse(f"admin:dispatch_{NAMES[model]}_change", args=[model.objects.first().pk])


@pytest.mark.parametrize(
    "apart", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["all fields at once", "each field"]
)
@pytest.mark.parametrize("model", [Exchange, Queue, Route, TaskDefinition, Trigger], ids=NAMES.get)
def test_nothing_that_is_written_into_a_form_is_an_error_of_the_server(
    boss: Client, model: Any, apart: bool
) -> None:
    crawler = Crawler(boss)
    for address in forms(model):
        whole = filled(boss, address)
        # of the counts of forms Django says itself that they are none
        names = [name for name in whole if not name.endswith("_FORMS")]
        for value in WRITTEN[::2] if apart else WRITTEN[:8]:
            for changed in [[name] for name in names] if apart else [names]:
                crawler.post(f"{changed[0]}={value}", address, {**whole, **dict.fromkeys(changed, value)})
    assert not crawler.failures, "\n".join(crawler.failures)


@pytest.mark.parametrize("model", PAGES, ids=NAMES.get)
def test_no_action_on_a_list_is_an_error_of_the_server(boss: Client, model: Any) -> None:
    crawler = Crawler(boss)
    address = reverse(f"admin:dispatch_{NAMES[model]}_changelist")
    row = str(model.objects.first().pk)
    rows = {"_save": "1", "form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": row}
    for value in ("\0", LONG, ""):
        for action in (*admin.site.get_model_admin(model).actions, "delete_selected", "a\0b"):
            crawler.post(f"{action} {value}", address, {"action": action, "_selected_action": [value, row]})
        for name in (*rows, "index", "select_across", "action", "post"):
            crawler.post(f"{name}={value}", address, {**rows, name: value})
    assert not crawler.failures, "\n".join(crawler.failures)


def test_no_preview_and_no_button_is_an_error_of_the_server(boss: Client) -> None:
    crawler = Crawler(boss)
    preview = reverse("admin:dispatch_trigger_preview", args=[Trigger.objects.get().pk])
    for value in WRITTEN:
        for name in ("pk", "event", "changes"):
            crawler.post(
                f"{name}={value}", preview, {"pk": "1", "event": "created", "changes": "", name: value}
            )
    for verb in ("requeue", "cancel"):
        address = reverse(f"admin:dispatch_outboxmessage_{verb}", args=[OutboxMessage.objects.get().pk])
        crawler.post(verb, address, {"a": "\0"})
    assert not crawler.failures, "\n".join(crawler.failures)


@pytest.mark.parametrize(
    "value",
    ["NaN", "[1e999]", r'{"a": "\ud800"}', r'{"a": "\u0000"}', LONG, DEEP, "[" * 65 + "]" * 65],
    ids=["NaN", "infinity", "half a pair", "NUL", "5,000 digits", "too deep for Python", "too deep"],
)
def test_json_that_no_database_stores_is_refused_with_a_reason_and_shown_again(
    boss: Client, value: str
) -> None:
    queue = Queue.objects.earliest("pk")
    address = reverse("admin:dispatch_queue_change", args=[queue.pk])
    response = boss.post(address, {**filled(boss, address), "arguments": value})
    form = response.context["adminform"].form
    assert form.errors.keys() == {"arguments"}
    assert str(form["arguments"].value()) == value
    queue.refresh_from_db()
    assert queue.arguments == {}
