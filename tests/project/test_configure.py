from __future__ import annotations

import pytest

from dispatch.models import Queue, Route, TaskDefinition, Trigger
from project.notes.registry import TRIGGERS, configure

pytestmark = pytest.mark.django_db


@pytest.fixture
def tasks():
    for task, _conditions, _arguments in TRIGGERS.values():
        TaskDefinition.objects.create(name=task)


def test_configuring_writes_queues_routes_and_triggers(tasks):
    configure()
    assert set(Queue.objects.values_list("name", flat=True)) == {"default", "llm", "stt", "link"}
    assert Route.objects.count() == 3
    assert set(Trigger.objects.values_list("name", flat=True)) == set(TRIGGERS)


def test_configuring_again_leaves_what_the_operator_changed(tasks):
    configure()
    Trigger.objects.filter(name="Preview link notes").update(enabled=False)
    configure()
    assert not Trigger.objects.get(name="Preview link notes").enabled
    assert Trigger.objects.count() == len(TRIGGERS)
