"""What all tests share: a clean registry cache, a Redis of their own, RabbitMQ where there is one."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Callable, Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from project.stack import embedded_broker
from tests.support import servers

# What a property test tries: `make test` a few examples, the same at each run, `make matrix` some of them, `make
# test-slow` many, and others each time. The machines are noisy: how long an example takes says nothing.
UNTIMED = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.register_profile("few", UNTIMED, max_examples=25, derandomize=True)
settings.register_profile("trial", UNTIMED, max_examples=10, derandomize=True)
settings.register_profile("many", UNTIMED, max_examples=200)
settings.load_profile("few")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what is marked ``one_database`` to the run on SQLite."""
    from django.conf import settings as project

    if project.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("one_database")])
    items[:] = [item for item in items if not item.get_closest_marker("one_database")]


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported: some tests collect, and Python does so by itself."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates, which some tests log: a process of xdist cannot report them."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def quick_flush() -> Iterator[None]:
    """Empty the databases after a test that committed by as few statements as that takes."""
    from django.test import TransactionTestCase

    from tests.support.databases import delete_rows

    def delete_all_rows(case: TransactionTestCase) -> None:
        for alias in case._databases_names(include_mirrors=False):
            delete_rows(alias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", delete_all_rows)
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """Hash the passwords of users as quickly as can be: Django takes a third of a second for each."""
    from django.test import override_settings

    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_commands() -> Iterator[None]:
    """Assemble ``manage.py dispatch`` once: its parsers cost each run a fiftieth of a second."""
    from django.db import connections

    from dispatch.management.commands.dispatch import Command

    create_parser, parsers = Command.create_parser, {}

    def create_once(command: Command, *names: str, **options: Any) -> Any:
        key = (*names, *options.items(), command._called_from_command_line, *connections)
        parsers[key] = parsers.get(key) or create_parser(command, *names, **options)
        return parsers[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Command, "create_parser", create_once)
        yield


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what an earlier test's database held, and look at the registry as outside of tests."""
    from dispatch.client import celery_apps
    from dispatch.registry import cache

    monkeypatch.setattr(import_module("dispatch.registry.cache"), "is_testing", lambda: False)
    cache.clear()
    celery_apps.forget()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis started for this test run, without a database number."""
    directory: Path = tmp_path_factory.mktemp("redis")
    with embedded_broker(directory) as broker:
        if not broker.url.startswith("redis://"):
            servers.missing("no redis-server was found")
        yield broker.url.rpartition("/")[0]


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of an empty Redis database."""
    import redis

    client = redis.Redis.from_url(f"{redis_server}/2")
    client.flushdb()
    client.close()
    return f"{redis_server}/2"


@pytest.fixture
def rabbitmq_url() -> str:
    return servers.RABBITMQ.require()


@pytest.fixture
def broker_settings(settings: Any) -> Callable[..., None]:
    """Return a function that points the default broker somewhere, with further keys of DISPATCH."""
    from tests.support.result_backends import READS_SQL

    def point(url: str, result_backend: str = "", **keys: Any) -> None:
        entry = {"URL": url, "RESULT_BACKEND": result_backend, "CONF": READS_SQL}
        brokers = {"default": entry} | keys.pop("brokers", {})
        settings.DISPATCH = {"BROKERS": brokers, "REGISTRY_TTL": 0, "BACKOFF_BASE": 0.01, **keys}

    return point


@pytest.fixture
def deferred(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Iterator[None]:
    """SQLite as Django opens it by default: a transaction takes its lock at the first write."""
    from django.db import connection

    if connection.vendor != "sqlite":
        pytest.skip("only SQLite has deferred transactions")
    connection.close()
    monkeypatch.delitem(connection.settings_dict["OPTIONS"], "transaction_mode")
    yield
    connection.close()


@pytest.fixture
def unique() -> str:
    """A name that nobody else uses on a shared server."""
    return f"dispatch-test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def declared() -> Iterator[dict[Any, Any]]:
    """The triggers in code: none at first, and gone after the test."""
    from dispatch.triggers import code_triggers

    before = dict(code_triggers.declared)
    code_triggers.declared.clear()
    yield code_triggers.declared
    code_triggers.declared.clear()
    code_triggers.declared.update(before)


@pytest.fixture
def temporary_models() -> Iterator[None]:
    """Forget the models that the test defines in the app of notes: checks and pages list all that are installed."""
    from django.apps import apps

    models = apps.all_models["notes"]
    before = dict(models)
    yield
    for name in models.keys() - before.keys():
        del models[name]
    apps.clear_cache()
