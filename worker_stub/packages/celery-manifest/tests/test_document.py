from __future__ import annotations

import json

import pytest
from celery import Celery
from kombu import Queue

from celery_manifest import ManifestError, build, checksum, encode


def test_the_checksum_covers_the_whole_document(app):
    @app.task(shared=False, name="t")
    def task() -> None:
        """Wörk."""

    document = json.loads(encode(build(app, "1.0")))
    assert list(document) == ["manifest", "worker", "version", "queues", "tasks", "checksum"]
    assert document["checksum"] == checksum(document)
    document["tasks"][0]["description"] += "!"
    assert document["checksum"] != checksum(document)


def test_tasks_of_celery_itself_are_left_out_whatever_they_are_called(app):
    @app.task(shared=False, name="celery.mine")
    def task() -> None: ...

    names = [task["name"] for task in build(app, "1.0")["tasks"] if task["name"].startswith("celery.")]
    assert names == ["celery.mine"]
    assert "celery.backend_cleanup" in app.tasks


def test_queues_are_those_of_the_app_sorted(app):
    app.conf.task_queues = {"b": {}, "a": {}}
    assert [queue["name"] for queue in build(app, "1.0")["queues"]] == ["a", "b"]


def test_a_queue_is_described_as_the_broker_is_told_of_it(app):
    app.conf.task_queue_max_priority = 5
    app.conf.task_queues = [
        Queue("a", durable=False, message_ttl=1.5, queue_arguments={"x-queue-type": "classic"}),
        Queue("b", max_priority=9),
    ]
    assert build(app, "1.0")["queues"] == [
        {
            "name": "a",
            "durable": False,
            "arguments": {"x-max-priority": 5, "x-message-ttl": 1500, "x-queue-type": "classic"},
        },
        {"name": "b", "durable": True, "arguments": {"x-max-priority": 9}},
    ]


def test_only_the_queues_that_a_worker_consumes_are_named(app):
    app.conf.task_queues = [Queue("a"), Queue("b")]
    app.amqp.queues.select(["b"])
    assert [queue["name"] for queue in build(app, "1.0")["queues"]] == ["b"]
    assert [queue["name"] for queue in build(app, "1.0", [Queue("c")])["queues"]] == ["c"]


def test_arguments_of_a_queue_that_are_no_json_are_refused(app):
    app.conf.task_queues = [Queue("a", queue_arguments={"x-odd": object()})]
    with pytest.raises(ManifestError, match="arguments of the queue 'a' are no JSON"):
        build(app, "1.0")


def test_an_app_without_name_is_refused():
    with pytest.raises(ManifestError, match="The app has no name"):
        build(Celery(broker="memory://", set_as_current=False), "1.0")


def test_a_task_module_that_cannot_be_imported_is_named_with_cause_and_place(app, monkeypatch, tmp_path):
    (tmp_path / "broken_tasks.py").write_text("\nimport no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    app.conf.include = ["broken_tasks"]
    with pytest.raises(
        ManifestError, match=r"No module named 'no_such_module' \(.*broken_tasks\.py, line 2\)"
    ):
        build(app, "1.0")


def test_a_task_goes_by_each_name_that_it_is_registered_by(app):
    @app.task(shared=False, name="prune")
    def prune(days: int) -> None: ...

    app.tasks["old.prune"] = app.tasks["prune"]
    tasks = {task["name"]: task["parameters"] for task in build(app, "1.0")["tasks"]}
    assert tasks["prune"] == tasks["old.prune"]
    assert len([name for name in tasks if name.endswith("prune")]) == 2


@pytest.mark.parametrize("name", ["with space", "with\nbreak", "x" * 256, "nul\0", "half\ud800", "", None, 5])
def test_a_task_whose_name_cannot_be_said_costs_itself(app, name):
    @app.task(shared=False, name="good")
    def good() -> None: ...

    app.tasks[name] = app.tasks["good"]
    document = json.loads(encode(build(app, "1.0")))
    assert "good" in [task["name"] for task in document["tasks"]]
    [left_out] = document["left_out"]
    assert left_out["reason"].endswith(
        "cannot be named: a name is a text of at most 255 characters, without spaces."
    )
    assert document["checksum"] == checksum(document)


@pytest.mark.parametrize("text", ["nul\0", "half\ud800"])
def test_a_text_that_no_reader_takes_costs_its_task(app, text):
    @app.task(shared=False, name="odd")
    def odd() -> None: ...

    odd.run.__doc__ = text
    document = build(app, "1.0")
    assert [task["name"] for task in document["left_out"]] == ["odd"]
    encode(document)


def test_what_a_module_raises_is_told_on_one_line_without_credentials(app, monkeypatch, tmp_path):
    app.conf.update(
        broker_url="amqp://me:broker%40pw@host//", result_backend="db+postgresql://me:back/end@host/x"
    )
    (tmp_path / "failing_tasks.py").write_text(
        'raise SystemExit("""no\n redis://:hunter2@h:6379, x://u:p@ss/w@h, '
        "password=hunter3 {'api_key': 'hunter4'}, broker@pw of back/end" + '""")'
    )
    monkeypatch.syspath_prepend(tmp_path)
    app.conf.include = ["failing_tasks"]
    with pytest.raises(ManifestError) as caught:
        build(app, "1.0")
    said = str(caught.value)
    assert (
        "SystemExit: no redis://:***@h:6379, x://u:***@h, password=*** {'api_key': ***}, *** of ***" in said
    )
    assert "\n" not in said
