"""What `test_models_beside.py` runs beside packages that have models of their own kind: who fires, and how often."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from safedelete.config import DELETED_VISIBLE, HARD_DELETE
from simple_history.utils import bulk_create_with_history, bulk_update_with_history

from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from tests.support.beside.archive.models import Film, Folder, Page, Price, Series, Sheet, Song, Topic, Work
from tests.support.registry import make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)
ALL = ("created", "updated", "deleted")


@pytest.fixture(autouse=True)
def task(settings: Any, transactional_db: None) -> TaskDefinition:
    settings.DISPATCH = {**settings.DISPATCH, "REGISTRY_TTL": 0}
    make_registry()
    TaskDefinition.objects.update(parameters={})
    return TaskDefinition.objects.get()


def hook(task: TaskDefinition, models: str, *events: str, **columns: Any) -> None:
    for name in models.split():
        row = make_trigger(task, *(events or ALL), model=f"archive.{name}", name=name, **columns)
        row.arguments.filter(parameter="text").update(source="event", value="")


def sent() -> list[str]:
    """The trigger, the event and the key of each message since this was asked, by these in order."""
    rows = OutboxMessage.objects.all()
    assert {row.status for row in rows} <= {"pending"}
    found = [(row.origin_name, json.loads(row.kwargs)) for row in rows]
    rows.delete()
    return [
        f"{name} {event} {pk}"
        for name, event, pk in sorted((name, kwargs["text"], kwargs["note_id"]) for name, kwargs in found)
    ]


# -- django-polymorphic -------------------------------------------------------------------------------


def test_a_save_fires_once_for_the_child_and_once_for_each_parent(task: TaskDefinition) -> None:
    hook(task, "work film series song")
    work = Work.objects.create(title="A")
    assert sent() == [f"work created {work.pk}"]
    film = Film.objects.create(title="B")
    assert sent() == [f"film created {film.pk}", f"work created {film.pk}"]
    series = Series.objects.create(title="C")
    assert sent() == [f"{name} created {series.pk}" for name in ("film", "series", "work")]
    for each in Work.objects.instance_of(Film):  # loaded as what they are
        each.save()
    both = [f"{name} updated {each.pk}" for name in ("film", "work") for each in (film, series)]
    assert sent() == [*both[:2], f"series updated {series.pk}", *both[2:]]


def test_a_row_that_is_loaded_as_its_parent_fires_as_its_parent(task: TaskDefinition) -> None:
    hook(task, "work film")
    film = Film.objects.create(title="A")
    sent()
    Work.objects.non_polymorphic().get().save()
    assert sent() == [f"work updated {film.pk}"]


def test_what_was_loaded_in_part_as_its_child_has_changed_by_what_is_written(task: TaskDefinition) -> None:
    hook(task, "work", "updated", watched=["title"])
    film = Film.objects.create(title="A", minutes=61)
    seen = Work.objects.only("note").get()
    assert type(seen) is Film
    seen.note = "x"
    seen.save()
    Work.objects.defer("title").get().save()
    assert sent() == []
    seen.title = "B"
    seen.save()
    assert sent() == [f"work updated {film.pk}"]


def test_rows_of_several_children_are_updated_as_one_queryset(task: TaskDefinition) -> None:
    hook(task, "work film song", "updated", watched=["title"])
    works = [
        Film.objects.create(title="A", minutes=61),
        Song.objects.create(title="A"),
        Work.objects.create(),
    ]
    Work.objects.update(note="x")
    assert sent() == []
    fired = [f"work updated {each.pk}" for each in works]
    Work.objects.update(title="B")
    assert sent() == fired
    Work.objects.bulk_update(works, ["title"])
    assert sent() == fired
    Film.objects.update(title="C")
    assert sent() == [f"film updated {works[0].pk}", f"work updated {works[0].pk}"]
    models = {"archive.film", "archive.song"}
    Work.objects.not_instance_of(Film).update(title="D")
    Work.objects.instance_of(Film).distinct().update(title="D")
    assert models < set(OutboxMessage.objects.values_list("object_model", flat=True))
    assert sent() == fired


def test_a_parents_rows_are_created_in_bulk(task: TaskDefinition) -> None:
    hook(task, "work film")
    Work.objects.bulk_create([Work(title="A"), Work(title="B")])
    assert sent() == [f"work created {each.pk}" for each in Work.objects.order_by("pk")]


def test_a_delete_fires_once_for_the_child_and_once_for_each_parent(task: TaskDefinition) -> None:
    hook(
        task, "work film series", "deleted", when=("title", "equals", "A")
    )  # which is read of what was deferred
    film, series = Film.objects.create(title="A"), Series.objects.create(title="A")
    Work.objects.only("note").get(pk=film.pk).delete()
    assert sent() == [f"film deleted {film.pk}", f"work deleted {film.pk}"]
    Work.objects.all().delete()
    assert sent() == [f"{name} deleted {series.pk}" for name in ("film", "series", "work")]


def test_a_child_whose_parents_are_kept_is_deleted_and_they_are_updated(task: TaskDefinition) -> None:
    hook(task, "work film series")
    series = Series.objects.create(title="A")
    sent()
    series.delete(keep_parents=True)
    kept = Work.objects.get()
    assert type(kept) is Film
    assert set(sent()) == {f"series deleted {kept.pk}", f"film updated {kept.pk}", f"work updated {kept.pk}"}


def test_a_preview_of_a_parents_trigger_is_of_the_child(task: TaskDefinition) -> None:
    hook(task, "work")
    film = Film.objects.create(title="A")
    output = io.StringIO()
    command = ["dispatch", "triggers", "preview", "work", str(film.pk), "--format", "json"]
    call_command(*command, "--event", "updated", stdout=output)
    assert json.loads(output.getvalue())["body"]["kwargs"] == {"note_id": film.pk, "text": "updated"}


# -- django-simple-history ----------------------------------------------------------------------------


def histories(model: Any) -> list[int]:
    return sorted(model.history.values_list("history_id", flat=True))


def test_a_model_and_its_history_fire_once_each(task: TaskDefinition) -> None:
    hook(task, "page historicalpage")
    page = Page.objects.create(title="A")
    [created] = histories(Page)
    assert sent() == [f"historicalpage created {created}", f"page created {page.pk}"]
    page.save()
    assert sent() == [f"historicalpage created {histories(Page)[-1]}", f"page updated {page.pk}"]
    pk = page.pk
    page.delete()
    assert sent() == [f"historicalpage created {histories(Page)[-1]}", f"page deleted {pk}"]


def test_a_trigger_on_the_model_alone_hears_nothing_of_its_history(task: TaskDefinition) -> None:
    hook(task, "page", *ALL, "m2m_added")
    page, topic = Page.objects.create(title="A"), Topic.objects.create(name="T")
    page.topics.add(topic)
    assert len(histories(Page)) == 2
    assert sent() == [f"page created {page.pk}", f"page m2m_added {page.pk}"]


def test_an_older_state_that_is_saved_is_an_update_and_has_changed_from_what_is_stored(
    task: TaskDefinition,
) -> None:
    hook(task, "page", "updated", when=("title", "changed_from_to", "B\nA"))
    page = Page.objects.create(title="A")
    page.title = "B"
    page.save()
    first = page.history.earliest().history_date
    page.history.as_of(first).save()
    assert sent() == [f"page updated {page.pk}"]
    page.save()
    [older] = Page.history.as_of(first)
    older.save()
    assert sent() == [f"page updated {page.pk}"]


def test_bulk_operations_with_history_fire_for_the_rows_of_hooked_querysets(task: TaskDefinition) -> None:
    hook(task, "page historicalpage price historicalprice")
    pages = bulk_create_with_history([Page(title="A"), Page(title="B")], Page)
    assert sent() == [f"page created {each.pk}" for each in pages]  # its history has Django's own queryset
    bulk_update_with_history(pages, Page, ["title"])
    assert sent() == [f"page updated {each.pk}" for each in pages]
    prices = bulk_create_with_history([Price(amount=1), Price(amount=2)], Price)
    created = histories(Price)
    assert sent() == [
        *(f"historicalprice created {each}" for each in created),
        *(f"price created {each.pk}" for each in prices),
    ]
    bulk_update_with_history(prices, Price, ["amount"])
    assert sent() == [
        *(f"historicalprice created {each}" for each in histories(Price) if each not in created),
        *(f"price updated {each.pk}" for each in prices),
    ]


# -- django-safedelete --------------------------------------------------------------------------------


def test_a_soft_delete_and_its_undoing_are_updates_and_a_hard_delete_is_a_delete(
    task: TaskDefinition,
) -> None:
    hook(task, "folder")
    folder = Folder.objects.create(name="A")
    pk = folder.pk
    sent()
    folder.delete()
    assert sent() == [f"folder updated {pk}"]
    folder.undelete()
    assert sent() == [f"folder updated {pk}"]
    folder.delete(force_policy=HARD_DELETE)
    assert sent() == [f"folder deleted {pk}"]


def test_a_soft_delete_is_told_by_the_column_that_holds_its_time(task: TaskDefinition) -> None:
    hook(task, "folder", "updated", when=("deleted", "changed_from", "null"))
    hook(task, "sheet", "updated", when=("deleted", "changed_to", "null"))
    folder = Folder.objects.create(name="A")
    sheet = Sheet.objects.create(name="A", folder=folder)
    folder.name = sheet.name = "B"
    folder.save()
    sheet.save()
    assert sent() == []
    folder.delete()  # the sheet too
    assert sent() == [f"folder updated {folder.pk}"]
    folder.undelete()
    assert sent() == [f"sheet updated {sheet.pk}"]


def test_a_cascade_fires_once_for_each_object(task: TaskDefinition) -> None:
    hook(task, "folder sheet")
    folder = Folder.objects.create(name="A")
    sheets = [Sheet.objects.create(name=name, folder=folder) for name in "AB"]
    sent()
    fired = [f"folder updated {folder.pk}", *(f"sheet updated {each.pk}" for each in sheets)]
    folder.delete()
    assert sent() == fired
    folder.undelete()
    assert sent() == fired
    folder.delete(force_policy=HARD_DELETE)
    assert sent() == [each.replace("updated", "deleted") for each in fired]


def test_a_queryset_deletes_softly_and_hard_once_for_each_row(task: TaskDefinition) -> None:
    hook(task, "sheet")
    folder = Folder.objects.create(name="A")
    Sheet.objects.bulk_create([Sheet(name=name, folder=folder) for name in "AB"])
    pks = sorted(Sheet.objects.values_list("pk", flat=True))
    assert sent() == [f"sheet created {pk}" for pk in pks]
    Sheet.objects.all().delete()
    assert sent() == [f"sheet updated {pk}" for pk in pks]
    Sheet.deleted_objects.all().undelete()
    assert sent() == [f"sheet updated {pk}" for pk in pks]
    Sheet.objects.all().delete(force_policy=HARD_DELETE)
    assert sent() == [f"sheet deleted {pk}" for pk in pks]


def test_a_trigger_changes_nothing_about_which_rows_an_update_writes(task: TaskDefinition) -> None:
    folder = Folder.objects.create(name="A")
    gone, there = (Sheet.objects.create(name="A", folder=folder) for _each in range(2))
    gone.delete()
    without = [rows.update(name="A") for rows in (Sheet.objects, Sheet.all_objects)]
    hook(task, "sheet")
    assert [rows.update(name="B") for rows in (Sheet.objects, Sheet.all_objects)] == without == [1, 1]
    assert sent() == [f"sheet updated {there.pk}"] * 2
    assert Sheet.all_objects.get(pk=gone.pk).name == "A"
    assert Sheet.all_objects.all(force_visibility=DELETED_VISIBLE).update(name="C") == 2
    assert sent() == [f"sheet updated {each.pk}" for each in (gone, there)]


# -- their admins -------------------------------------------------------------------------------------


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.mark.parametrize(
    ("model", "theirs"),
    [(Film, '&rsaquo; <a href="/admin/archive/work/">Works</a>'), (Page, "history"), (Folder, "deletelink")],
    ids=["polymorphic", "simple-history", "safedelete"],
)
def test_an_objects_page_shows_its_messages_and_previews_beside_what_is_the_packages_own(
    task: TaskDefinition, boss: Client, model: Any, theirs: str
) -> None:
    name = model._meta.model_name
    hook(task, name)
    [column] = {"name", "title"} & {each.name for each in model._meta.fields}
    found = model.objects.create(**{column: "A"})
    page = reverse(f"admin:archive_{name}_change", args=[found.pk])
    shown = boss.get(page, follow=True).content.decode()
    assert theirs in shown
    assert reverse("admin:dispatch_outboxmessage_change", args=[OutboxMessage.objects.get().pk]) in shown
    preview = f"{reverse('admin:dispatch_trigger_preview', args=[Trigger.objects.get().pk])}?pk={found.pk}"
    assert preview in shown
    assert boss.get(preview).status_code == 200
    assert boss.get(reverse(f"admin:archive_{name}_history", args=[found.pk])).status_code == 200
    assert boss.get(reverse(f"admin:archive_{name}_changelist")).status_code == 200
    assert boss.get(reverse(f"admin:archive_{name}_add")).status_code == 200


def test_what_is_saved_and_deleted_by_their_admins_fires_once(task: TaskDefinition, boss: Client) -> None:
    hook(task, "folder work page")
    film, folder = Film.objects.create(title="A"), Folder.objects.create(name="A")
    page, topic = Page.objects.create(title="A"), Topic.objects.create(name="T")
    sent()
    boss.post(reverse("admin:archive_film_change", args=[film.pk]), {"title": "B", "note": "x", "minutes": 1})
    assert sent() == [f"work updated {film.pk}"]
    boss.post(reverse("admin:archive_page_change", args=[page.pk]), {"title": "B", "topics": [topic.pk]})
    assert sent() == [f"page updated {page.pk}"]
    boss.post(reverse("admin:archive_folder_delete", args=[folder.pk]), {"post": "yes"})
    assert Folder.deleted_objects.get().pk == folder.pk
    assert sent() == [f"folder updated {folder.pk}"]
