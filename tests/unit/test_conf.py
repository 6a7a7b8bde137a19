from __future__ import annotations

import datetime as dt

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from dispatch import conf as module
from dispatch.checks.installation import check_settings
from dispatch.conf import Broker, Conf, Setting, conf
from dispatch.core import codecs
from dispatch.core.redaction import redact
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


def test_what_retention_leaves_out_is_kept_as_by_default():
    week, day = dt.timedelta(days=7), dt.timedelta(days=1)
    with override_settings(
        DISPATCH={"RETENTION": {"published": day, "superseded": 86_400, "cancelled": None}}
    ):
        assert conf.retention == {"published": day, "superseded": day, "cancelled": None, "dead": None}
    with override_settings(DISPATCH={}):
        assert conf.retention == {"published": week, "superseded": week, "cancelled": week, "dead": None}
    with override_settings(DISPATCH={"RETENTION": None}):
        assert set(conf.retention.values()) == {None}


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
@pytest.mark.parametrize(
    "value", [0, -1, "2", None, True, float("nan"), float("inf"), 1e300, 10**30], ids=repr
)
def test_seconds_above_zero_must_be_that(name, value):
    [complaint] = complaints(**{name: value})
    assert (
        complaint == f'DISPATCH["{name}"] is {value!r}, but must be a number of seconds from 0.001 to 3,600.'
    )


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, 1.5, "2", None, True, 10**30, 1e300], ids=repr)
def test_counts_must_be_whole_numbers_from_one_up_that_a_database_takes(name, value):
    [complaint] = complaints(**{name: value})
    assert "must be a whole number from 1 to 1" in complaint


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("REGISTRY_TTL", -1, "from 0 to 31,536,000"),
        ("REGISTRY_TTL", "1", "from 0 to 31,536,000"),
        ("BACKOFF_BASE", -1, "from 0.001 to"),
        ("BACKOFF_BASE", 0, "from 0.001 to"),
        ("BACKOFF_MAX", float("inf"), "from 0 to 31,536,000"),
        ("RELAY_LEASE", 0.5, "from 1 to 31,536,000"),
        ("RELAY_LEASE", 1e300, "from 1 to 31,536,000"),
        ("RELAY_LEASE", float("nan"), "from 1 to 31,536,000"),
        ("RETENTION", 604_800, "None, or a dictionary of published, superseded, cancelled, dead to seconds"),
        ("RETENTION", {"pending": 1}, "a dictionary of published, superseded, cancelled, dead"),
        ("RETENTION", {"published": -1}, "from 0 to 315,360,000, a timedelta, or None"),
        ("RETENTION", {"dead": "7 days"}, "from 0 to 315,360,000, a timedelta, or None"),
        ("RETENTION", {"dead": dt.timedelta.max}, "from 0 to 315,360,000, a timedelta, or None"),
        ("PRUNE_RESULTS", 1, "True or False"),
        ("RESULTS_HORIZON", 0, "from 1 to 315,360,000"),
        ("RESULTS_HORIZON", 1e300, "from 1 to 315,360,000"),
        pytest.param("RELAY_BATCH_SIZE", 10**5_000, "from 1 to 10,000", id="a number of 5,000 digits"),
        ("MAX_ARGUMENTS_SIZE", 0, "of bytes from 1 to 1,000,000,000"),
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


@pytest.mark.parametrize("alias", [None, 5, ("a",), "", " a", "a\n", "a\0b", "\ud800", "a" * 65], ids=ascii)
def test_an_alias_is_a_text_that_can_be_seen_and_stored(alias):
    [complaint] = complaints(BROKERS={**BROKERS, alias: {"URL": "redis://host"}})
    assert "an alias must be a text of 1 to 64 characters" in complaint


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("broker_transport_options", [SECRET], "is a list, but must be a dictionary with texts as keys, or None"),
        ("broker_transport_options", {1: 2}, "is a dict, but must be a dictionary with texts as keys"),
        ("broker_transport_options", {"priority_steps": "09"}, '["priority_steps"] is a str, but must be a list'),
        ("broker_transport_options", {"priority_steps": [9, 0]}, "a list of rising whole numbers"),
        ("broker_transport_options", {"priority_steps": []}, "a list of rising whole numbers"),
        ("broker_transport_options", {"socket_timeout": 1e300}, "is 1e+300, but must be a number of seconds"),
        ("broker_transport_options", {"sep": 5}, "is 5, but must be a text"),
        ("result_backend_transport_options", {"sentinel_kwargs": SECRET}, "is a str, but must be a dictionary"),
        ("broker_use_ssl", SECRET, "is a str, but must be True, False or a dictionary of TLS options"),
        ("broker_heartbeat", float("nan"), "is nan, but must be a number of seconds"),
        ("timezone", "Atlantis/City", "is a str, but must be a timezone"),
        ("timezone", "Europe", "is a str, but must be a timezone"),
        ("enable_utc", "no", "is a str, but must be True or False"),
    ],
)  # fmt: skip
def test_a_celery_setting_of_the_wrong_kind_is_told_without_its_text(name, value, expected):
    [complaint] = complaints(BROKERS=with_conf(**{name: value}))
    assert complaint.startswith(f"""DISPATCH["BROKERS"]['default']["CONF"]["{name}"]""")
    assert expected in complaint
    assert SECRET not in complaint


def test_celery_settings_that_dispatch_does_not_read_reach_celery_as_they_are():
    assert complaints(BROKERS=with_conf(s3_bucket=5, timezone="Europe/Berlin", broker_use_ssl=None)) == []


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


@override_settings(DISPATCH={}, CELERY_BROKER_URL="amqp://host", CELERY_RESULT_BACKEND=5)
def test_a_celery_result_backend_that_is_no_text_is_refused():
    with pytest.raises(ConfigurationError, match="CELERY_RESULT_BACKEND is a int, but must be a text"):
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


@pytest.mark.parametrize(
    "keys",
    [
        {"DISPATCH": {"BROKERS": {"default": {"URL": "amqp://me:s3cret@host//"}}}},
        {
            "DISPATCH": {
                "BROKERS": {"default": {"CONF": {"broker_transport_options": {"password": "s3cret"}}}}
            }
        },
        {"DISPATCH": {"BROKERS": "amqp:///me:s3cret@host"}},
        {"DISPATCH": ["amqp:///me:s3cret@host"]},
        {"DISPATCH": {}, "CELERY_BROKER_URL": "redis://:s3cret@host"},
        {"DISPATCH": {}, "CELERY_RESULT_BACKEND": "db+mysql://me:s3cret@host/x"},
    ],
    ids=str,
)
def test_errors_hold_no_credential_that_is_configured(keys, settings):
    assert redact("what is s3cret?") == "what is s3cret?"
    for name, value in keys.items():
        setattr(settings, name, value)
    assert redact("what is s3cret?") == "what is ***?"


def test_errors_hold_no_password_of_a_database(settings, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "s3cret")
    assert redact("FATAL: no such password: s3cret") == "FATAL: no such password: ***"
