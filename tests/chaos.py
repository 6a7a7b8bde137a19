"""`make chaos`: kills, cuts and restarts at random under load, then an audit of every message and every result.

Servers of its own: PostgreSQL, Redis and RabbitMQ as brokers, each behind a proxy, and a Redis for results. Two relays,
two collectors, two writers, and a worker that takes what arrives. The same ``--seed`` draws the same faults.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from project.stack import Process, exit_on_signals
from tests.support.own_servers import OwnServer, own_postgresql, own_rabbitmq, own_redis
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from tests.support.sites import Site

QUEUES = {"redis": "chaos-redis", "rabbitmq": "chaos-rabbitmq"}
KEPT = ("--appendonly", "yes", "--appendfsync", "always")
#: Seconds between two faults of one monkey, that a fault lasts, and for which what is left may take in the end.
PAUSE, LASTS, PATIENCE = (0.5, 3.0), (0.5, 4.0), 180
#: Messages of a transaction, at most.
MOST = 20
READY = {"relay": "Relaying", "results": "Collecting"}


@dataclass
class World:
    """All that runs, and all that is known of messages."""

    servers: dict[str, OwnServer]
    proxies: dict[str, Proxy]
    quiet: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    committed: set[str] = field(default_factory=set)
    rolled_back: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    arrived: Counter[str] = field(default_factory=Counter)
    redelivered: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)


@contextlib.contextmanager
def world(directory: Path) -> Iterator[World]:
    """Start the servers, and set Django up over them."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        servers = {
            "postgresql": enter(own_postgresql(directory / "postgresql")),
            "redis": enter(own_redis(directory / "redis", *KEPT)),
            "results": enter(own_redis(directory / "results", *KEPT)),
            "rabbitmq": enter(own_rabbitmq(directory / "rabbitmq")),
        }
        proxies = {
            name: Proxy(int(servers[name].url.rpartition(":")[2].partition("/")[0])) for name in QUEUES
        }
        for proxy in proxies.values():
            stack.callback(proxy.close)
        set_up(servers, proxies)
        yield World(servers, proxies)


def set_up(servers: dict[str, OwnServer], proxies: dict[str, Proxy]) -> None:
    import django

    def broker(name: str) -> dict[str, str]:
        port = servers[name].url.rpartition(":")[2].partition("/")[0]
        url = servers[name].url.replace(f":{port}", f":{proxies[name].port}")
        return {"URL": url, "RESULT_BACKEND": servers["results"].url}

    dispatch = {
        "BROKERS": {"default": broker("redis"), "rabbitmq": broker("rabbitmq")},
        "RELAY_LEASE": 3,
        "BROKER_TIMEOUT": 1,
        "BACKOFF_BASE": 0.1,
        "BACKOFF_MAX": 1,
        "RELAY_BATCH_SIZE": 100,
    }
    os.environ |= {
        "DATABASE_URL": servers["postgresql"].url,
        "DJANGO_SETTINGS_MODULE": "tests.support.process_settings",
        "TEST_DISPATCH": json.dumps(dispatch),
    }
    django.setup()
    from django.core.management import call_command

    from tests.support.registry import make_queue, make_registry

    call_command("migrate", verbosity=0)
    make_registry(queue=QUEUES["redis"])
    make_queue(QUEUES["rabbitmq"], broker="rabbitmq")


# -- load -----------------------------------------------------------------------------------------


def write(world: World, seed: int, rate: float) -> None:
    """Send messages in transactions of one to twenty, a fifth of which are rolled back."""
    from django.db import DatabaseError, InterfaceError, connection, transaction

    from dispatch.api import Call, send_many
    from tests.support.registry import ARGUMENTS, TASK

    draw = random.Random(seed)
    while not world.quiet.wait(MOST / 2 / rate):
        ids: set[str] = set()
        outcome = world.unknown  # nobody knows of a commit whose connection broke
        undo = draw.random() < 0.2
        queues = draw.choices([*QUEUES.values()], k=draw.randint(1, MOST))
        calls = [Call(TASK, kwargs=ARGUMENTS, queue=queue) for queue in queues]
        try:
            with transaction.atomic():
                ids |= {str(row.pk) for row in send_many(calls)}
                transaction.set_rollback(undo)
            outcome = world.rolled_back if undo else world.committed
        except (DatabaseError, InterfaceError):
            connection.close()
        outcome |= ids
    connection.close()


def work(world: World, broker: str, take: Callable[[World, Any], Iterator[str]]) -> None:
    """Take what arrives at a broker, past its proxy, and store a result for it, as a worker does."""
    from celery import Celery

    app = Celery("chaos", backend=world.servers["results"].url, set_as_current=False)
    state: dict[str, Any] = {"url": world.servers[broker].url, "queue": QUEUES[broker], "cursor": 0}
    while not world.over.is_set():
        with contextlib.suppress(Exception):  # the broker is away; what was not taken is still there
            for task_id in take(world, state):
                store(app, task_id)
        time.sleep(0.05)
    app.close()


def store(app: Any, task_id: str) -> None:
    stored = False
    while not stored:
        with contextlib.suppress(Exception):  # the result backend is away
            app.backend.store_result(task_id, {"words": 1}, "SUCCESS")
            stored = True


def take_from_redis(world: World, state: dict[str, Any]) -> Iterator[str]:
    """Read on, and leave all where it is: a reply that is lost must not be a message that is lost."""
    import redis

    with redis.Redis.from_url(state["url"], socket_timeout=2) as client:
        while texts := client.lrange(state["queue"], -state["cursor"] - 100, -state["cursor"] - 1):
            for text in reversed(texts):
                envelope = json.loads(text)
                base64.b64decode(envelope["body"])
                state["cursor"] += 1
                world.arrived[envelope["headers"]["id"]] += 1
                yield envelope["headers"]["id"]


def take_from_rabbitmq(world: World, state: dict[str, Any]) -> Iterator[str]:
    import kombu

    with kombu.Connection(state["url"], connect_timeout=2) as connection:
        queue = kombu.Queue(state["queue"], no_declare=True).bind(connection.channel())
        while message := queue.get():
            task_id = message.headers["id"]
            if message.delivery_info["redelivered"] and world.arrived[task_id]:
                world.redelivered += 1  # the broker's copy, which was not acknowledged
            else:
                world.arrived[task_id] += 1
            yield task_id
            message.ack()


# -- faults ---------------------------------------------------------------------------------------


class Monkey:
    """Breaks one thing after the other; no two monkeys break the same."""

    def __init__(self, world: World, site: Site, seed: int) -> None:
        self.world, self.site = world, site
        self.draw = random.Random(seed)

    FREE: list[str] = ["relay", "collector", "postgresql", "redis", "results", "rabbitmq"]
    LOCK = threading.Lock()

    def work(self, until: float) -> None:
        while time.monotonic() < until:
            time.sleep(self.draw.uniform(*PAUSE))
            with self.LOCK:
                target = self.draw.choice(self.FREE)
                self.FREE.remove(target)
            try:
                self._break(target)
            finally:
                self.FREE.append(target)

    def _break(self, target: str) -> None:
        kinds = {
            "relay": [self.kill, self.terminate, self.sleep],
            "collector": [self.kill, self.terminate],
            "postgresql": [self.restart, self.end_sessions, self.end_sessions],
            "results": [self.restart],
        }
        fault = self.draw.choice(kinds.get(target, [self.restart, self.cut, self.stall, self.mute]))
        self.world.faults[f"{target}: {fault.__name__.replace('_', ' ')}"] += 1
        fault(target)

    def _last(self) -> None:
        time.sleep(self.draw.uniform(*LASTS))

    def _one(self, target: str) -> Process:
        """Return one that is at work."""
        command = {"relay": "relay", "collector": "results"}[target]
        while True:
            able = [each for each in self.site.running if each.name.startswith(command) and each.running]
            if ready := [each for each in able if READY[command] in each.output()]:
                return self.draw.choice(ready)
            time.sleep(0.1)

    def kill(self, target: str) -> None:
        self._one(target).kill()
        start(self.site, target)

    def terminate(self, target: str) -> None:
        process = self._one(target)
        if code := process.stop(30):
            self.world.odd.append(f"{process.name} ended with {code} after SIGTERM")
        start(self.site, target)

    def sleep(self, target: str) -> None:
        process = self._one(target)
        process.signal(signal.SIGSTOP)
        time.sleep(4)  # its lease is over
        process.signal(signal.SIGCONT)

    def restart(self, target: str) -> None:
        self.world.servers[target].crash()
        self._last()
        self.world.servers[target].start()

    def end_sessions(self, target: str) -> None:
        import psycopg

        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(self.world.servers[target].url) as connection,
        ):
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                "AND pid <> pg_backend_pid()"
            )

    def cut(self, target: str) -> None:
        self.world.proxies[target].cut()
        self._last()
        self.world.proxies[target].open()

    def stall(self, target: str) -> None:
        self.world.proxies[target].stall()
        self._last()
        self.world.proxies[target].open()

    def mute(self, target: str) -> None:
        self.world.proxies[target].swallow_replies()
        self._last()
        self.cut(target)


def start(site: Site, target: str) -> None:
    if target == "relay":
        site.relay()
    else:
        site.start("results", failpoint="count_results()")


def supervise(world: World, site: Site) -> None:
    """Start what has ended by itself once more, as every supervisor does; a traceback is wrong even so."""
    told: set[str] = set()
    while not world.over.wait(1):
        for process in [each for each in site.running if each.died and each.name not in told]:
            told.add(process.name)
            output = process.output().strip()
            world.ended[output.splitlines()[-1] if output else "nothing said"] += 1
            if "Traceback" in output:
                world.odd.append(f"{process.name} died:\n{process.tail()}")
            start(site, "relay" if process.name.startswith("relay") else "collector")


# -- the audit ------------------------------------------------------------------------------------


def left() -> dict[str, int]:
    """What is still under way: messages, and results that were not handled."""
    from dispatch.models import OutboxMessage

    rows = OutboxMessage.objects
    return {
        "not published": rows.exclude(status="published").count(),
        "without a result": rows.filter(status="published", handled_at=None).count(),
    }


def audit(world: World) -> list[tuple[str, int, bool]]:
    """Return what was counted, each with whether it is as it must be."""
    from django_celery_results.models import TaskResult

    from dispatch.models import OutboxMessage
    from project.notes.models import Note

    rows = dict(OutboxMessage.objects.values_list("pk", "status"))
    sent, arrived = {str(pk) for pk in rows}, world.arrived.keys()
    told = Counter(Note.objects.values_list("title", flat=True))
    results = Counter(TaskResult.objects.filter(status="SUCCESS").values_list("task_id", flat=True))
    again = [count for count in world.arrived.values() if count > 1]
    wrong = {
        "committed, and not in the outbox": world.committed - sent,
        "rolled back, and in the outbox": world.rolled_back & sent,
        "in the outbox, and not published": [pk for pk, status in rows.items() if status != "published"],
        "in the outbox, and never arrived": sent - arrived,
        "arrived, and not in the outbox": arrived - sent,
        "without a stored result": sent - results.keys(),
        "whose result is stored twice": [pk for pk, count in results.items() if count > 1],
        "whose result was not handled": sent - told.keys(),
        "whose result was handled twice": [pk for pk, count in told.items() if count > 1],
    }
    return [
        ("committed", len(world.committed), True),
        ("rolled back", len(world.rolled_back), True),
        ("whose commit was cut off", len(world.unknown), True),
        ("of which are in the outbox", len(world.unknown & sent), True),
        ("whose result was handled", len(told), True),
        ("that arrived more than once", len(again), True),
        ("most copies of one", max(again, default=1), True),
        ("delivered again by RabbitMQ itself", world.redelivered, True),
        *((name, len(ids), not ids) for name, ids in wrong.items()),
    ]


def together(*works: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    return threads


def run(minutes: float, seed: int, rate: float, directory: Path) -> int:
    with world(directory) as it:
        from django.db import connection

        from tests.support.sites import Site

        site = Site(directory, it.servers["redis"].url, QUEUES["redis"])
        try:
            for target in ("relay", "collector") * 2:
                start(site, target)
            writers = together(*(partial(write, it, seed + number, rate / 2) for number in range(2)))
            together(
                partial(work, it, "redis", take_from_redis), partial(work, it, "rabbitmq", take_from_rabbitmq)
            )
            together(partial(supervise, it, site))
            until = time.monotonic() + minutes * 60
            monkeys = [Monkey(it, site, seed + number) for number in range(2)]
            threads = together(*(partial(monkey.work, until) for monkey in monkeys))
            for thread in threads:
                thread.join()
            it.quiet.set()
            for thread in writers:
                thread.join()
            connection.close()  # the server has ended it, perhaps
            seconds = drain()
            it.over.set()
            rows = audit(it)
        finally:
            site.stop()
    return report(it, rows, seconds)


def drain() -> float:
    """Wait until nothing is under way any more; return for how many seconds."""
    began = time.monotonic()
    while any(left().values()) and time.monotonic() - began < PATIENCE:
        time.sleep(0.5)
    return time.monotonic() - began


def report(world: World, rows: list[tuple[str, int, bool]], seconds: float) -> int:
    print(f"\n{'fault':40}{'times':>8}")
    for name, count in sorted(world.faults.items()):
        print(f"{name:40}{count:8}")
    print(f"{'all':40}{world.faults.total():8}\n\n{'messages':40}{'number':>8}")
    for name, number, holds in rows:
        print(f"{name:40}{number:8}{'' if holds else '   WRONG'}")
    for text, count in world.ended.items():
        print(f"started again by the supervisor{count:17}   {text}")
    for text in world.odd:
        print(f"{text}   WRONG")
    print(f"\nAll was done {seconds:.0f} s after the last fault.")
    return int(bool(world.odd) or not all(holds for _, _, holds in rows))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--rate", type=float, default=50, help="messages a second (default: %(default)s)")
    options = parser.parse_args()
    exit_on_signals()
    with tempfile.TemporaryDirectory(prefix="dispatch-chaos-") as directory:
        print(
            f"Chaos for {options.minutes:g} minutes, --seed {options.seed}; logs in {directory}", flush=True
        )
        return run(options.minutes, options.seed, options.rate, Path(directory))


if __name__ == "__main__":
    sys.exit(main())
