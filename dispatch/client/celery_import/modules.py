"""Imports what the worker of an app imports at its start: only then are all its tasks there, with their own options."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from celery import Celery
from celery.signals import import_modules

from dispatch.client.celery_import.unsupported import Leftovers, told

REMEDY = (
    "the queues that its tasks set themselves are not known. Install what it needs, or let the worker's manifest bring "
    "them: `manage.py dispatch manifest sync FILE --own-queues`."
)


def load(app: Celery, leftovers: Leftovers) -> None:
    """Import what ``app.loader.import_default_modules()`` does, each alone; what fails is told, and stops no other."""
    discovery = _Discovery(app.loader.autodiscover_tasks, leftovers)
    app.loader.autodiscover_tasks = discovery  # type: ignore[method-assign]  # of this one loader, for a moment
    try:
        answers = import_modules.send(sender=app)
    finally:
        del app.loader.autodiscover_tasks
    for _, answer in answers:
        if isinstance(answer, Exception):
            leftovers.add(
                f"autodiscover_tasks, or a receiver of import_modules, fails here ({told(answer)}): {REMEDY}"
            )
    for name in app.loader.default_modules:
        _alone(name, app.loader.import_task_module, leftovers)


class _Discovery:
    """Stands in for the loader's ``autodiscover_tasks``, which stops at the first module that fails.

    Celery also passes over a package that cannot be imported for want of another one.
    """

    def __init__(self, discover: Callable[..., Any], leftovers: Leftovers) -> None:
        self._discover = discover
        self._leftovers = leftovers

    def __call__(self, packages: Iterable[str] | None, related_name: str | None = "tasks") -> None:
        for package in packages or ():
            name = f"{package}.{related_name}" if related_name else package
            _alone(name, partial(self._one, package, related_name), self._leftovers)

    def _one(self, package: str, related_name: str | None, name: str) -> None:
        self._discover([package], related_name)
        if name in sys.modules:
            return
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name and not _is_class(package):
                raise


def _is_class(path: str) -> bool:
    """Tell whether this is no package but a class in a module, as INSTALLED_APPS may name one."""
    module, _, name = path.rpartition(".")
    return hasattr(sys.modules.get(module), name)


def _alone(name: str, import_: Callable[[str], Any], leftovers: Leftovers) -> None:
    try:
        import_(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - any module of a worker runs here
        leftovers.add(f"module {name} cannot be imported here ({told(error)}): {REMEDY}")
