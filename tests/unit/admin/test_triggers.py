from __future__ import annotations

import html
import re

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from dispatch.admin.model_choices import choices, columns, relations, watchable
from dispatch.api import trigger
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from project.notes.models import Note
from tests.support.registry import write_past_the_form

SUMMARIZE = "worker.tasks.llm.summarize_note"
ADD = "admin:dispatch_trigger_add"
pytestmark = pytest.mark.usefixtures("registry")


def lines(prefix, rows, **extra):
    data = {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": 0}
    for index, row in enumerate(rows):
        data |= {f"{prefix}-{index}-{name}": value for name, value in row.items()}
    return data


def argument(parameter, value="", source="field"):
    return {"parameter": parameter, "source": source, "value": value}


def form(arguments, conditions=(), **columns):
    task = TaskDefinition.objects.get(name=columns.pop("task", SUMMARIZE))
    basic = {
        "name": "On save",
        "enabled": "on",
        "model": "notes.note",
        "events": ["created"],
        "task": task.pk,
    }
    return {
        **basic,
        **columns,
        **lines("arguments", list(arguments)),
        **lines("conditions", list(conditions)),
    }


COMPLETE = [argument("note_id", "pk"), argument("text", "body")]


def errors(boss, data):
    response = boss.post(reverse(ADD), data)
    assert response.status_code == 200, "the form was accepted"
    return html.unescape(" ".join(str(error) for error in response.context["errors"]))


def test_a_trigger_made_in_the_admin_sends_its_task(boss):
    condition = {"field": "kind", "operator": "equals", "value": "text"}
    assert boss.post(reverse(ADD), form(COMPLETE, [condition])).status_code == 302
    note = Note.objects.create(title="A note", body="Words.", kind="text")
    Note.objects.create(title="Another", kind="link")
    [message] = OutboxMessage.objects.all()
    assert message.queue == "llm"
    assert message.kwargs == f'{{"note_id":"{note.pk}","text":"Words."}}'


def test_a_missing_parameter_is_named(boss):
    found = errors(boss, form([argument("note_id", "pk")]))
    assert f"The arguments do not fit task {SUMMARIZE}: it does not give 'text', which is required." in found


def test_an_unknown_parameter_is_refused_with_close_matches(boss):
    found = errors(boss, form([*COMPLETE, argument("sentenses", "1", "constant")]))
    assert "it gives 'sentenses', which the task does not take (did you mean 'sentences'?)" in found


def test_a_constant_of_the_wrong_type_is_refused(boss):
    found = errors(boss, form([*COMPLETE, argument("sentences", '"two"', "constant")]))
    assert "its constant for 'sentences' does not fit: 'two' is not of type 'integer'" in found
    assert (
        boss.post(reverse(ADD), form([*COMPLETE, argument("sentences", "2", "constant")])).status_code == 302
    )


def test_a_line_that_is_deleted_no_longer_gives_its_parameter(boss):
    boss.post(reverse(ADD), form(COMPLETE))
    trigger = Trigger.objects.get()
    text = trigger.arguments.get(parameter="text")
    data = form([{"id": text.pk, "trigger": trigger.pk, **argument("text", "body"), "DELETE": "on"}])
    data |= {"arguments-INITIAL_FORMS": 1}
    response = boss.post(reverse("admin:dispatch_trigger_change", args=[trigger.pk]), data)
    assert response.status_code == 200
    assert "it does not give 'text'" in " ".join(map(str, response.context["errors"]))


def test_a_task_without_a_schema_takes_any_mapping(boss):
    assert boss.post(reverse(ADD), form([argument("anything", "title")], task="by.hand")).status_code == 302


def test_an_unknown_column_is_refused_and_the_columns_are_named(boss):
    found = errors(boss, form([argument("note_id", "pk"), argument("text", "bdoy")]))
    assert "no column bdoy" in found
    assert "body" in found


def test_a_line_without_a_field_asks_for_one(boss):
    found = errors(boss, form([argument("note_id", "pk"), argument("text")]))
    assert "Name a field of the object" in found
    assert "no column" not in found


def test_a_constant_for_a_sensitive_parameter_is_not_quoted(boss):
    TaskDefinition.objects.filter(name=SUMMARIZE).update(sensitive_parameters=["sentences"])
    found = errors(boss, form([*COMPLETE, argument("sentences", '"hunter2"', "constant")]))
    assert "'sentences' does not fit" in found
    assert "hunter2" not in found


def test_without_a_model_the_lines_do_not_complain_too(boss):
    found = errors(boss, form([*COMPLETE, argument("sentences", "{", "constant")], model=""))
    assert "There is no model" not in found
    assert "required" in found


def test_an_event_must_be_chosen_and_is_asked_for_once(boss):
    response = boss.post(reverse(ADD), form(COMPLETE, events=[]))
    assert len(response.context["adminform"].form.errors["events"]) == 1


def test_housekeeping_models_are_not_offered():
    offered = str(choices())
    assert "notes.note" in offered
    assert "auth.user" in offered
    for hidden in ("dispatch.", "sessions.", "admin.logentry", "contenttypes."):
        assert f"('{hidden}" not in offered


def test_a_model_that_is_gone_stays_visible():
    assert ("gone.model", "gone.model (not installed)") in choices("gone.model")


def test_password_hashes_are_not_offered():
    names = {column["name"] for column in columns("auth.user")}
    assert "username" in names
    assert "password" not in names
    assert "password" not in dict(watchable("auth.user"))


def test_the_form_s_script_is_told_columns_and_parameters(boss):
    task = TaskDefinition.objects.get(name=SUMMARIZE)
    query = {"model": "notes.note", "task": task.pk}
    answer = boss.get(reverse("admin:dispatch_trigger_choices"), query).json()
    assert {"id", "body"} <= {column["name"] for column in answer["fields"]}
    assert answer["relations"] == ["tags"]
    assert ["tags", "tags (related objects)"] in answer["watched"]
    assert answer["parameters"][0] == {"name": "note_id", "type": "string", "required": True, "default": ""}
    for odd in ("x", "9" * 30, "9" * 5_000):
        query = {"model": "no.model", "task": odd}
        nothing = boss.get(reverse("admin:dispatch_trigger_choices"), query).json()
        assert nothing == {"fields": [], "watched": [], "relations": [], "parameters": []}


def test_staff_who_may_only_view_are_told_nothing_of_models(viewer):
    assert viewer.get(reverse("admin:dispatch_trigger_choices"), {"model": "auth.user"}).status_code == 403


def test_a_trigger_that_cannot_work_is_marked_in_the_list(boss):
    task = TaskDefinition.objects.get(name="by.hand")
    trigger = Trigger.objects.create(name="Broken", model="notes.note", events=["created"], task=task)
    trigger.conditions.create(field="gone", operator="equals", value="1")
    text = boss.get(reverse("admin:dispatch_trigger_changelist")).content.decode()
    assert "cannot work" in text
    assert "no column gone" in text


# -- what it sends, and why it does not -----------------------------------------------------------


def changelist(client):
    return html.unescape(client.get(reverse("admin:dispatch_trigger_changelist")).content.decode())


def test_the_list_and_the_page_tell_what_was_sent_lately_and_the_last_error(boss):
    boss.post(reverse(ADD), form(COMPLETE))
    row = Trigger.objects.get()
    Note.objects.create(title="A note")
    Note.objects.create(title="Another")
    dead = OutboxMessage.objects.earliest("id")
    OutboxMessage.objects.filter(pk=dead.pk).update(status="dead", last_error="It does not fit.")
    for page in (
        changelist(boss),
        html.unescape(boss.get(reverse("admin:dispatch_trigger_change", args=[row.pk])).content.decode()),
    ):
        assert "2, the last <time" in page
        assert f"/admin/dispatch/outboxmessage/{dead.pk}/change/" in page
        assert "It does not fit." in page


def test_what_was_sent_is_told_to_those_alone_who_may_view_messages(boss, viewer):
    boss.post(reverse(ADD), form(COMPLETE))
    Note.objects.create(title="A note")
    assert "1, the last" in changelist(viewer)
    User.objects.get(username="viewer").user_permissions.remove(
        Permission.objects.get(codename="view_outboxmessage")
    )
    assert "1, the last" not in changelist(viewer)


def test_a_disabled_trigger_says_by_whom_and_why_and_forgets_it_when_it_is_enabled(boss):
    boss.post(reverse(ADD), form(COMPLETE))
    row = Trigger.objects.get()
    url = reverse("admin:dispatch_trigger_change", args=[row.pk])
    lines = [{"id": a.pk, "trigger": row.pk, **argument(a.parameter, a.value)} for a in row.arguments.all()]
    data = form(lines, disabled_reason="The partner is down.") | {"arguments-INITIAL_FORMS": 2}
    del data["enabled"]
    assert boss.post(url, data).status_code == 302
    assert re.search(
        r"disabled</span> <small[^>]*>by boss <time.*</time> The partner is down.", changelist(boss)
    )
    data = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": row.pk, "form-0-enabled": "on"}
    boss.post(reverse("admin:dispatch_trigger_changelist"), data | {"_save": "Save"})
    row.refresh_from_db()
    assert (row.enabled, row.disabled_reason) == (True, "")


def test_whoever_may_only_view_reads_words(viewer):
    task = TaskDefinition.objects.get(name="by.hand")
    row = Trigger.objects.create(
        name="T", model="notes.note", events=["updated", "m2m_added"], task=task, watched=["body", "tags"]
    )
    page = viewer.get(reverse("admin:dispatch_trigger_change", args=[row.pk])).content.decode()
    assert "updated, related objects added" in page
    assert "body, tags" in page
    assert "[" not in re.search(r"<form.*?</form>", page, re.DOTALL)[0]


@pytest.mark.parametrize("odd", ['"created"', "5", "null", "[[1]]", '{"a": 1%s}' % ("0" * 5_000)])
def test_events_and_fields_that_are_no_list_break_no_page(boss, viewer, odd):
    row = Trigger.objects.create(
        name="T", model="notes.note", events=["created"], task=TaskDefinition.objects.get(name="by.hand")
    )
    for column in ("events", "watched"):
        if column == "events" or odd != "null":
            write_past_the_form(Trigger, column, odd, id=row.pk)
    for client in (boss, viewer):
        assert "cannot work" in changelist(client)
        assert client.get(reverse("admin:dispatch_trigger_change", args=[row.pk])).status_code == 200


def test_the_names_of_a_column_are_told_to_the_form_s_script():
    of = {column["name"]: column["aliases"] for column in columns("admin.logentry")}
    assert (of["id"], of["user_id"], of["object_id"]) == (["pk"], ["user"], [])


# -- retired tasks ---------------------------------------------------------------------------


def offered(boss, term=""):
    query = {"app_label": "dispatch", "model_name": "trigger", "field_name": "task", "term": term}
    return {row["text"] for row in boss.get(reverse("admin:autocomplete"), query).json()["results"]}


def test_a_retired_task_is_not_offered(boss):
    assert SUMMARIZE in offered(boss, "summarize")
    TaskDefinition.objects.filter(name=SUMMARIZE).update(retired_at=timezone.now())
    assert offered(boss, "summarize") == set()


def test_a_retired_task_is_refused_for_a_new_trigger(boss):
    TaskDefinition.objects.filter(name=SUMMARIZE).update(retired_at=timezone.now())
    assert "Select a valid choice" in errors(boss, form(COMPLETE))


def test_a_trigger_keeps_a_task_that_was_retired_later(boss):
    boss.post(reverse(ADD), form(COMPLETE))
    TaskDefinition.objects.filter(name=SUMMARIZE).update(retired_at=timezone.now())
    trigger = Trigger.objects.get()
    url = reverse("admin:dispatch_trigger_change", args=[trigger.pk])
    assert f"selected>{SUMMARIZE}</option>" in boss.get(url).content.decode()
    rows = [
        {"id": row.pk, "trigger": trigger.pk, **argument(row.parameter, row.value)}
        for row in trigger.arguments.all()
    ]
    data = form(rows, name="Renamed") | {"arguments-INITIAL_FORMS": 2}
    assert boss.post(url, data).status_code == 302
    assert Trigger.objects.get().name == "Renamed"


# -- conditions that fit ---------------------------------------------------------------------


def condition(field, operator, value=""):
    return {"field": field, "operator": operator, "value": value}


def test_each_column_is_offered_with_the_operators_and_values_that_fit_it():
    of = {column["name"]: column for column in columns("notes.note")}
    assert of["kind"]["choices"] == [("text", "text"), ("audio", "audio"), ("link", "link")]
    assert {"contains", "changed_from_to"} <= set(of["body"]["operators"])
    assert "is_null" not in of["body"]["operators"]
    assert {"less", "is_null"} <= set(of["summarized_at"]["operators"])
    assert "contains" not in of["summarized_at"]["operators"]
    active = next(column for column in columns("auth.user") if column["name"] == "is_active")
    assert active["choices"] == [("True", "yes"), ("False", "no")]
    assert relations("auth.user") == ["groups", "user_permissions"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (condition("summarized_at", "contains", "2024"), "“contains” does not fit summarized_at"),
        (condition("body", "greater", "a"), "“is greater than” does not fit body"),
        (condition("kind", "equals", "txet"), "kind never holds 'txet': it is one of text, audio, link"),
        (condition("kind", "changed_from_to", "text"), "Write two lines"),
        (condition("kind", "changed_from_to", "text\nvideo"), "kind never holds 'video'"),
        (condition("title", "equals", "x" * 201), "at most 200 characters"),
        (condition("kind", "in", " \n"), "Write one value a line"),
        (condition("created_at", "changed_to", "soon"), "invalid format"),
        (condition("summarized_at", "greater", "null"), "null is in no order"),
    ],
)
def test_a_condition_that_does_not_fit_its_column_is_refused(line, complaint, boss):
    assert complaint in errors(boss, form(COMPLETE, [line]))


def test_a_transition_can_be_from_and_to_null(boss):
    line = condition("summarized_at", "changed_from", "null")
    assert boss.post(reverse(ADD), form(COMPLETE, [line])).status_code == 302
    [stored] = Trigger.objects.get().spec().conditions
    assert stored.value is None


def test_a_transition_can_be_to_an_empty_text(boss):
    line = condition("failure", "changed_from_to", "late\r\n")
    assert boss.post(reverse(ADD), form(COMPLETE, [line])).status_code == 302
    [stored] = Trigger.objects.get().spec().conditions
    assert stored.value == ("late", "")
    assert (
        "failure has changed late → “”"
        in boss.get(reverse("admin:dispatch_trigger_changelist")).content.decode()
    )


# -- watched fields --------------------------------------------------------------------------


def test_watched_fields_and_relations_are_stored_and_shown(boss):
    data = form(COMPLETE, events=["updated", "m2m_added"], watched=["body", "tags"])
    assert boss.post(reverse(ADD), data).status_code == 302
    trigger = Trigger.objects.get()
    assert (trigger.spec().watched, trigger.spec().relations) == (("body",), ("tags",))
    page = boss.get(reverse("admin:dispatch_trigger_change", args=[trigger.pk])).content.decode()
    assert re.search(r'name="watched" value="tags"[^>]*checked', page)
    assert "watches body, tags" in boss.get(reverse("admin:dispatch_trigger_changelist")).content.decode()


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"events": ["updated"], "watched": ["gone"]}, "no column gone"),
        ({"events": ["created"], "watched": ["body"]}, "columns are watched for updates"),
        ({"events": ["updated"], "watched": ["tags"]}, "choose an event of related objects too"),
        ({"events": ["m2m_added"], "model": "auth.permission"}, "has no many-to-many field"),
        ({"events": ["updated"], "model": "auth.user", "watched": ["password"]}, "sensitive field"),
    ],
)
def test_what_can_never_be_seen_to_change_cannot_be_watched(columns, complaint, boss):
    arguments = [argument("note_id", "", "pk"), argument("text", '""', "constant")]
    assert complaint in errors(boss, form(arguments, **columns))


def test_a_watched_field_that_is_gone_is_shown_so_that_it_can_be_taken_away(boss):
    task = TaskDefinition.objects.get(name="by.hand")
    row = Trigger.objects.create(
        name="Old", model="notes.note", events=["updated"], task=task, watched=["gone"]
    )
    page = boss.get(reverse("admin:dispatch_trigger_change", args=[row.pk])).content.decode()
    assert 'name="watched" value="gone"' in page


# -- arguments that fit ----------------------------------------------------------------------


@pytest.fixture
def typed(registry):
    """A task with a parameter of each type."""
    number, text, when = {"type": "integer"}, {"type": "string"}, {"type": "string", "format": "date-time"}
    maybe = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    properties = {
        "number": number,
        "text": text,
        "when": when,
        "maybe": maybe,
        "ids": {"type": "array", "items": number},
        "names": {"type": "array", "items": text},
        "any": {},
    }
    return TaskDefinition.objects.create(
        name="typed", parameters={"type": "object", "properties": properties, "additionalProperties": False}
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (argument("number", "body"), "'number' takes integer, but body gives string"),
        (argument("number", "", "pk"), "'number' takes integer, but primary key gives string"),
        (argument("number", "", "timestamp"), "but time of the event gives string"),
        (argument("number", "", "event"), "but name of the event gives string"),
        (argument("text", "", "related"), "'text' takes string, but"),
        (argument("names", "", "related"), "'names' takes array of string, but"),
        (argument("ids", "body", "old"), "the old value of body gives string"),
    ],
)
@pytest.mark.usefixtures("typed")
def test_a_source_whose_type_never_fits_the_parameter_is_refused(line, complaint, boss):
    assert complaint in errors(boss, form([line], task="typed", events=["updated", "m2m_added"]))


@pytest.mark.parametrize(
    "line",
    [
        argument("text", "", "pk"),
        argument("text", "created_at"),
        argument("when", "", "timestamp"),
        argument("maybe", "summarized_at"),
        argument("ids", "", "related"),
        argument("any", "", "related"),
        argument("maybe", "body", "old"),
    ],
)
@pytest.mark.usefixtures("typed")
def test_a_source_whose_type_fits_is_accepted_without_a_warning(line, boss):
    data = form([line], task="typed", events=["updated", "m2m_added"])
    response = boss.post(reverse(ADD), data, follow=True)
    assert Trigger.objects.exists(), response.context["errors"]
    assert "takes no null" not in response.content.decode()


@pytest.mark.usefixtures("typed")
def test_a_number_goes_into_a_text_as_it_does_when_it_is_sent(boss):
    data = form([argument("text", "weight")], task="typed", model="notes.tag")
    assert boss.post(reverse(ADD), data).status_code == 302


@pytest.mark.parametrize(
    ("line", "events"),
    [
        (argument("text", "summarized_at"), ["updated"]),
        (argument("text", "body", "old"), ["created", "updated"]),
    ],
)
@pytest.mark.usefixtures("typed")
def test_what_may_be_null_for_a_parameter_that_takes_none_is_a_warning(line, events, boss):
    response = boss.post(reverse(ADD), form([line], task="typed", events=events), follow=True)
    assert Trigger.objects.exists()
    assert "takes no null" in response.content.decode()


@pytest.mark.usefixtures("typed")
def test_related_keys_need_an_event_that_has_them(boss):
    assert "there are none to send" in errors(boss, form([argument("any", "", "related")], task="typed"))


def test_a_parameter_that_is_not_given_is_left_to_the_task(boss):
    assert boss.post(reverse(ADD), form([*COMPLETE, argument("sentences", "", "")])).status_code == 302
    assert set(Trigger.objects.get().spec().arguments) == {"note_id", "text"}


def test_a_required_parameter_that_is_not_given_is_named(boss):
    found = errors(boss, form([argument("note_id", "", "pk"), argument("text", "", "")]))
    assert f"do not fit task {SUMMARIZE}: it does not give 'text', which is required" in found


def test_a_stored_line_cannot_lose_its_source_unnoticed(boss):
    boss.post(reverse(ADD), form(COMPLETE))
    trigger = Trigger.objects.get()
    stored = [
        {"id": row.pk, "trigger": trigger.pk, **argument(row.parameter, row.value, "")}
        for row in trigger.arguments.all()
    ]
    response = boss.post(
        reverse("admin:dispatch_trigger_change", args=[trigger.pk]),
        form(stored) | {"arguments-INITIAL_FORMS": 2},
    )
    assert "Choose where it comes from" in " ".join(map(str, response.context["errors"]))


# -- triggers in code ------------------------------------------------------------------------


def test_triggers_in_code_are_listed_with_the_same_facts_and_cannot_be_changed(boss, declared):
    def long(note):
        return len(note.body) > 1000

    @trigger(Note, on=["created", "updated"], watch=["body"], task=SUMMARIZE, when=long)
    def summarize(note):
        return {"note_id": str(note.pk), "text": note.body}

    page = boss.get(reverse("admin:dispatch_trigger_changelist")).content.decode()
    assert "summarize" in page
    assert "watches body" in page
    assert "long" in page
    assert "queue llm on broker default" in page
    assert reverse("admin:dispatch_trigger_code_preview") in page


def test_what_was_sent_lately_is_counted_once_for_both_lists(boss, declared):
    boss.post(reverse(ADD), form(COMPLETE))
    trigger(Note, on="created", task="by.hand")(lambda note: {})
    with CaptureQueriesContext(connection) as queries:
        boss.get(reverse("admin:dispatch_trigger_changelist"))
    assert sum("GROUP BY" in query["sql"] for query in queries) == 1


# -- from a trigger to its messages ----------------------------------------------------------


def test_a_trigger_s_page_leads_to_its_messages(boss):
    boss.post(reverse(ADD), form(COMPLETE))
    Note.objects.create(title="A", body="Words.")
    row = Trigger.objects.get()
    page = boss.get(reverse("admin:dispatch_trigger_change", args=[row.pk])).content.decode()
    [address] = re.findall(r'href="([^"]*outboxmessage/\?[^"]*)"', page)
    shown = boss.get(address.replace("&amp;", "&"))
    assert shown.context["cl"].result_count == 1
    assert (
        boss.get(address.replace("On+save", "Another").replace("&amp;", "&")).context["cl"].result_count == 0
    )
