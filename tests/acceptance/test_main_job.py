"""A saved model becomes a message on the right queue; a worker without Django runs it; the result comes home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.stack import Stack
from tests.support.stacks import fresh_database, in_django, system

SAVE = """
    text = Note.objects.create(kind="text", title="T", body="Cats sleep. Dogs bark. Cats and dogs meet. Cats win.")
    link = Note.objects.create(kind="link", title="L", body="See https://example.org/a and https://example.org/b .")
    failing = Note.objects.create(kind="text", title="Fail on purpose")
    try:
        with transaction.atomic():
            Note.objects.create(kind="text", title="undone", body="Never sent.")
            raise KeyError
    except KeyError:
        pass
    answer([text.pk, link.pk, failing.pk])
"""
#: What is there when each result was handled.
LOOK = """
    until = time.monotonic() + 60
    while OutboxMessage.objects.filter(handled_at=None).exists() and time.monotonic() < until:
        time.sleep(0.1)
    rows = {json.loads(m.kwargs)["note_id"]: [m.task_name, m.queue, m.status, m.handled_at, str(m.pk)]
            for m in OutboxMessage.objects.all()}
    results = {r.task_id: r.status for r in TaskResult.objects.all()}
    notes = {str(n.pk): [n.summary, n.failure] for n in Note.objects.all()}
    answer({"notes": notes, "rows": rows, "results": results, "messages": OutboxMessage.objects.count()})
"""


#: Each broker once, with and without a server for the database; the other pairs are slow.
PAIRS = ["sqlite-redis", "postgresql-rabbitmq"]
OTHERS = ["sqlite-rabbitmq", "postgresql-redis", "mariadb-redis", "mariadb-rabbitmq"]


@pytest.fixture(params=[*PAIRS, *(pytest.param(pair, marks=pytest.mark.slow) for pair in OTHERS)])
def stack(request: pytest.FixtureRequest, tmp_path: Path, results_url: str) -> Iterator[Stack]:
    database, broker = request.param.split("-")
    broker_url = request.getfixturevalue(f"{broker}_url")
    with (
        fresh_database(database, tmp_path) as database_url,
        system(tmp_path, database_url, broker_url, results_url, "worker", "relay", "results") as stack,
    ):
        yield stack


def test_a_saved_note_is_summarised_by_the_worker(stack: Stack) -> None:
    text, link, failing = in_django(stack, SAVE)
    seen = in_django(stack, LOOK)
    stack.check()
    assert all(row[3] for row in seen["rows"].values())
    assert {pk: row[:3] for pk, row in seen["rows"].items()} == {
        text: ["worker.tasks.llm.summarize_note", "llm", "published"],
        link: ["worker.tasks.link.preview_links", "link", "published"],
        failing: ["worker.tasks.ops.fail_on_demand", "default", "published"],
    }
    outcomes = {pk: seen["results"][row[4]] for pk, row in seen["rows"].items()}
    assert outcomes == {text: "SUCCESS", link: "SUCCESS", failing: "FAILURE"}
    assert "Cats" in seen["notes"][text][0]
    assert seen["notes"][link][0].startswith("2 links")
    assert "its title asks for it" in seen["notes"][failing][1]
    assert seen["messages"] == 3, "neither the rolled-back save nor the saves of the results sent anything"
    worker_log = (stack.directory / "worker.log").read_text()
    assert json.dumps(text)[1:-1] in worker_log or "summarize_note" in worker_log
