from __future__ import annotations

import pytest

from worker import config
from worker.config import ConfigError


def test_without_environment_a_local_redis_and_the_packaged_queues_are_used():
    found = config.settings({})
    assert found["broker_url"] == config.DEFAULT_BROKER
    assert found["result_backend"] == config.DEFAULT_RESULTS
    assert len(found["task_queues"]) == 4


def test_an_empty_variable_counts_as_unset():
    assert config.settings({"BROKER_URL": "", "ROUTING_FILE": "", "BROKER_ALIAS": ""}) == config.settings({})


def test_the_environment_says_where_and_which_queues(write_routing):
    environ = {
        "BROKER_URL": "amqp://broker//",
        "RESULT_BACKEND_URL": "redis://results/3",
        "ROUTING_FILE": str(write_routing(queues=[{"name": "default"}, {"name": "far", "broker": "remote"}])),
        "BROKER_ALIAS": "remote",
    }
    found = config.settings(environ)
    assert (found["broker_url"], found["result_backend"]) == ("amqp://broker//", "redis://results/3")
    assert [queue.name for queue in found["task_queues"]] == ["far"]


def test_only_json_is_read_and_no_work_is_lost():
    found = config.settings({})
    assert found["accept_content"] == found["result_accept_content"] == ["json"]
    assert found["task_acks_late"]
    assert found["task_reject_on_worker_lost"]
    assert found["worker_prefetch_multiplier"] == 1


@pytest.mark.parametrize(
    ("value", "accepted"),
    [("", ["json"]), ("json", ["json"]), ("json, yaml,msgpack", ["json", "yaml", "msgpack"])],
)
def test_the_environment_may_widen_what_messages_are_written_in(value, accepted):
    found = config.settings({"ACCEPT_CONTENT": value})
    assert (found["accept_content"], found["result_accept_content"]) == (accepted, ["json"])


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("json,pickle", "pickle, which runs code that a message brings: leave it out"),
        ("pickle", "pickle, which runs code"),
        ("yaml", "lacks json: add it"),
        ("json,morse", "holds 'morse': use some of json, yaml, msgpack"),
        ("json,", "holds ''"),
    ],
)
def test_what_must_not_be_read_or_cannot_is_refused_with_a_remedy(value, complaint):
    with pytest.raises(ConfigError, match=complaint):
        config.settings({"ACCEPT_CONTENT": value})


def test_a_serializer_that_is_not_installed_is_named_with_the_extra_that_brings_it(monkeypatch):
    from kombu.serialization import registry

    monkeypatch.delitem(registry._encoders, "msgpack")
    with pytest.raises(ConfigError, match=r"not installed: install dispatch-worker-stub\[msgpack\]"):
        config.accept_content({"ACCEPT_CONTENT": "json,msgpack"})


def test_options_of_the_transport_are_added_to_the_bounded_ones_and_win():
    given = {"BROKER_TRANSPORT_OPTIONS": '{"sep": ":", "priority_steps": [0, 9], "visibility_timeout": 60}'}
    options = config.transport_options("redis://127.0.0.1/0", given)
    assert (options["sep"], options["priority_steps"], options["visibility_timeout"]) == (":", [0, 9], 60)
    assert options["socket_timeout"] == config.SOCKET_TIMEOUT


@pytest.mark.parametrize("text", ["sep=:", "[1]", '"sep"'])
def test_options_of_the_transport_that_are_no_json_object_are_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=r"BROKER_TRANSPORT_OPTIONS is no.* write the sender's options"):
        config.transport_options("redis://127.0.0.1/0", {"BROKER_TRANSPORT_OPTIONS": text})


def test_redis_gives_a_message_to_another_worker_only_after_every_time_limit():
    options = config.transport_options("redis://127.0.0.1/0", {})
    assert options["visibility_timeout"] > config.TIME_LIMIT > config.SOFT_TIME_LIMIT


@pytest.mark.parametrize("url", ["amqp://127.0.0.1//", "memory://", "pyamqp://127.0.0.1//"])
def test_options_of_redis_reach_no_other_transport(url):
    assert config.transport_options(url, {}) == {}


def test_a_folder_becomes_a_broker(tmp_path):
    folder = tmp_path / "a" / "b"
    options = config.transport_options("filesystem://", {"BROKER_FOLDER": str(folder)})
    assert options["data_folder_in"] == options["data_folder_out"] == str(folder)
    assert options["control_folder"] == str(folder / "control")
    assert folder.is_dir()


def test_a_folder_broker_without_folder_is_refused_with_a_remedy():
    with pytest.raises(ConfigError, match="BROKER_FOLDER is not set: set it"):
        config.settings({"BROKER_URL": "filesystem://"})
