"""Generated Celery configurations, and where Celery's own code sends a message under them.

Nothing of dispatch is used here: this is what it is compared with.
"""

from __future__ import annotations

import copy
import re
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import kombu
from celery import Celery
from hypothesis import strategies as st
from kombu.common import Broadcast

from tests.support.foreign_routers import ROUTERS

NAMES = (
    "app.tasks.add",
    "app.tasks.add2",
    "app.tasks.undo",
    "app.media.encode",
    "app.media.report",
    "other.report",
    "APP.tasks.add",
    "app.tasks",
)
QUEUES = ("alpha", "beta", "gamma")
EXCHANGES = ("media", "news", "celery")
KEYS = ("media.video", "media.#", "media.*", "#", "report.daily", "celery", "alpha")
PATTERNS = (
    *(*NAMES, "app.tasks.add?", "app.tasks.ad"),
    *("app.tasks.*", "app.*", "*", "*.report", "app.[tm]*", "app.tasks.add*"),
    *(re.compile(r"app\.(tasks|media)\."), re.compile(r"app\.tasks\.add$"), re.compile("APP", re.IGNORECASE)),
    *(re.compile(r"\w+\.report"), re.compile(r"app \. tasks", re.VERBOSE), re.compile("(?i)OTHER")),
)


@dataclass(frozen=True)
class Seen:
    """What the broker is told of a message; ``reached`` are the queues that get it by the bindings declared."""

    exchange: str
    type: str
    routing_key: str
    reached: frozenset[str]
    priority: int | None


@dataclass
class Recorder:
    """Stands where Celery has a producer, and where that has a connection."""

    published: dict[str, Any] = field(default_factory=dict)

    @property
    def connection(self):
        return self

    @contextmanager
    def _reraise_as_library_errors(self):
        yield

    def publish(self, body, **options):
        self.published = options


@dataclass
class Case:
    """One message under one configuration; ``own`` is what its task says, ``rule`` what Celery's router found."""

    app: Celery
    name: str
    call: dict[str, Any]
    is_registered: bool
    own: dict[str, Any] = field(default_factory=dict)
    rule: dict[str, Any] | None = None
    kind: str = "default"
    seen: Seen | None = None
    error: str = ""

    @property
    def is_on_redis(self) -> bool:
        return self.app.conf.broker_url.startswith("redis")

    @property
    def decided_by(self) -> str:
        """The first level that names a queue or an exchange: the call, the task, a kind of route, the default."""
        levels = {"call": self.call, "task": self.own, self.kind: self.rule or {}}
        return next((name for name, level in levels.items() if names_place(level)), "default")


def names_place(level):
    """Whether a level of the precedence says where the message goes."""
    return bool(level.get("queue") or level.get("exchange"))


# -- configurations ---------------------------------------------------------------------

keys = st.sampled_from(KEYS)
PRIORITIES = st.integers(0, 12) | st.just(255)
HIGHEST_ON_REDIS = 9
TYPES = {
    "redis": ("direct", "topic", "topic", "fanout"),
    "amqp": ("direct", "topic", "topic", "fanout", "headers"),
}


@st.composite
def settings(draw, first):
    broker = draw(st.sampled_from(["redis", "amqp"]))
    types = st.sampled_from(TYPES[broker])
    exchanges = {name: kombu.Exchange(name, draw(types)) for name in EXCHANGES}
    default = draw(st.sampled_from(["celery", "alpha", "fallback"]))
    declared = [
        draw(_queue(name, exchanges)) for name in draw(st.lists(st.sampled_from(QUEUES), unique=True))
    ]
    if draw(st.booleans()):
        declared.append(Broadcast("everyone"))
    if declared and draw(st.booleans()):
        declared.append(kombu.Queue(default, routing_key="fallback.#"))
    places = _places(declared)
    found = {
        "broker_url": f"{broker}://nowhere",
        "task_queues": list({queue.name: queue for queue in declared}.values()) or None,
        "task_default_queue": default,
        "task_default_exchange": draw(st.sampled_from([None, None, "celery", "news"])),
        "task_default_exchange_type": draw(st.sampled_from(["direct", "direct", "direct", "topic"])),
        "task_default_routing_key": draw(st.sampled_from([None, "celery", "media.video"])),
        "task_create_missing_queues": any(q.name == default for q in declared) is False
        or draw(st.integers(0, 3)) > 0,
        "task_queue_max_priority": draw(st.sampled_from([None, 5, 10, 255])),
        "task_default_priority": draw(st.sampled_from([None, None, 4])),
        "task_routes": draw(_routes(places, types, first)),
    }
    own = st.none() | st.none() | st.none() | calls(found) | _joined(calls(found), calls(found))
    return found | {"tasks": {name: said for name in NAMES if (said := draw(own))}}


@st.composite
def _queue(draw, name, exchanges):
    exchange = st.sampled_from(list(exchanges.values()))
    options = draw(st.fixed_dictionaries({}, optional={"max_priority": st.just(9), "durable": st.booleans()}))
    shape = draw(st.sampled_from(["plain", "own", "bound", "several"]))
    if shape == "plain":
        return kombu.Queue(name, **options)
    if shape == "own":
        return kombu.Queue(name, kombu.Exchange(name), routing_key=name, **options)
    if shape == "bound":
        return kombu.Queue(name, draw(exchange), routing_key=draw(keys), **options)
    bound = draw(st.lists(st.builds(kombu.binding, exchange, routing_key=keys), min_size=1, max_size=3))
    return kombu.Queue(name, bound, **options)


def _places(queues):
    """Exchanges with keys: mostly some that a message takes to a queue, sometimes any."""
    bound = [
        (exchange, key.replace("*", "video").replace("#", "video.hd"))
        for queue in queues
        for exchange, key in bindings(queue)
        if exchange
    ]
    some = st.tuples(st.sampled_from([*EXCHANGES, "elsewhere"]), keys)
    return st.one_of(some, *[st.sampled_from(bound)] * 4) if bound else some


def _values(places, types):
    rest = {"routing_key": keys, "priority": PRIORITIES}
    queue = st.sampled_from([*QUEUES, *QUEUES, "everyone", "fresh"])
    place = places.map(lambda found: {"exchange": found[0], "routing_key": found[1]})
    return st.one_of(
        queue,
        st.fixed_dictionaries({"queue": queue}, optional=rest),
        _joined(place, st.fixed_dictionaries({}, optional={"priority": PRIORITIES, "queue": queue})),
        _joined(place, st.fixed_dictionaries({}, optional={"exchange_type": types, "priority": st.just(0)})),
        st.fixed_dictionaries(
            {"exchange": st.sampled_from(EXCHANGES)}, optional={"exchange_type": types, "queue": queue}
        ),
        st.fixed_dictionaries({}, optional=rest),
    )


def _joined(*dictionaries):
    return st.tuples(*dictionaries).map(lambda found: {k: v for each in found for k, v in each.items()})


def _routes(places, types, first):
    """One dictionary, or a list of dictionaries, of lists of pairs, and of routers by their dotted paths.

    ``first`` says what leads a list: "exact" or "callable", which chance alone would bring too seldom.
    """
    values = _values(places, types)
    pairs = st.lists(st.tuples(st.sampled_from(PATTERNS), values), min_size=2, max_size=6)
    rules = st.builds(dict, pairs)
    routers = st.sampled_from(ROUTERS)
    several = st.lists(rules | pairs | routers, min_size=1, max_size=4)
    if first:
        leading = {"exact": st.dictionaries(st.sampled_from(NAMES), values, min_size=3), "callable": routers}
        return st.tuples(leading[first], several).map(lambda found: [found[0], *found[1]])
    return st.one_of(st.none(), rules, several, several, several)


def calls(settings):
    """Return a strategy of what callers say of the destination under these settings."""
    rest = {"routing_key": keys, "priority": PRIORITIES}
    declared = settings["task_queues"] or []
    known = [queue.name for queue in declared if queue.name in QUEUES] or QUEUES
    queues = st.sampled_from([*known, *known, settings["task_default_queue"], "everyone", "fresh"])
    place = _places(declared).map(lambda found: {"exchange": found[0], "routing_key": found[1]})
    priority = {"priority": PRIORITIES}
    return st.one_of(
        st.just({}),
        st.fixed_dictionaries({}, optional=priority),
        st.fixed_dictionaries({}, optional=rest),
        st.fixed_dictionaries({"queue": queues}, optional=priority),
        st.fixed_dictionaries({"queue": queues}, optional=rest),
        _joined(place, st.fixed_dictionaries({}, optional=priority)),
        st.fixed_dictionaries({"exchange": st.sampled_from(EXCHANGES)}, optional=priority),
    )


# -- Celery itself ------------------------------------------------------------------------


def make_app(settings):
    """Return an app of its own: Celery writes into the queues that it is given. ``tasks`` are their own options."""
    app = Celery("foreign", set_as_current=False, fixups=[])
    own = settings.get("tasks", {})
    rest = {name: value for name, value in settings.items() if name != "tasks"}
    app.conf.update({**rest, "task_queues": copy.deepcopy(settings["task_queues"])})
    with suppress(KeyError):  # Celery declares it when it is first used: here it is there from the start
        _ = app.amqp.default_queue
    for name, options in own.items():
        load(app, name, **options)
    return app


def load(app, name, **options):
    """Register a task, as a process does that imports the worker's code."""
    with warnings.catch_warnings():  # Celery would rather have task_routes
        warnings.simplefilter("ignore")
        return app.task(name=name, shared=False, lazy=False, **options)(_nothing)


def _nothing():
    """The body of a task that is never run."""


def send(app, name, call, *, is_registered, own=None):
    """Send with Celery's own code, up to the producer; return what was seen on the way.

    A task with options of its own is registered already, by :func:`make_app`.
    """
    case = Case(app, name, call, bool(is_registered or own), own or {})
    recorder = Recorder()
    try:
        _look(case)
        if case.is_registered:
            load(app, name).apply_async(**call, producer=recorder)
        else:
            app.send_task(name, **call, producer=recorder)
    except Exception as error:  # noqa: BLE001 - whatever Celery raises, it sends nothing
        case.error = f"{type(error).__name__}: {error}"
    else:
        case.seen = _seen(app, recorder.published, case.rule or {})
    return case


def _look(case):
    for router in case.app.amqp.routes:
        found = case.app.amqp.router.query_router(router, case.name, (), {}, {}, None)
        if found is not None:
            case.rule = {"queue": found} if isinstance(found, str) else dict(found)
            case.kind = _kind(router, case.name)
            return


def _kind(router, name):
    if not hasattr(router, "map"):
        return "callable"
    if name in router.map:
        return "exact"
    matched = next(pattern for pattern in router.patterns if pattern.match(name))
    return "glob" if matched.pattern.startswith("(?s:") else "regex"


def _seen(app, published, rule):
    exchange = published["exchange"]
    exchange = exchange.name if isinstance(exchange, kombu.Exchange) else exchange
    key, priority = published["routing_key"] or "", published.get("priority")
    if priority is not None and app.conf.broker_url.startswith("redis"):
        priority = min(priority, HIGHEST_ON_REDIS)  # as kombu's transport does
    if not exchange:
        lost = {"", *(queue.name for queue in app.amqp.queues.values() if isinstance(queue, Broadcast))}
        return Seen("", "direct", key, frozenset({key} - lost), priority)
    said = rule.get("exchange_type") if rule.get("exchange") == exchange else None
    type_ = declared_types(app).get(exchange) or said or "direct"
    reached = {
        queue.name
        for queue in app.amqp.queues.values()
        for name, bound in bindings(queue)
        if name == exchange and matches(type_, bound, key) and not isinstance(queue, Broadcast)
    }
    return Seen(exchange, type_, key, frozenset(reached), priority)


def declared_types(app):
    found = {}
    for queue in app.amqp.queues.values():
        for exchange in [queue.exchange, *(each.exchange for each in queue.bindings)]:
            if exchange is not None:
                found.setdefault(exchange.name, exchange.type)
    return found


def exchange_of(app, queue):
    """Return the exchange through which a queue is published to that has one of its own."""
    with suppress(KeyError):
        return getattr(app.amqp.queues[queue].exchange, "name", "") or app.amqp.default_exchange.name
    return ""


def bindings(queue):
    if queue.exchange is not None:
        yield queue.exchange.name, queue.routing_key or ""
    for each in queue.bindings:
        yield each.exchange.name, each.routing_key


def matches(type_, bound, key):
    """AMQP's rules, written as an expression: dispatch walks words."""
    if type_ in ("fanout", "headers"):  # whose headers match is for the broker to say
        return True
    if type_ != "topic":
        return bound == key
    words = "".join(
        r"(\.[^.]*)*" if w == "#" else rf"\.{'[^.]*' if w == '*' else re.escape(w)}" for w in bound.split(".")
    )
    return re.fullmatch(words, f".{key}") is not None
