"""The plugin as pytest finds it, in projects of all kinds."""

from __future__ import annotations

import subprocess
import sys


def test_the_plugin_is_found_without_any_configuration(sample):
    run = sample.pytest("--fixtures")
    assert "What the test sends, with assertions on it" in run.output


def test_queries_are_the_same_with_and_without_fixture_and_plugin_whatever_the_ttl(sample):
    sample.write(
        "test_counts.py",
        """
        import pytest
        from django.db import connection
        from django.test.utils import CaptureQueriesContext
        from notes.models import Draft, Note

        pytestmark = pytest.mark.django_db

        def count(model, **fields):
            with CaptureQueriesContext(connection) as queries:
                model.objects.create(**fields)
            return len(queries)

        @pytest.mark.parametrize("number", range(3))
        def test_unhooked(number):
            assert [count(Draft), count(Draft)] == [1, 1]

        @pytest.mark.parametrize("number", range(3))
        def test_hooked(dispatched, number):
            dispatched.any_task()
            assert [count(Note, body="x"), count(Note, body="x"), count(Note)] == [2, 2, 1]

        def test_a_page(client, django_assert_num_queries):
            with django_assert_num_queries(0):
                client.get("/")
        """,
    )
    sample.write("urls.py", "urlpatterns = []")
    sample.append("config.py", 'ROOT_URLCONF = "urls"\nALLOWED_HOSTS = ["*"]\n')
    run = sample.pytest()
    assert run.outcomes == {"passed": 7}, run.output
    without = sample.pytest("-p", "no:dispatch", "-k", "unhooked or page")
    assert without.outcomes == {"passed": 4}, without.output


def test_transactions_threads_and_the_live_server_count(sample):
    sample.write(
        "test_kinds.py",
        """
        import threading, urllib.request
        import pytest
        from django.db import connection
        from notes.models import Note

        def save():
            Note.objects.create(body="x")
            connection.close()

        @pytest.mark.parametrize("number", range(2))
        def test_a_thread(dispatched, transactional_db, number):
            dispatched.any_task()
            thread = threading.Thread(target=save)
            thread.start()
            thread.join()
            dispatched.assert_sent("worker.tasks.summarize")

        def test_a_live_server(dispatched, live_server):
            dispatched.any_task()
            assert urllib.request.urlopen(live_server.url + "/").read() == b"saved"
            dispatched.assert_sent("worker.tasks.summarize")

        def test_the_order_of_fixtures_is_free(db, dispatched):
            dispatched.any_task()
            Note.objects.create(body="x")
            dispatched.assert_count(1)
        """,
    )
    sample.write(
        "urls.py",
        """
        from django.http import HttpResponse
        from django.urls import path
        from notes.models import Note

        def save(request):
            Note.objects.create(body="x")
            return HttpResponse("saved")

        urlpatterns = [path("", save)]
        """,
    )
    sample.append(
        "config.py",
        'ROOT_URLCONF = "urls"\nALLOWED_HOSTS = ["*"]\nSTATIC_URL = "/static/"\n'
        'DATABASES["default"]["TEST"] = {"NAME": "test.sqlite3"}\n',
    )
    run = sample.pytest()
    assert run.outcomes == {"passed": 4}, run.output


def test_unittest_classes_of_all_kinds_work_under_both_runners(sample):
    sample.write(
        "test_classes.py",
        """
        from asgiref.sync import sync_to_async
        from django.test import SimpleTestCase, TestCase, TransactionTestCase
        from dispatch.models import TaskDefinition
        from dispatch.testing import DispatchTestMixin
        from notes.models import Draft, Note

        class WithoutTheMixin(TestCase):
            def test_pytest_freezes_the_registry(self):
                with self.assertNumQueries(1):
                    Draft.objects.create()

        class InTransactions(DispatchTestMixin, TransactionTestCase):
            dispatch_any_task = True

            def test_first(self):
                Note.objects.create(body="x")
                self.dispatched.assert_count(1)

            def test_second(self):
                self.dispatched.assert_nothing_sent()

        class WithRows(DispatchTestMixin, TestCase):
            @classmethod
            def setUpTestData(cls):
                TaskDefinition.objects.create(name="worker.tasks.summarize")

            def test_rows_of_the_class_are_seen(self):
                with self.assertNumQueries(2):
                    Note.objects.create(body="x")
                self.dispatched.assert_count(1)

        class WithoutRows(DispatchTestMixin, TestCase):
            def test_and_gone_with_it(self):
                Note.objects.create(body="x")
                assert len(self.dispatched.failures) == 1

        class InAsync(DispatchTestMixin, TestCase):
            dispatch_manifest = "worker.json"

            async def test_a_coroutine(self):
                note = await Note.objects.acreate(body="x")
                await sync_to_async(self.dispatched.assert_sent)("worker.tasks.summarize", instance=note)

        class Simple(DispatchTestMixin, SimpleTestCase):
            def test_a_test_without_a_database_may_use_it(self):
                self.dispatched.assert_nothing_sent()
        """,
    )
    run = sample.pytest()
    assert run.outcomes == {"passed": 7}, run.output
    classes = ("InTransactions", "InAsync", "WithRows", "WithoutRows", "Simple")
    run = sample.unittest(*(f"test_classes.{name}" for name in classes))
    assert run.status == 0, run.output
    assert "Ran 6 tests" in run.output


def test_a_test_that_may_not_ask_the_registrys_database_has_an_empty_registry(sample):
    sample.write(
        "routers.py",
        """
        class Router:
            def db_for_read(self, model, **hints):
                return "archive" if model._meta.app_label == "dispatch" else None
            db_for_write = db_for_read
        """,
    )
    sample.append("config.py", 'DATABASE_ROUTERS = ["routers.Router"]\n')
    sample.write(
        "test_one.py",
        """
        from django.test import TestCase
        from notes.models import Draft

        class OnDefaultOnly(TestCase):
            def test_saves(self):
                Draft.objects.create()
        """,
    )
    run = sample.pytest()
    assert run.outcomes == {"passed": 1}, run.output


def test_a_project_without_django_is_left_alone(sample):
    sample.write("pytest.ini", "[pytest]\n")
    sample.write(
        "test_plain.py",
        """
        import sys

        def test_nothing_is_loaded():
            assert "dispatch.testing.pytest_plugin" in sys.modules
            assert not {"django", "celery", "dispatch.models", "dispatch.testing.dispatched"} & set(sys.modules)

        def test_the_fixture_says_what_it_needs(dispatched):
            pass
        """,
    )
    run = sample.run("-m", "pytest", "-p", "no:django", "-p", "no:_hypothesis_pytestplugin")
    assert run.outcomes == {"passed": 1, "error": 1}, run.output
    assert "needs Django with 'dispatch' in INSTALLED_APPS" in run.output


def test_nothing_but_the_plugin_needs_pytest():
    code = "import sys; sys.modules['pytest'] = None; import dispatch, dispatch.testing"
    subprocess.run([sys.executable, "-c", code], check=True)
