"""What only a worker imports is imported too: tasks that set their own queue stand there."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.signals import import_modules

pytestmark = pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")

TASK = """
from shop_celery import app

@app.task(name="{name}", queue="{queue}", shared=False)
def run():
    pass
"""
REMEDY = "the queues that its tasks set themselves are not known."


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes modules of a project, which are forgotten after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def files(**modules):
        for name, text in modules.items():
            *folders, last = name.split("__")
            folder = tmp_path
            for each in folders:
                folder = folder / each
                folder.mkdir(exist_ok=True)
                (folder / "__init__.py").touch()
            (folder / f"{last}.py").write_text(text)

    yield files
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setattr(import_modules, "receivers", list(import_modules.receivers))
    app = Celery("foreign", set_as_current=False, fixups=[])
    monkeypatch.setitem(sys.modules, "shop_celery", SimpleNamespace(app=app))
    return app


def queues(found):
    return {row["name"]: row["queue"] for row in found.document["tasks"] if row["name"].startswith("shop.")}


def test_tasks_of_autodiscovered_and_included_modules_are_brought(read, write, app):
    write(
        shop__web__tasks=TASK.format(name="shop.web.show", queue="web"),
        shop__mail__jobs=TASK.format(name="shop.mail.post", queue="mail"),
        shop__own=TASK.format(name="shop.own", queue="own"),
    )
    app.autodiscover_tasks(["shop.web"])
    app.autodiscover_tasks(lambda: ["shop.mail"], related_name="jobs")
    found = read(app=app, include=["shop.own"])
    assert queues(found) == {"shop.web.show": "web", "shop.mail.post": "mail", "shop.own": "own"}
    assert {"web", "mail", "own"} <= {row["name"] for row in found.document["queues"]}
    assert found.left_out == ()


def test_a_module_that_cannot_be_imported_is_told_and_stops_no_other(read, write, app):
    write(
        shop__a__tasks="import no_such_library",
        shop__b__tasks=TASK.format(name="shop.b", queue="b"),
        shop__c__tasks='raise SystemExit("no settings amqp://me:hunter2@host")',
        shop__d=TASK.format(name="shop.d", queue="d"),
    )
    app.autodiscover_tasks(["shop.a", "shop.b", "shop.c"])
    found = read(app=app, include=["shop.missing", "shop.d"])
    assert {name: queues(found)[name] for name in ("shop.b", "shop.d")} == {"shop.b": "b", "shop.d": "d"}
    told = [sentence.partition(f": {REMEDY}")[0] for sentence in found.left_out]
    assert told == [
        "module shop.a.tasks cannot be imported here (ModuleNotFoundError: No module named 'no_such_library')",
        "module shop.c.tasks cannot be imported here (SystemExit: no settings amqp://me:***@host)",
        "module shop.missing cannot be imported here (ModuleNotFoundError: No module named 'shop.missing')",
    ]
    assert all("manifest sync FILE --own-queues" in sentence for sentence in found.left_out)


def test_a_package_that_celery_passes_over_is_told(read, write, app, tmp_path):
    write(shop__web__tasks=TASK.format(name="shop.web", queue="web"))
    (tmp_path / "shop" / "web" / "__init__.py").write_text("import no_such_library")
    app.autodiscover_tasks(["shop.web", "shop.elsewhere"])
    assert [sentence.partition(" cannot be")[0] for sentence in read(app=app).left_out] == [
        "module shop.web.tasks",
        "module shop.elsewhere.tasks",
    ]


def test_a_package_without_tasks_and_a_class_of_installed_apps_are_nothing_to_tell(read, write, app):
    write(shop__plain__models="", shop__apps="class Shop: ...")
    app.autodiscover_tasks(["shop.plain", "shop.apps.Shop"])
    assert read(app=app).left_out == ()


def test_a_receiver_that_fails_is_told_and_stops_no_module(read, write, app):
    write(shop__own=TASK.format(name="shop.own", queue="own"))
    app.autodiscover_tasks(lambda: 1 / 0)
    found = read(app=app, include=["shop.own"])
    assert queues(found)["shop.own"] == "own"
    assert (
        "a receiver of import_modules, fails here (ZeroDivisionError: division by zero)" in found.left_out[0]
    )


def test_the_loader_is_left_as_it_was(read, app):
    read(app=app)
    assert "autodiscover_tasks" not in vars(app.loader)
