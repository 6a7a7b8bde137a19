from __future__ import annotations

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from dispatch import conf as module
from dispatch.checks import check_settings
from dispatch.conf import Broker, Conf, Setting, conf
from dispatch.core import codecs
from dispatch.exceptions import ConfigurationError

SECRET = "s3cr3t"
URL = f"redis://user:{SECRET}@host:6379/0"
BROKERS = {"default": {"URL": "redis://host:6379/0"}}
NAMES = sorted(name for name, value in vars(Conf).items() if isinstance(value, Setting))
SECONDS_ABOVE_ZERO = ("BROKER_TIMEOUT", "RELAY_POLL_INTERVAL", "RESULTS_POLL_INTERVAL")
COUNTS = ("RELAY_BATCH_SIZE", "MAX_ATTEMPTS")


def complaints(**settings):
    with override_settings(DISPATCH={"BROKERS": BROKERS, **settings}):
        return list(module.problems())


def everything_said(value):
    """Every text that may reach a log or a page: complaints, checks, errors of live reads."""
    with override_settings(DISPATCH=value):
        said = [f"{message.msg} {message.hint}" for message in check_settings()]
        for read in (lambda: list(module.problems()), lambda: conf.brokers, lambda: repr(conf.brokers)):
            try:
                said.append(str(read()))
            except ConfigurationError as error:
                said.append(str(error))
    return " ".join(said)


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_itself_acceptable(name):
    setting = getattr(Conf, name)
    assert setting.accepts(setting.default)
    with override_settings(DISPATCH={}):
        assert getattr(conf, name) == setting.default


@override_settings()
def test_a_project_without_the_setting_has_the_defaults():
    from django.conf import settings

    del settings.DISPATCH
    assert conf.REGISTRY_TTL == 1.0
    assert list(module.problems()) == []


def test_each_read_sees_the_settings_of_that_moment():
    with override_settings(DISPATCH={"REGISTRY_TTL": 5}):
        assert conf.REGISTRY_TTL == 5
        with override_settings(DISPATCH={"REGISTRY_TTL": 7}):
            assert conf.REGISTRY_TTL == 7
        assert conf.REGISTRY_TTL == 5


@pytest.mark.parametrize("name", SECONDS_ABOVE_ZERO)
@pytest.mark.parametrize("value", [0, -1, "2", None, True, float("nan"), float("inf")], ids=repr)
def test_seconds_above_zero_must_be_that(name, value):
    [complaint] = complaints(**{name: value})
    assert complaint == f'DISPATCH["{name}"] is {value!r}, but must be a number of seconds above 0.'


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, 1.5, "2", None, True], ids=repr)
def test_counts_must_be_whole_numbers_from_one_up(name, value):
    [complaint] = complaints(**{name: value})
    assert "must be a whole number, 1 or more" in complaint


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("REGISTRY_TTL", -1, "0 or more"),
        ("REGISTRY_TTL", "1", "0 or more"),
        ("BACKOFF_BASE", -1, "0 or more"),
        ("BACKOFF_MAX", float("inf"), "0 or more"),
        ("RELAY_LEASE", 0.5, "1 or more"),
        ("RESULTS_HORIZON", 0, "1 or more"),
        ("TRIGGER_ERRORS", "ignore", '"dead" or "raise"'),
        ("TRIGGER_ERRORS", ["dead"], '"dead" or "raise"'),
        ("SENSITIVE_FIELDS", "notes.note.body", "a list of fields"),
        ("SENSITIVE_FIELDS", [1], "a list of fields"),
        ("SERIALIZERS", ["json", "pickle"], "pickle is refused: it runs code"),
        ("SERIALIZERS", "json", "a list of json, yaml and msgpack"),
        ("SERIALIZERS", [["json"]], "a list of json, yaml and msgpack"),
        ("BROKERS", "redis://host", "a dictionary of alias to broker"),
        ("BROKERS", None, "a dictionary of alias to broker"),
    ],
)
def test_a_bad_value_is_told_with_what_would_be_right_and_refused_when_read(name, value, expected):
    [complaint] = complaints(**{name: value})
    assert complaint.startswith(f'DISPATCH["{name}"] is ')
    assert expected in complaint
    with override_settings(DISPATCH={name: value}), pytest.raises(ConfigurationError, match="but must be"):
        getattr(conf, name)


def with_conf(**entries):
    return {"default": {"URL": "redis://host:6379/0", "CONF": entries}}


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        (
            {"task_serializer": "yaml"},
            """["task_serializer"] is 'yaml', but must be one of json, or add it to DISPATCH""",
        ),
        ({"task_serializer": "pickle"}, "is 'pickle', but must be one of json"),
        ({"task_serializer": ["json"]}, "is ['json'], but must be one of json"),
        ({"task_compression": "zzip"}, "is 'zzip', but must be one of brotli, bzip2, gzip"),
        ({"task_compression": ["gzip"]}, "is ['gzip'], but must be one of brotli"),
    ],
)
def test_a_broker_is_refused_a_serializer_or_compression_that_no_call_could_have(entries, complaint):
    [found] = complaints(BROKERS=with_conf(**entries))
    assert found.startswith('DISPATCH["BROKERS"][\'default\']["CONF"]')
    assert complaint in found


def test_a_broker_has_the_serializer_and_compression_of_its_celery_settings():
    entries = with_conf(task_serializer="yaml", task_compression="gzip") | {"bulk": {"URL": "redis://host"}}
    with override_settings(DISPATCH={"BROKERS": entries, "SERIALIZERS": ["json", "yaml"]}):
        assert list(module.problems()) == []
        assert [(b.serializer, b.compression) for b in conf.brokers.values()] == [
            ("yaml", "gzip"),
            ("json", None),
        ]
        assert [conf.serializer(alias) for alias in ("default", "bulk", "gone")] == ["yaml", "json", "json"]


def test_what_is_allowed_and_not_installed_is_told_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setattr(codecs, "is_installed", lambda module: module not in ("msgpack", "lzma"))
    found = complaints(SERIALIZERS=["json", "msgpack"], BROKERS=with_conf(task_compression="lzma"))
    assert len(found) == 2
    assert "lzma is not installed here" in found[0]
    assert found[1].startswith('DISPATCH["SERIALIZERS"]: msgpack is not installed here: pip install')


def test_every_key_is_refused_a_value_of_no_sensible_type():
    for name in NAMES:
        assert len(complaints(**{name: object()})) == 1


def test_an_unknown_key_is_told_with_the_key_that_was_meant():
    assert complaints(REGISTRY_TLL=5) == [
        "DISPATCH has no key 'REGISTRY_TLL' (did you mean 'REGISTRY_TTL'?): remove or correct it."
    ]


def test_several_mistakes_are_told_at_once():
    assert len(complaints(REGISTRY_TLL=5, MAX_ATTEMPTS=0, BROKERS={"default": {}})) == 3


@pytest.mark.parametrize("value", [None, [], "redis://host", 5], ids=repr)
def test_a_setting_that_is_no_dictionary_is_refused(value):
    with override_settings(DISPATCH=value), pytest.raises(ConfigurationError, match="must be a dictionary"):
        conf.REGISTRY_TTL  # noqa: B018 - reading it is the test


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("redis://host", "is a str, but must be a dictionary with a URL"),
        ({}, "is missing or no URL"),
        ({"URL": "host:6379"}, "is missing or no URL"),
        ({"URL": None}, "is missing or no URL"),
        ({"url": "redis://host"}, "has an unknown key 'url': the keys are URL, RESULT_BACKEND, CONF"),
        ({"URL": "redis://host", "RESULT_BACKEND": 5}, "RESULT_BACKEND must be a text"),
        ({"URL": "redis://host", "CONF": ["x"]}, "CONF a dictionary of Celery settings"),
    ],
)
def test_a_bad_broker_is_told_by_its_alias(entry, complaint):
    [message] = complaints(BROKERS={"default": entry})
    assert message.startswith("DISPATCH[\"BROKERS\"]['default']")
    assert complaint in message


def test_one_broker_must_be_the_default_one():
    assert complaints(BROKERS={"bulk": {"URL": "redis://host"}}) == [
        "DISPATCH[\"BROKERS\"] has no 'default' broker: name one so."
    ]


def test_brokers_are_read_with_what_they_leave_out():
    entries = {
        "default": {"URL": "redis://a"},
        "bulk": {"URL": "amqp://b", "RESULT_BACKEND": "rpc://", "CONF": {"x": 1}},
    }
    with override_settings(DISPATCH={"BROKERS": entries}):
        assert conf.brokers == {
            "default": Broker("default", "redis://a"),
            "bulk": Broker("bulk", "amqp://b", "rpc://", {"x": 1}),
        }


@override_settings(DISPATCH={}, CELERY_BROKER_URL="amqp://host", CELERY_RESULT_BACKEND="redis://host/1")
def test_without_brokers_the_projects_celery_settings_make_the_default_one():
    assert conf.brokers == {"default": Broker("default", "amqp://host", "redis://host/1")}


@override_settings(DISPATCH={"BROKERS": BROKERS}, CELERY_BROKER_URL="amqp://elsewhere")
def test_brokers_of_ones_own_win_over_the_projects_celery_settings():
    assert conf.brokers["default"].url == "redis://host:6379/0"


@override_settings(DISPATCH={})
def test_no_broker_at_all_is_told_with_both_ways_to_name_one():
    with pytest.raises(ConfigurationError, match=r'DISPATCH\["BROKERS"\].*or CELERY_BROKER_URL'):
        conf.brokers  # noqa: B018 - reading it is the test


@pytest.mark.parametrize("url", ["host", ["redis://a", "redis://b"]], ids=repr)
def test_a_celery_broker_url_that_is_no_url_is_refused(url):
    with (
        override_settings(DISPATCH={}, CELERY_BROKER_URL=url),
        pytest.raises(ConfigurationError, match="no URL"),
    ):
        conf.brokers  # noqa: B018 - reading it is the test


@pytest.mark.parametrize(
    "value",
    [
        URL,
        [URL],
        {URL: 1},
        {"BROKERS": URL},
        {"BROKERS": [{"URL": URL, "CONF": {"broker_transport_options": {"password": SECRET}}}]},
        {"BROKERS": {"default": URL}},
        {"BROKERS": {URL: {}}},
        {"BROKERS": {"default": {URL: 1}}},
        {"BROKERS": {"default": {"URL": URL, "x": 1}}},
        {"BROKERS": {"default": {"URL": SECRET}}},
        {"BROKERS": {"default": {"URL": URL, "RESULT_BACKEND": [URL]}}},
        {"BROKERS": {"default": {"URL": URL, "RESULT_BACKEND": URL, "CONF": {"password": SECRET}}}},
        {"BROKERS": {"default": {"URL": URL, "CONF": SECRET}}},
        {"BROKER_URL": URL},
        {"BROKER_TIMEOUT": URL},
        {"SERIALIZERS": [URL]},
    ],
    ids=lambda value: str(value).replace(SECRET, "***")[:50],
)
def test_credentials_never_appear_in_what_is_said_of_the_settings(value):
    said = everything_said(value)
    assert said
    assert SECRET not in said


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=10))
def test_a_brokers_repr_names_it_without_its_url(odd):
    broker = Broker("default", f"redis://u:{odd}{SECRET}@host", f"redis://:{SECRET}@host", {"x": SECRET})
    assert SECRET not in repr(broker)
    assert "default" in repr(broker)


def test_a_list_that_is_changed_in_place_is_looked_at_again():
    allowed = ["json"]
    with override_settings(DISPATCH={"SERIALIZERS": allowed}):
        assert conf.SERIALIZERS == ["json"]
        allowed.append("pickle")
        with pytest.raises(ConfigurationError, match="pickle is refused"):
            assert conf.SERIALIZERS
