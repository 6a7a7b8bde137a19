"""P5, P6 and P7: what whole relays publish from PostgreSQL to each broker, beside the peer's and beside the limit.

    make bench BENCH_ARGS="--rows 20000 --repeats 3"

Each contender is a process of its own, which has published before it is measured. The time runs from the first message
that the broker has to the last; CPU is that of the contender's processes in this time, and of all the machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import backlog
import processes
from brokers import QUEUE, URLS, broker
from harness import Figure, Goal, Report, on_each_database, options, ratio, there

P5 = Goal("P5", "relay → Redis / the peer's at its best settings", 10, most=False)
P6 = Goal("P6", "relay → RabbitMQ, confirmed / the peer's at its best settings", 5, most=False)
P6_CELERY = Goal("P6 send_task", "relay → RabbitMQ, confirmed / Celery's send_task, confirmed", 6, most=False)
P7 = {
    "Redis": Goal("P7", "two relays → Redis / what two cores can give", 0.8, most=False),
    "RabbitMQ": Goal("P7 RabbitMQ", "two relays → RabbitMQ / what two cores can give", 0.8, most=False),
}
OPTIONS = options(rows=20_000, repeats=3)
#: Messages by which a relay has done its imports and has its connections. The slow ones get fewer to publish.
WARM, SLOWER, SENDS = 1_000, 5, 1_000
DEADLINE = 300
ONE, TWO, PEER, LIMIT = "one relay", "two relays", "django-celery-outbox's relay", "the limit, by hand"
CELERY = "Celery's send_task, each confirmed"


def measure() -> dict[str, Any]:
    """Measure on this process's database."""
    backlog.make_registry()
    return {"brokers": {name: _on(name) for name in there(URLS)}}


def _on(name: str) -> dict[str, list[dict[str, float]]]:
    there, url = broker(name), URLS[name]
    rows, few = OPTIONS.rows, max(OPTIONS.rows // SLOWER, 1)
    contenders: dict[str, Callable[[], dict[str, float]]] = {
        ONE: lambda: published([processes.relay(url)], there, backlog.fill, rows),
        TWO: lambda: published([processes.relay(url) for _ in range(2)], there, backlog.fill, rows),
        PEER: lambda: published([processes.peers_relay(url)], there, backlog.fill_peers, few),
        LIMIT: lambda: published([processes.limit(url)], there, backlog.fill, rows),
    }
    if name == "RabbitMQ":
        contenders[CELERY] = partial(_sent_by_celery, url)
    found: dict[str, list[dict[str, float]]] = {each: [] for each in contenders}
    try:
        for repeat in range(OPTIONS.repeats):
            for at in range(len(contenders)):
                each = [*contenders][(at + repeat) % len(contenders)]
                found[each].append(contenders[each]())
    finally:
        there.delete()
    return found


def published(started: Sequence[Any], there: Any, fill: Callable[[int], None], rows: int) -> dict[str, float]:
    """Let processes publish rows; return how fast that went, what it took, and how many came more than once."""
    backlog.empty()
    there.purge()
    try:
        for process in started:
            process.start()
        for process in started:
            process.wait_ready()
        fill(WARM)
        wait_for(lambda: there.count() >= WARM, started)
        time.sleep(0.5)  # in which they settle
        there.purge()
        cpu = _cpu(started)
        fill(rows)
        wait_for(there.count, started, 0.001)
        began, first, machine = time.perf_counter(), there.count(), processes.cpu_of_machine()
        wait_for(lambda: there.count() >= rows, started)
        took, machine = time.perf_counter() - began, processes.cpu_of_machine() - machine
        time.sleep(0.5)
        cpu = _cpu(started) - cpu
        memory = max(map(processes.memory_of, started))
    finally:
        for process in started:
            process.stop()
    ids = there.ids()
    there.purge()
    assert len(set(ids)) == rows, f"{len(set(ids))} of {rows} messages came"
    assert first < rows, "all came at once: measure more --rows than one batch has"
    return {
        "rate": (rows - first) / took,
        "cpu": cpu / rows * 1e6,
        "machine": machine / (rows - first) * 1e6,
        "duplicates": len(ids) - rows,
        "memory": memory,
    }


def wait_for(question: Callable[[], object], started: Sequence[Any], pause: float = 0.01) -> None:
    """Ask until the answer is true."""
    deadline = time.monotonic() + DEADLINE
    while not question():
        for process in started:
            process.check()
        assert time.monotonic() < deadline, f"not all was published in {DEADLINE} s"
        time.sleep(pause)


def _cpu(started: Sequence[Any]) -> float:
    return sum(map(processes.cpu_of, started))


def _sent_by_celery(url: str) -> dict[str, float]:
    """Send tasks one by one, without any outbox."""
    from celery import Celery

    app = Celery("bench", broker=url, set_as_current=False)
    app.conf.update(task_default_queue=QUEUE, broker_transport_options={"confirm_publish": True})
    send = partial(app.send_task, backlog.TASK, kwargs=backlog.ARGUMENTS, ignore_result=True)
    for _ in range(100):
        send()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(SENDS):
        send()
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    app.close()
    return {"rate": SENDS / took, "cpu": cpu / SENDS * 1e6}


def main() -> None:
    databases = on_each_database(__file__, measure, only=["PostgreSQL"])
    report = Report("relay", databases)
    if not databases:
        report.say("PostgreSQL was not reached: not measured.")
    for name, found in databases.get("PostgreSQL", {}).get("brokers", {}).items():
        _table(report, name, found)
        _judge(report, name, found)
    report.write()


def _table(report: Report, name: str, found: dict[str, list[dict[str, float]]]) -> None:
    report.title(f"PostgreSQL → {name}: {OPTIONS.rows:,} messages of 130 bytes ({OPTIONS.repeats} repeats)")
    for contender, runs in found.items():
        note = f"{_of(runs, 'cpu').value:.0f} µs of its own CPU each"
        if contender != CELERY:
            note += f", {_of(runs, 'machine').value:.0f} of the machine's, {_of(runs, 'memory').value:.0f} MiB at most"
        report.row(contender, _of(runs, "rate"), "/s", note)
    rates = _rates(found)
    report.row("one relay / the limit", ratio(rates, ONE, LIMIT), "×")
    report.row("two relays / one", ratio(rates, TWO, ONE), "×")


def _judge(report: Report, name: str, found: dict[str, list[dict[str, float]]]) -> None:
    rates, own = _rates(found), {"rate": _of(found[ONE], "rate").value, "cpu": _of(found[ONE], "cpu").value}
    report.goal(P5 if name == "Redis" else P6, ratio(rates, ONE, PEER), {}, **own)
    if CELERY in found:
        report.goal(P6_CELERY, ratio(rates, ONE, CELERY), {})
    cores = os.cpu_count() or 1
    bounds = [min(2 * run["rate"], cores * 1e6 / run["machine"]) for run in found[ONE]]
    duplicates = sum(run["duplicates"] for run in found[TWO])
    report.row(
        "what two relays can give at most", Figure.of(bounds), "/s", f"{cores} cores / CPU of the machine"
    )
    report.goal(
        P7[name],
        ratio({"two": rates[TWO], "bound": bounds}, "two", "bound"),
        {},
        met=not duplicates and ratio(rates, TWO, ONE).value >= 1,
        duplicates=duplicates,
    )


def _rates(found: dict[str, list[dict[str, float]]]) -> dict[str, list[float]]:
    return {contender: [run["rate"] for run in runs] for contender, runs in found.items()}


def _of(runs: list[dict[str, float]], what: str) -> Figure:
    return Figure.of([run[what] for run in runs])


if __name__ == "__main__":
    main()
