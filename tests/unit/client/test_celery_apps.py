from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from celery import current_app
from django.test import override_settings
from kombu.transport import TRANSPORT_ALIASES

from dispatch.client import celery_apps
from dispatch.client.broker_connection import connect
from dispatch.client.result_backend import finished
from dispatch.conf import Broker
from dispatch.exceptions import BrokerUnavailable
from tests.support.dead_servers import HangsUp

BROKER = Broker("default", "redis://host:6379/3")
PROLOGUE = """
    import django
    from django.conf import settings
    settings.configure(DISPATCH={"BROKERS": {"default": {"URL": "memory://"}}})
    from celery import Celery, _state, current_app, shared_task
    from dispatch.client import celery_apps
    from dispatch.client.publisher import Publisher
    from dispatch.conf import Broker
    from dispatch.core.message import Message, Shared
    from dispatch.core.routing import Queue, RoutingTable, Target

    def use_dispatch():
        table = RoutingTable([Queue("q", "default")], [], [], "q")
        message = Message(Shared(task="t"), task_id="1", args="[]", kwargs="{}", args_repr="", kwargs_repr="")
        Publisher(Broker("default", "memory://")).publish(message, table.destination(Target("q")), table)
        assert celery_apps.reader("default").backend is not None
        return [celery_apps.sender("default", "memory://"), celery_apps.reader("default")]
"""


@pytest.fixture
def dead():
    """Three servers that answer nothing, and count who asked."""
    servers = [HangsUp() for _ in range(3)]
    yield servers
    for server in servers:
        server.close()


def in_a_fresh_process(code):
    script = textwrap.dedent(PROLOGUE) + textwrap.dedent(code)
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_the_projects_own_celery_and_its_shared_tasks_work_as_before():
    in_a_fresh_process("""
        project = Celery("project", broker="memory://", backend="cache+memory://")

        @shared_task(name="early")
        def early():
            return 1

        guests = use_dispatch()

        @shared_task(name="late")
        def late():
            return 2

        assert current_app._get_current_object() is project
        assert early.app is late.app is project
        assert {"early", "late"} <= set(project.tasks)
        assert project.conf.broker_url == "memory://"
        early.delay()
        assert late.apply().get() == 2
    """)


def test_a_project_whose_celery_comes_later_still_gets_its_shared_tasks():
    in_a_fresh_process("""
        @shared_task(name="early")
        def early():
            return 1

        guests = use_dispatch()
        project = Celery("project", broker="memory://")
        assert current_app._get_current_object() is project
        assert early.app is project
    """)


def test_no_guest_becomes_current_where_the_project_has_no_celery_at_all():
    in_a_fresh_process("""
        @shared_task(name="early")
        def early():
            return 1

        guests = use_dispatch()
        assert current_app._get_current_object() not in guests
        assert early.app not in guests
        assert _state.default_app not in guests
    """)


def test_an_ordinary_app_would_have_become_current():
    """What the tests above would see, were the guests ordinary apps."""
    in_a_fresh_process("""
        project = Celery("project")
        other = Celery("other")
        assert current_app._get_current_object() is other
    """)


def test_a_forked_process_makes_its_own_apps():
    in_a_fresh_process("""
        import os
        use_dispatch()
        assert celery_apps.sender.cache_info().currsize and celery_apps.reader.cache_info().currsize
        child = os.fork()
        if not child:
            empty = celery_apps.sender.cache_info().currsize == celery_apps.reader.cache_info().currsize == 0
            os._exit(0 if empty else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert celery_apps.sender.cache_info().currsize
    """)


def test_one_broker_has_one_sender():
    assert celery_apps.sender("default", "memory://") is celery_apps.sender("default", "memory://")
    assert celery_apps.sender("default", "memory://") is not celery_apps.sender("default", "redis://host")
    assert current_app._get_current_object() is not celery_apps.sender("default", "memory://")


def test_a_sender_has_no_result_backend():
    assert type(celery_apps.sender("default", "memory://").backend).__name__ == "DisabledBackend"


@pytest.mark.parametrize(
    ("url", "steps"),
    [
        ("redis://host", ("socket_timeout", "socket_connect_timeout")),
        ("amqp://host", ("read_timeout", "write_timeout")),
    ],
)
def test_every_step_of_a_connection_is_bounded_and_nothing_inside_kombu_retries(url, steps):
    with override_settings(DISPATCH={"BROKER_TIMEOUT": 1.5}):
        connection = celery_apps.connection(Broker("default", url))
    assert connection.connect_timeout == 1.5
    assert {connection.transport_options[step] for step in steps} == {1.5}
    assert connection.transport_options["max_retries"] == 0


def test_a_driver_is_given_no_options_that_only_others_know():
    assert celery_apps.connection(Broker("default", "sqla+sqlite://")).transport_options == {}


def test_a_transport_that_a_package_registered_is_used(monkeypatch):
    monkeypatch.setitem(TRANSPORT_ALIASES, "carrierpigeon", "kombu.transport.memory:Transport")
    assert celery_apps.connection(Broker("default", "carrierpigeon://loft")).transport_cls == "carrierpigeon"


def test_settings_that_dispatch_decides_do_not_reach_celery():
    broker = Broker(
        "default", "memory://", conf={"broker_transport": "amqp", "broker_url": "amqp://elsewhere"}
    )
    connection = celery_apps.connection(broker)
    assert connection.transport_cls == "memory"
    assert not celery_apps.sender("default", "memory://").conf.broker_transport


def test_transport_options_of_the_settings_win_and_leave_the_others_alone():
    options = {"broker_transport_options": {"socket_timeout": 9, "global_keyprefix": "x"}}
    connection = celery_apps.connection(Broker("default", "redis://host", conf=options))
    assert connection.transport_options["socket_timeout"] == 9
    assert connection.transport_options["global_keyprefix"] == "x"
    assert connection.transport_options["socket_connect_timeout"] == 2.0
    assert options == {"broker_transport_options": {"socket_timeout": 9, "global_keyprefix": "x"}}


def test_the_hosts_of_a_url_share_the_timeout_so_that_each_is_tried():
    url = ";".join(f"sentinel://host{number}:26379" for number in range(4))
    options = {"broker_transport_options": {"master_name": "m", "sentinel_kwargs": {"password": "p"}}}
    connection = celery_apps.connection(Broker("default", url, conf=options))
    assert connection.transport_options["socket_timeout"] == 2.0, "of the Redis that they name"
    kwargs = connection.transport_options["sentinel_kwargs"]
    assert (kwargs["socket_timeout"], kwargs["socket_connect_timeout"], kwargs["password"]) == (0.5, 0.5, "p")
    assert celery_apps.connection(Broker("default", "amqp://a;amqp://b")).connect_timeout == 1.0


def hosts(scheme, servers):
    return ";".join(f"{scheme}://127.0.0.1:{server.port}" for server in servers)


@pytest.mark.parametrize("scheme", ["sentinel", "amqp", "redis"])
def test_an_attempt_asks_each_host_once(scheme, dead):
    broker = Broker("default", hosts(scheme, dead), conf={"broker_transport_options": {"master_name": "m"}})
    with pytest.raises(BrokerUnavailable, match="cannot be reached") as caught:
        connect(broker)
    assert [server.connections for server in dead] == [1, 1, 1]
    assert "ConnectionPool" not in str(caught.value)


def test_a_result_backend_asks_each_sentinel_once(dead, settings):
    options = {"result_backend_transport_options": {"master_name": "m"}}
    entry = {"URL": "memory://", "RESULT_BACKEND": hosts("sentinel", dead), "CONF": options}
    settings.DISPATCH = {"BROKERS": {"default": entry}}
    with pytest.raises(BrokerUnavailable, match="cannot be read: No master found for 'm'"):
        finished("default", ["a"])
    assert [server.connections for server in dead] == [1, 1, 1]


def test_any_celery_setting_may_be_given_for_a_broker():
    settings = {"broker_use_ssl": {"ca_certs": "/ca.pem"}, "broker_login_method": "PLAIN"}
    connection = celery_apps.connection(Broker("default", "amqp://host", conf=settings))
    assert connection.ssl == {"ca_certs": "/ca.pem"}
    assert connection.login_method == "PLAIN"


def test_a_variable_of_the_environment_does_not_overrule_the_brokers_url(monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere:1/0")
    connection = celery_apps.connection(BROKER)
    assert (connection.hostname, connection.port, connection.virtual_host) == ("host", 6379, "3")


def test_a_variable_of_the_environment_does_not_overrule_the_result_backend(monkeypatch):
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://elsewhere:1/0")
    brokers = {"default": {"URL": "memory://", "RESULT_BACKEND": "cache+memory://"}}
    with override_settings(DISPATCH={"BROKERS": brokers}):
        assert type(celery_apps.reader("default").backend).__name__ == "CacheBackend"
    assert type(celery_apps.sender("default", "memory://").backend).__name__ == "DisabledBackend"


@pytest.mark.parametrize(
    "setting", ["redis_socket_timeout", "redis_backend_health_check_interval", "broker_url"]
)
def test_settings_of_a_broker_may_name_what_the_reader_sets_itself(setting):
    brokers = {"default": {"URL": "memory://", "CONF": {setting: 7}}}
    with override_settings(DISPATCH={"BROKERS": brokers}):
        celery_apps.reader("default")
