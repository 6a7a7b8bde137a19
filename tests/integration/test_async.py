"""Saves from asynchronous code: they fire as others do, and blocks of suppression belong to their own task."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient
from django.urls import path

from dispatch.api import allow_triggers, suppress_triggers
from dispatch.models import OutboxMessage, TaskDefinition
from project.notes.models import Note, Tag
from tests.support.registry import make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def task(no_ttl: None) -> TaskDefinition:
    task = make_registry()
    make_trigger(task, "created", "updated", "deleted", name="notes")
    row = make_trigger(task, "created", model="notes.tag", name="tags")
    row.arguments.filter(parameter="text").update(value="name")
    return task


def bodies() -> list[str]:
    rows = OutboxMessage.objects.order_by("id").values_list("kwargs", flat=True)
    return [json.loads(text)["text"] for text in rows]


def test_asynchronous_saves_and_deletes_send() -> None:
    async def work() -> None:
        note = await Note.objects.acreate(title="A", body="created")
        note.body = "updated"
        await note.asave()
        await Note.objects.aupdate_or_create(pk=note.pk, defaults={"body": "again"})
        await (await Note.objects.aget()).adelete()
        await Tag.objects.aget_or_create(name="tag")
        await Tag.objects.aget_or_create(name="tag")

    async_to_sync(work)()
    assert bodies() == ["created", "updated", "again", "again", "tag"]


def test_what_is_rolled_back_in_a_thread_of_asynchronous_code_sends_nothing() -> None:
    @sync_to_async
    def undone() -> None:
        with transaction.atomic():
            Note.objects.create(title="A", body="undone")
            transaction.set_rollback(True)

    async def work() -> None:
        await undone()
        await Note.objects.acreate(title="A", body="kept")

    async_to_sync(work)()
    assert bodies() == ["kept"]


def test_a_suppression_in_asynchronous_code_reaches_the_threads_it_awaits_and_no_other_task() -> None:
    async def quiet() -> None:
        with suppress_triggers("notes"):
            await asyncio.sleep(0)
            await Note.objects.acreate(title="A", body="quiet")
            await Tag.objects.acreate(name="another trigger")
            with allow_triggers():
                await Note.objects.acreate(title="A", body="allowed")

    @suppress_triggers()
    async def decorated() -> None:
        await Note.objects.acreate(title="A", body="quiet")

    async def loud() -> None:
        await asyncio.sleep(0)
        await Note.objects.acreate(title="A", body="loud")

    async def work() -> None:
        await asyncio.gather(quiet(), loud(), decorated(), loud())
        await Note.objects.acreate(title="A", body="after")

    async_to_sync(work)()
    assert sorted(bodies()) == ["after", "allowed", "another trigger", "loud", "loud"]


async def save_and_answer(request: HttpRequest, status: int) -> HttpResponse:
    await Note.objects.acreate(title="A", body=str(status))
    if status == 500:
        raise RuntimeError("the view fails after the save")
    return HttpResponse(status=status)


urlpatterns = [path("save/<int:status>/", save_and_answer)]


@pytest.mark.urls(__name__)
def test_an_asynchronous_view_under_asgi_sends_what_it_saved() -> None:
    async def work() -> list[int]:
        client = AsyncClient(raise_request_exception=False)
        answers = await asyncio.gather(*(client.get(f"/save/{status}/") for status in (200, 201, 500)))
        return [answer.status_code for answer in answers]

    assert async_to_sync(work)() == [200, 201, 500]
    assert sorted(bodies()) == ["200", "201", "500"]


def test_many_asynchronous_saves_at_once_each_send_once() -> None:
    async def work() -> None:
        await asyncio.gather(*(Note.objects.acreate(title="A", body=f"{n:02}") for n in range(20)))

    async_to_sync(work)()
    assert sorted(bodies()) == [f"{n:02}" for n in range(20)]


def test_an_asynchronous_receiver_of_post_save_is_called_beside_ours() -> None:
    from django.db.models.signals import post_save

    seen: list[Any] = []

    async def receive(*, instance: Note, **_: Any) -> None:
        seen.append(instance.body)

    post_save.connect(receive, sender=Note, dispatch_uid="test")
    try:
        Note.objects.create(title="A", body="one")
    finally:
        post_save.disconnect(sender=Note, dispatch_uid="test")
    assert (seen, bodies()) == (["one"], ["one"])
