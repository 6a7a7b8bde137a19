from __future__ import annotations

import pytest

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


def test_an_app_that_fails_at_import_is_one_error_without_its_passwords(tmp_path, monkeypatch):
    (tmp_path / "failing_app.py").write_text('raise ValueError("no amqp://me:hunter2@host here")')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        celery_import.read("failing_app:app", Broker("default", "amqp://x"))
    assert "amqp://me:***@host" in str(caught.value)
    assert "hunter2" not in str(caught.value)
