"""The rights that `dispatch acl` prints, word by word where a real server would not show a difference."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import call_command

from dispatch import queues
from dispatch.models import Binding, Exchange, Queue, Route
from dispatch.queues.broker_accounts import NAMES_NO_QUEUE, REACHES_ALL
from tests.support.registry import make_queue, make_registry

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


def rights(role):
    [found] = queues.accounts()
    [account] = [each for each in found.accounts if each.role == role]
    return account.commands


def printed(*arguments):
    output = io.StringIO()
    call_command("dispatch", "acl", *arguments, stdout=output)
    return output.getvalue()


def test_a_relay_may_write_to_the_lists_of_the_registrys_queues_and_publish_nowhere(broker_settings):
    broker_settings("redis://:hunter2@localhost:6379/3")
    make_registry()
    steps = ("", "\x06\x163", "\x06\x166", "\x06\x169")
    expected = [f"~{name}{step}" for name in ("default", "llm") for step in steps]
    [(_acl, _setuser, name, *words)] = rights("relay")
    assert name == "dispatch-relay"
    assert words == ["on", "resetkeys", "resetchannels", "-@all", "+ping", "+select", "+lpush", *expected]


def test_transport_options_change_the_names_and_what_is_a_pattern_to_redis_is_meant_literally(
    broker_settings,
):
    options = {"global_keyprefix": "app:", "sep": ":", "priority_steps": [0, 5], "fanout_prefix": "/all."}
    entry = {"URL": "redis://localhost", "CONF": {"broker_transport_options": options}}
    broker_settings("", brokers={"default": entry})
    make_queue("a*[b]")
    Exchange.objects.create(name="news", type="fanout")
    Exchange.objects.create(name="own", type="fanout", broadcast=False)
    [(*_, a, b, c, d)] = rights("relay")
    assert [a, b, c, d] == [r"~app:a\*\[b\]", r"~app:a\*\[b\]:5", "&app:/all.news", "&app:/all.news/*"]


def test_the_admin_may_publish_where_web_processes_publish_at_the_commit(broker_settings):
    broker_settings("redis://localhost")
    make_registry()
    assert "+lpush" not in rights("admin")[0]
    broker_settings("redis://localhost", DELIVERY="on_commit")
    assert "+lpush" in rights("admin")[0]


def test_the_default_exchange_is_given_where_the_registry_names_a_queue_and_the_note_says_what_it_opens(
    broker_settings,
):
    broker_settings("amqp://guest:hunter2@localhost/vh%2Fx")
    exchange = Exchange.objects.create(name="media.in", type="topic")
    llm = make_queue("llm")
    Binding.objects.create(exchange=exchange, queue=llm, routing_key="media.*")
    Binding.objects.create(exchange=exchange, queue=make_queue("all"), routing_key="#.wav")
    route = Route.objects.create(pattern="*", exchange=exchange, routing_key="media.a")
    words = ("rabbitmqctl", "set_permissions", "-p", "vh/x", "dispatch-relay", "^$")
    topic = ("rabbitmqctl", "set_topic_permissions", "-p", "vh/x", "dispatch-relay", "media.in")
    assert rights("relay") == (
        (*words, r"^(media\.in)$", "^$"),
        (*topic, r"^((.*\.)?wav|media\.[^.]*)$", "^$"),
    )
    assert NAMES_NO_QUEUE in queues.accounts()[0].notes
    route.exchange, route.routing_key, route.queue = None, "", llm
    route.save()
    assert rights("relay")[0] == (*words, r"^(amq\.default|media\.in)$", "^$")
    assert REACHES_ALL in queues.accounts()[0].notes


def test_lines_can_be_pasted_and_hold_no_password(broker_settings):
    broker_settings(
        "amqp://guest:hunter2@localhost//",
        "redis://:hunter2@localhost/1",
        brokers={"a b": {"URL": "redis://x"}},
    )
    make_queue("llm", is_default=True)
    make_queue('o "d\u202e', broker="a b")
    text = printed()
    assert "hunter2" not in text
    lines = text.splitlines()
    assert r"rabbitmqctl set_permissions -p / dispatch-relay '^$' '^(amq\.default)$' '^$'" in lines
    start, results = "ACL SETUSER dispatch-collector on resetkeys resetchannels -@all", "celery-task-meta-*"
    assert f"{start} +ping +select +mget +psubscribe ~{results} &{results}" in lines
    assert any("dispatch-relay-a-b on" in line and r'"~o?\"d\xe2\x80\xae\x06\x163"' in line for line in lines)
    found = json.loads(printed("--format", "json"))
    assert [(each["broker"], [account["role"] for account in each["accounts"]]) for each in found] == [
        ("a b", ["relay", "admin"]),
        ("default", ["relay", "admin", "collector"]),
    ]


def test_other_brokers_have_no_accounts_and_that_is_said(broker_settings):
    broker_settings("memory://")
    make_registry()
    assert "memory://" in printed()
    assert Queue.objects.count() == 2
