"""Generated Celery configurations, and where Celery's own code sends a message under them.

Nothing of dispatch is used here: this is what it is compared with.
"""

from __future__ import annotations

import copy
import re
from contextlib import suppress
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
    *("app.tasks.add", "app.tasks.add?", "app.media.encode", "other.report", "app.tasks.ad"),
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
    """Stands where Celery has a producer."""

    published: dict[str, Any] = field(default_factory=dict)

    def publish(self, body, **options):
        self.published = options


@dataclass
class Case:
    """One message under one configuration, with what Celery's router found on the way."""

    app: Celery
    name: str
    call: dict[str, Any]
    is_registered: bool
    rule: dict[str, Any] | None = None
    kind: str = "default"
    queue: kombu.Queue | None = None
    seen: Seen | None = None
    error: str = ""

    @property
    def is_on_redis(self) -> bool:
        return self.app.conf.broker_url.startswith("redis")


# -- configurations ---------------------------------------------------------------------

keys = st.sampled_from(KEYS)
TYPES = {
    "redis": ("direct", "topic", "topic", "fanout"),
    "amqp": ("direct", "topic", "topic", "fanout", "headers"),
}


@st.composite
def settings(draw):
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
    return {
        "broker_url": f"{broker}://nowhere",
        "task_queues": list({queue.name: queue for queue in declared}.values()) or None,
        "task_default_queue": default,
        "task_default_exchange": draw(st.sampled_from([None, None, "celery", "news"])),
        "task_default_exchange_type": draw(st.sampled_from(["direct", "direct", "direct", "topic"])),
        "task_default_routing_key": draw(st.sampled_from([None, "celery", "media.video"])),
        "task_create_missing_queues": any(q.name == default for q in declared) is False
        or draw(st.integers(0, 3)) > 0,
        "task_queue_max_priority": draw(st.sampled_from([None, 5, 10])),
        "task_default_priority": draw(st.sampled_from([None, None, 4])),
        "task_routes": draw(_routes(places, types)),
    }


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
    rest = {"routing_key": keys, "priority": st.integers(0, 9)}
    queue = st.sampled_from([*QUEUES, *QUEUES, "everyone", "fresh"])
    place = places.map(lambda found: {"exchange": found[0], "routing_key": found[1]})
    return st.one_of(
        queue,
        st.fixed_dictionaries({"queue": queue}, optional=rest),
        _joined(place, st.fixed_dictionaries({}, optional={"priority": st.integers(0, 9), "queue": queue})),
        _joined(place, st.fixed_dictionaries({}, optional={"exchange_type": types, "priority": st.just(0)})),
        st.fixed_dictionaries(
            {"exchange": st.sampled_from(EXCHANGES)}, optional={"exchange_type": types, "queue": queue}
        ),
        st.fixed_dictionaries({}, optional=rest),
    )


def _joined(*dictionaries):
    return st.tuples(*dictionaries).map(lambda found: {k: v for each in found for k, v in each.items()})


def _routes(places, types):
    """One dictionary, or a list of dictionaries, of lists of pairs, and of routers by their dotted paths."""
    pairs = st.lists(st.tuples(st.sampled_from(PATTERNS), _values(places, types)), min_size=2, max_size=6)
    rules = st.builds(dict, pairs)
    several = st.lists(rules | pairs | st.sampled_from(ROUTERS), min_size=1, max_size=4)
    return st.one_of(st.none(), rules, several, several, several)


def calls(settings):
    """Return a strategy of what callers say of the destination under these settings."""
    rest = {"routing_key": keys, "priority": st.integers(0, 9)}
    declared = settings["task_queues"] or []
    known = [queue.name for queue in declared if queue.name in QUEUES] or QUEUES
    queues = st.sampled_from([*known, *known, settings["task_default_queue"], "everyone", "fresh"])
    place = _places(declared).map(lambda found: {"exchange": found[0], "routing_key": found[1]})
    priority = {"priority": st.integers(0, 9)}
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
    """Return an app of its own: Celery writes into the queues that it is given."""
    app = Celery("foreign", set_as_current=False, fixups=[])
    app.conf.update({**settings, "task_queues": copy.deepcopy(settings["task_queues"])})
    with suppress(KeyError):  # Celery declares it when it is first used: here it is there from the start
        _ = app.amqp.default_queue
    return app


def exec_options(app):
    """Return what a task of this app adds to each call once it is loaded in the process that sends."""
    task = app.task(name="loaded", shared=False, lazy=False)(_nothing)
    return {name: value for name, value in task._get_exec_options().items() if value is not None}


def _nothing():
    """The body of a task that is never run."""


def send(app, name, call, *, is_registered):
    """Send with Celery's own router and sender, up to the producer; return what was seen on the way."""
    case = Case(app, name, call, is_registered)
    options = dict(call)
    if is_registered:  # as Celery.send_task does for a task that its process has loaded
        options = exec_options(app) | options
    recorder = Recorder()
    try:
        _look(case)
        routed = app.amqp.router.route(options, name, (), {})
        case.queue = routed.get("queue")
        app.amqp.send_task_message(recorder, name, ({}, {}, ((), {}, {}), None), **routed)
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
    key = published["routing_key"] or ""
    if not exchange:
        lost = {"", *(queue.name for queue in app.amqp.queues.values() if isinstance(queue, Broadcast))}
        return Seen("", "direct", key, frozenset({key} - lost), published.get("priority"))
    said = rule.get("exchange_type") if rule.get("exchange") == exchange else None
    type_ = declared_types(app).get(exchange) or said or "direct"
    reached = {
        queue.name
        for queue in app.amqp.queues.values()
        for name, bound in bindings(queue)
        if name == exchange and matches(type_, bound, key) and not isinstance(queue, Broadcast)
    }
    return Seen(exchange, type_, key, frozenset(reached), published.get("priority"))


def declared_types(app):
    found = {}
    for queue in app.amqp.queues.values():
        for exchange in [queue.exchange, *(each.exchange for each in queue.bindings)]:
            if exchange is not None:
                found.setdefault(exchange.name, exchange.type)
    return found


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
