"""Every text of the admin can be translated, and the German translation is complete."""

from __future__ import annotations

import ast
import gettext
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.contrib import admin
from django.core.management import call_command
from django.urls import reverse
from django.utils.translation import override

import dispatch
from dispatch import health
from dispatch.admin.explanations import in_one_sentence, rule_names
from dispatch.api import send_task
from dispatch.models import MinuteCount, OutboxMessage, Queue, Trigger
from dispatch.registry.snapshot_loader import load
from tests.support.processes import make_process
from tests.support.servers import missing

pytestmark = pytest.mark.one_database

PACKAGE = Path(dispatch.__file__).parent
TRANSLATION = Path("locale/de/LC_MESSAGES/django.po")
PLACEHOLDERS = re.compile(r"%\(\w+\)[a-z]|%[a-z]|\{\w*\}")
MARKS = re.compile("_|n?p?gettext(_lazy|_noop)?")


@pytest.fixture
def gettext_tools() -> None:
    """Skips where they are not installed."""
    if not all(map(shutil.which, ("xgettext", "msgmerge", "msgattrib", "msgfmt"))):
        missing("GNU gettext is not installed")


def catalogue(compiled: Path) -> dict[str, list[str]]:
    """Return a compiled file's messages, each with its forms."""
    with compiled.open("rb") as file:
        known = gettext.GNUTranslations(file)._catalog
    found: dict[str, list[str]] = {}
    for key, text in known.items():
        found.setdefault(key[0] if isinstance(key, tuple) else key, []).append(text)
    del found[""]
    return found


GERMAN = catalogue((PACKAGE / TRANSLATION).with_suffix(".mo"))


# ------------------------------------------------------------------ it is complete


def test_every_text_that_is_marked_is_translated(gettext_tools, tmp_path):
    copy = tmp_path / "dispatch"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "django", "makemessages", "--all", "--no-location", "--no-wrap"]
    subprocess.run(command, cwd=copy, check=True, capture_output=True, timeout=120)
    for lacking in ("--untranslated", "--only-fuzzy", "--only-obsolete"):
        found = subprocess.run(
            ["msgattrib", lacking, str(copy / TRANSLATION)], check=True, capture_output=True, text=True
        )
        assert found.stdout == "", f"{lacking}: run `make messages`, then translate these"


def test_what_is_compiled_is_what_was_translated(gettext_tools, tmp_path):
    compiled = tmp_path / "django.mo"
    subprocess.run(
        ["msgfmt", "--check-format", "-o", compiled, PACKAGE / TRANSLATION], check=True, timeout=60
    )
    assert catalogue(compiled) == GERMAN


def test_nothing_in_the_translation_is_empty_or_a_guess():
    text = (PACKAGE / TRANSLATION).read_text(encoding="utf-8")
    assert re.findall(r'^msgstr(?:\[\d\])? ""\n(?!")|^#,.*fuzzy|^#~', text, re.MULTILINE) == []
    assert len(GERMAN) > 900


def test_each_translation_has_the_placeholders_of_its_text():
    wanted = {text: sorted(PLACEHOLDERS.findall(text)) for text in GERMAN}
    assert {
        text: form
        for text, forms in GERMAN.items()
        for form in forms
        if sorted(PLACEHOLDERS.findall(form)) != wanted[text]
    } == {}


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield what marks a text for translation."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and MARKS.fullmatch(node.func.id):
            yield node


def key_of(call: ast.Call) -> str:
    """Return under what gettext knows the text, which is its context too; "" for what is no literal."""
    assert isinstance(call.func, ast.Name)
    literals = call.args[: 1 + ("pgettext" in call.func.id)]
    return "\x04".join(str(each.value) for each in literals if isinstance(each, ast.Constant))


def test_no_text_is_marked_where_makemessages_does_not_look():
    """It knows Django's names alone, and reads no f-string."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    renamed = [
        (str(path), alias.asname)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation"
        for alias in node.names
        if alias.asname not in (None, "_")
    ]
    hidden = [
        (str(path), call.lineno)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for call in calls(node)
    ]
    assert (renamed, hidden) == ([], [])


def test_every_text_that_code_marks_is_in_the_translation():
    marked = {
        text
        for path in PACKAGE.rglob("*.py")
        for call in calls(ast.parse(path.read_text(encoding="utf-8")))
        if (text := key_of(call))
    }
    assert marked - GERMAN.keys() == set()


def test_every_name_of_a_column_is_translated():
    """Django makes names up for what has none, and those nobody can translate."""
    pages = [page for page in admin.site._registry.values() if page.opts.app_label == "dispatch"]
    shown = [model for page in pages for model in (page.model, *(inline.model for inline in page.inlines))]
    lacking = [
        f"{model._meta.label}.{field.name}"
        for model in shown
        for field in model._meta.fields
        if str(field.verbose_name) not in GERMAN and not field.primary_key
    ]
    assert shown
    assert lacking == []


def test_no_text_of_the_host_has_another_translation_by_ours():
    """Django makes one catalogue of all: what it translates otherwise needs a context here."""
    compiled = "locale/de/LC_MESSAGES/django.mo"
    package = Path(django.__file__).parent
    theirs = [
        catalogue(path) for path in (package / "conf" / compiled, *package.glob(f"contrib/*/{compiled}"))
    ]
    assert len(theirs) > 10
    assert [
        (text, forms, GERMAN[text])
        for each in theirs
        for text, forms in each.items()
        if GERMAN.get(text, forms) != forms
    ] == []


# ------------------------------------------------------------------ it is shown


@pytest.fixture
def in_german(settings) -> Iterator[None]:
    settings.LANGUAGE_CODE = "de"
    with override("de"):
        yield


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("queue", "Queues sind, was Worker konsumieren."),
        ("route", "Welche Route würde dieser Task nehmen?"),
        ("taskdefinition", "Nur hier aufgeführte Tasks können gesendet werden"),
        ("trigger", "Ein Trigger sendet einen Task, wenn ein Objekt gespeichert oder gelöscht wird."),
        ("outboxmessage", "Zeitpunkt des Einreihens"),
        ("process", "Die Relays und Collectors des letzten Tages."),
        ("manifest", "Vertrag mit den Workern"),
    ],
)
def test_a_list_is_german(in_german, boss, one_of_each, model, sentence):
    assert sentence in boss.get(reverse(f"admin:dispatch_{model}_changelist")).content.decode()


def test_a_reader_is_answered_in_the_language_of_the_browser(settings, boss, one_of_each):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    url = reverse("admin:app_list", args=["dispatch"])
    assert "Erste Schritte" in boss.get(url, headers={"accept-language": "de"}).content.decode()
    assert "First steps" in boss.get(url, headers={"accept-language": "en"}).content.decode()


def test_the_page_of_a_message_is_german(in_german, boss, one_of_each):
    message = OutboxMessage.objects.get()
    text = boss.get(reverse("admin:dispatch_outboxmessage_change", args=[message.pk])).content.decode()
    assert all(word in text for word in ("Wo sie ist", "ausstehend", "Was gesendet wurde", "Zeiten"))


def test_the_page_of_a_trigger_gives_its_script_german_texts(in_german, boss, one_of_each):
    text = boss.get(reverse("admin:dispatch_trigger_add")).content.decode()
    assert 'data-model="Wählen Sie zuerst ein Modell."' in text


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, ""),
        (1, "1 fehlgeschlagener Versuch, 1 Task fehlgeschlagen"),
        (2, "2 fehlgeschlagene Versuche, 2 Tasks fehlgeschlagen"),
        (1200, "1.200 fehlgeschlagene Versuche, 1.200 Tasks fehlgeschlagen"),
    ],
)
def test_what_a_process_did_is_said_in_the_right_number(in_german, number, said):
    outcomes = MinuteCount.Outcome
    assert health.in_words({outcomes.FAILED: number, outcomes.TASK_FAILED: number}) == said


def test_one_task_that_failed_is_one_in_english_too():
    assert health.in_words({MinuteCount.Outcome.TASK_FAILED: 1}) == "1 task failed"


@pytest.mark.parametrize(
    ("number", "asked"),
    [(1, "1 Nachricht erneut einreihen?"), (2, "2 Nachrichten erneut einreihen?")],
)
def test_what_is_asked_before_many_are_requeued_has_the_right_number(
    in_german, boss, registry, number, asked
):
    rows = [send_task("by.hand") for _each in range(number)]
    OutboxMessage.objects.update(status=OutboxMessage.Status.DEAD)
    response = boss.post(
        reverse("admin:dispatch_outboxmessage_changelist"),
        {"action": "requeue", "_selected_action": [str(row.pk) for row in rows]},
        follow=True,
    )
    assert asked in response.content.decode()


def test_the_reason_of_a_destination_is_german(in_german, registry):
    Queue.objects.filter(name="llm").update(paused=True)
    assert in_one_sentence.explain("worker.tasks.llm.summarize_note") == (
        "→ Queue llm auf Broker default (pausiert: Nachrichten warten in der Outbox), "
        "Regel: Route 'worker.tasks.llm.*' (glob)"
    )
    assert in_one_sentence.explain("by.hand").endswith("Regel: die Standard-Queue")


def test_what_came_of_a_rule_is_german(in_german):
    assert (
        rule_names.outcome("decides queue, routing_key; overruled on priority")
        == "entscheidet Queue, Routing-Key; überstimmt bei Priorität"
    )
    assert rule_names.rule("the default priority of queue 'llm'") == "die Standardpriorität der Queue 'llm'"
    assert rule_names.outcome("asks for nothing") == "verlangt nichts"


# ------------------------------------------------------------------ the rest stays English


def test_the_command_line_stays_english(in_german, registry, capsys):
    process = make_process()
    MinuteCount.objects.create(
        minute=process.seen_at, process=process.pk, queue="llm", outcome="published", number=1
    )
    send_task("by.hand")
    OutboxMessage.objects.update(status=OutboxMessage.Status.DEAD)
    call_command("dispatch", "status")
    text = capsys.readouterr().out
    assert "1 published" in text
    assert "Dead messages: 1." in text


def test_findings_stay_english(in_german, boss, registry):
    send_task("by.hand")
    OutboxMessage.objects.update(status=OutboxMessage.Status.DEAD)
    text = boss.get(reverse("admin:dispatch_contract")).content.decode()
    assert "Dead messages: 1." in text
    assert "See why in the admin" in text


def test_what_is_wrong_with_a_trigger_is_kept_in_english(in_german, one_of_each):
    Trigger.objects.update(model="notes.gone")
    [trigger] = load("default").triggers
    assert trigger.problem.startswith("There is no model notes.gone")
