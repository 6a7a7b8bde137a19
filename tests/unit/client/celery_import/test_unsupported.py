from __future__ import annotations

import pytest
from celery.beat import ScheduleEntry
from kombu import Queue

from dispatch.client import celery_import
from dispatch.conf import Broker
from dispatch.exceptions import ConfigurationError


def test_the_default_settings_leave_nothing_out(read):
    assert read().left_out == read().notes == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_serializer", "yaml"),
        ("task_compression", "gzip"),
        ("task_default_delivery_mode", 1),
        ("task_protocol", 1),
        ("broker_transport_options", {"priority_steps": [0, 9]}),
        ("task_inherit_parent_priority", True),
        ("worker_direct", True),
    ],
)
def test_settings_that_belong_elsewhere_are_told_with_the_place(name, value, read):
    [sentence] = read(**{name: value}).left_out
    assert sentence.startswith(f"setting {name}: ")


def test_the_value_of_a_setting_may_be_secret_and_is_not_shown(read):
    found = read(broker_transport_options={"sentinel_kwargs": {"password": "hunter2"}})
    assert "hunter2" not in str(found)


def test_settings_that_celery_cannot_read_are_one_error(read):
    with pytest.raises(
        ConfigurationError, match=r"Celery itself cannot read the settings of proj.celery:app: .*NoneType"
    ):
        read(task_queues=[None])


@pytest.mark.parametrize("queues", [["a"], "a", {"a": "b"}])
def test_queues_that_are_none_are_told_with_the_name_of_the_setting(queues, read):
    with pytest.raises(
        ConfigurationError, match=r"task_queues \(CELERY_QUEUES\) must be a list of kombu.Queue, .*'a'"
    ):
        read(task_queues=queues)


def test_an_error_of_several_lines_is_told_on_one(read):
    class Odd(dict):
        def items(self):
            raise ValueError("one\n  two amqp://me:hunter2@host")

    [sentence] = read(task_routes=[Odd()]).left_out
    assert "ValueError: one two amqp://me:***@host" in sentence


def test_a_queue_that_only_beat_names_is_told(read):
    schedule = {
        "known": {"task": "a", "schedule": 5, "options": {"queue": "celery"}},
        "none": {"task": "a", "schedule": 5},
        "nightly": {"task": "a", "schedule": 5, "options": {"queue": "reports"}},
        "object": ScheduleEntry("object", "a", schedule=5, options={"queue": Queue("late")}),
    }
    found = read(beat_schedule=schedule)
    assert [sentence.partition(" is named nowhere")[0] for sentence in found.left_out] == [
        "beat_schedule 'nightly': its queue 'reports'",
        "beat_schedule 'object': its queue 'late'",
    ]


def test_an_app_that_fails_at_import_is_one_error_without_its_passwords(tmp_path, monkeypatch):
    (tmp_path / "failing_app.py").write_text('raise ValueError("no amqp://me:hunter2@host here")')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        celery_import.read("failing_app:app", Broker("default", "amqp://x"))
    assert "amqp://me:***@host" in str(caught.value)
    assert "hunter2" not in str(caught.value)
