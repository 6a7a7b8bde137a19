"""The routes of a Celery app, in the order in which Celery tries them, each settled to what Celery would publish."""

from __future__ import annotations

import fnmatch
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery
from celery.app.routes import MapRoute
from celery.utils.functional import lazy, maybe_evaluate
from celery.utils.imports import symbol_by_name

from dispatch.client.celery_import.destinations import Places
from dispatch.client.celery_import.queues import Topology
from dispatch.core.message import represent

STEP = 10  # between positions, so that a route fits in between by hand
Found = tuple[str, str, Any]


class Routes:
    """``task_routes`` as rows."""

    def __init__(self, app: Celery, path: str, topology: Topology) -> None:
        self.app = app
        self.path = path
        self.topology = topology
        self.places = Places(topology)
        self.leftovers = topology.leftovers

    def rows(self) -> list[dict[str, Any]]:
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for kind, pattern, value in self._flat():
            whose = f"route {pattern!r} ({kind})"
            if (kind, pattern) in rows:
                self.leftovers.note(f"{whose} is written twice: the second is never reached.")
            elif (target := self._target(kind, value, whose)) is not None:
                head = {"pattern": pattern, "kind": kind, "position": STEP * (len(rows) + 1)}
                rows[kind, pattern] = {**head, **target}
        return list(rows.values()) + self._rest(len(rows), ("glob", "*") in rows)

    def _rest(self, count: int, is_caught: bool) -> list[dict[str, Any]]:
        """Celery sends what no route takes through the default queue's exchange, where that is not a direct one."""
        default = self.topology.default_queue
        if default is None or default.exchange.type == "direct" or is_caught:
            return []
        self.leftovers.note(
            f"route '*' (glob) is added as the last one: the default queue {default.name!r} is bound to a "
            f"{default.exchange.type} exchange, and Celery publishes to that."
        )
        target = self._target("glob", {"queue": default}, "route '*' (glob)") or {}
        return [{"pattern": "*", "kind": "glob", "position": STEP * (count + 1), **target}] if target else []

    def _flat(self) -> Iterator[Found]:
        """Yield kind, pattern and value of each rule in the order of ``celery.app.routes``."""
        routes = self.app.conf.task_routes
        if routes is None:
            return
        for router in routes if isinstance(routes, (list, tuple)) else (routes,):
            if isinstance(router, (Mapping, list, tuple)):
                yield from self._map(router)
            elif path := self._dotted(router):
                yield "callable", path, None

    def _map(self, rules: Any) -> Iterator[Found]:
        what = f"a router in task_routes that Celery itself cannot read: {represent(rules)[:80]}"
        with self.leftovers.unless_read(what):
            MapRoute(rules)
            yield from self._rules(rules)

    def _rules(self, rules: Any) -> Iterator[Found]:
        """Names first, then patterns: inside one dictionary a name beats a pattern that stands before it."""
        names: dict[str, Any] = {}
        patterns: dict[Any, Found] = {}
        for key, value in rules.items() if isinstance(rules, Mapping) else rules:
            if isinstance(key, re.Pattern) or "*" in key:
                compiled = key if isinstance(key, re.Pattern) else re.compile(fnmatch.translate(key))
                kind, pattern, _ = patterns.get(compiled) or self._pattern(key)
                patterns[compiled] = (kind, pattern, value)
            else:
                names[key] = value
        yield from (("exact", name, value) for name, value in names.items())
        yield from (found for found in patterns.values() if found[0])

    def _pattern(self, key: Any) -> Found:
        if isinstance(key, str):
            return "glob", key, None
        if not isinstance(key.pattern, str):
            self.leftovers.add(f"route {key.pattern!r}: an expression over bytes matches no name.")
            return "", "", None
        return "regex", _with_flags(key), None

    def _target(self, kind: str, value: Any, whose: str) -> dict[str, Any] | None:
        """Return the columns of a rule's value; None where there is nothing to bring."""
        if kind == "callable":
            return {}
        with self.leftovers.unless_read(
            f"{whose}: Celery itself cannot read its value {represent(value)[:80]}"
        ):
            given = {"queue": value} if isinstance(value, str) and value else dict(value)
            return self.places.target(given, whose)
        return None

    def _dotted(self, router: Any) -> str:
        """Return the dotted path of a router callable, "" where it has none."""
        if isinstance(router, str):
            return router.replace(":", ".")
        if isinstance(router, lazy):
            router = maybe_evaluate(router)
        if not callable(router) and not hasattr(router, "route_for_task"):
            self.leftovers.add(
                f"router {represent(router)[:80]} in task_routes cannot be called, and Celery fails at each send that "
                f"comes to it: take it out."
            )
            return ""
        for path in self._candidates(router):
            if _stands_for(path, router):
                return path
        self.leftovers.add(
            f"router {represent(router)[:80]} cannot be imported by a name: give it one at the top of a module, and "
            f'list it in DISPATCH["ROUTERS"].'
        )
        return ""

    def _candidates(self, router: Any) -> Iterator[str]:
        if hasattr(router, "__qualname__"):
            yield f"{router.__module__}.{router.__qualname__}"
            return
        for name in (type(router).__module__, self.path.partition(":")[0]):
            found = dict(vars(sys.modules[name])) if name in sys.modules else {}
            yield from (f"{name}.{key}" for key, value in found.items() if value is router)
        if _is_like_new(router):
            yield f"{type(router).__module__}.{type(router).__qualname__}"


def _stands_for(path: str, router: Any) -> bool:
    try:
        found = symbol_by_name(path, imp=importlib.import_module)
    except Exception:  # noqa: BLE001 - a name that leads nowhere
        return False
    return found is router or found is type(router)


def _is_like_new(router: Any) -> bool:
    """Tell whether a new instance is as good: Python would copy this one without arguments and without state."""
    try:
        _, arguments, *state = router.__reduce_ex__(2)
    except Exception:  # noqa: BLE001 - it cannot be copied
        return False
    return arguments == (type(router),) and not any(part is not None for part in state)


def _with_flags(compiled: re.Pattern[str]) -> str:
    """Return the pattern with the flags that it was compiled with written in front."""
    missing = compiled.flags & ~re.compile(compiled.pattern).flags
    letters = "".join(letter for letter in "aimsx" if missing & getattr(re, letter.upper()))
    return f"(?{letters}){compiled.pattern}" if letters else compiled.pattern
