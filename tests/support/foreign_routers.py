"""Router callables of a Celery app that is brought over, one of each shape that Celery takes."""

from __future__ import annotations


def by_prefix(name, args, kwargs, options, task=None, **kw):
    return {"queue": "alpha", "priority": 3} if name.startswith("app.") else None


def of_undo(name, args, kwargs, options, task=None, **kw):
    return "beta" if name.endswith(".undo") else None


class Reports:
    """As before Celery 4."""

    def route_for_task(self, task, args=None, kwargs=None):
        return {"exchange": "media", "routing_key": "report.daily"} if "report" in task else None


def nothing_for_others(name, args, kwargs, options, task=None, **kw):
    return {} if name.startswith("other.") else None


ROUTERS = [f"{__name__}.{name}" for name in ("by_prefix", "of_undo", "Reports", "nothing_for_others")]


class Slotted:
    """A router with a state that no ``__dict__`` shows."""

    __slots__ = ("queue",)

    def __init__(self, queue=None):
        if queue:
            self.queue = queue

    def __call__(self, name, args, kwargs, options, task=None, **_):
        return {"queue": getattr(self, "queue", "alpha")}


class Counted(int):
    """A router whose state is what it is."""

    def __call__(self, name, args, kwargs, options, task=None, **_):
        return {"queue": str(int(self))}
