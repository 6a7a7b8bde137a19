from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery.worker.control import Panel
from kombu import Queue

from celery_manifest import ManifestError, install
from celery_manifest.live import answer, version_of


def state(app, queues):
    """What Celery hands to a remote-control command."""
    consumer = None if queues is None else SimpleNamespace(queues=queues)
    return SimpleNamespace(app=app, consumer=SimpleNamespace(task_consumer=consumer))


def test_the_command_is_registered_for_inspection():
    assert Panel.data["manifest"] is answer
    assert Panel.meta["manifest"].type == "inspect"


def test_the_answer_holds_the_version_and_the_queues_of_this_moment(app):
    install(app, version="2.0")
    document = answer(state(app, [Queue("b"), Queue("a")]))
    assert document["version"] == "2.0"
    assert [queue["name"] for queue in document["queues"]] == ["a", "b"]


def test_a_worker_that_lost_its_broker_consumes_nothing(app):
    install(app, version="2.0")
    assert answer(state(app, None))["queues"] == []


def test_what_cannot_be_described_is_answered_as_an_error(app):
    assert "states no version" in answer(state(app, []))["error"]


@pytest.mark.parametrize("version", ["", None, 1])
def test_a_version_is_a_text(app, version):
    with pytest.raises(ManifestError, match="must be a text"):
        install(app, version=version)


def test_the_last_word_on_the_version_counts(app):
    install(app, version="1")
    install(app, version="2")
    assert version_of(app) == "2"
