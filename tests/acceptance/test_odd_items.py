"""Fifty odd items among a thousand good ones, for the processes that run in production."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.odd_values import ODD_ROWS
from tests.support.stacks import eventually, fresh_database, in_django, system

pytestmark = pytest.mark.slow

GOOD, ODD = 1_000, 50
SEND = f"""
    from dispatch.api import Call, send_many
    from tests.support.odd_values import ODD_ROWS, write
    call = Call("worker.tasks.llm.summarize_note", kwargs={{"note_id": "1", "text": "T"}})
    messages = send_many([call] * {GOOD + ODD})
    kinds = list(ODD_ROWS.values())
    for number, message in enumerate(messages[::{(GOOD + ODD) // ODD}]):
        write(message, *kinds[number % len(kinds)])
    answer(None)
"""
COUNTS = """
    from collections import Counter
    answer(Counter(OutboxMessage.objects.values_list("status", flat=True)))
"""
REASONS = 'answer(list(OutboxMessage.objects.filter(status="dead").values_list("last_error", flat=True)))'
FINISH = f"""
    from celery import Celery
    odd = ["{{", "null", "[]", "5", '{{"status": []}}', "[" * 100_000]
    fields = [("date_done", ""), ("date_done", "now"), ("traceback", []), ("worker", [5])]
    odd += [json.dumps({{"status": "SUCCESS", "result": 1, name: value}}) for name, value in fields]
    ids = list(OutboxMessage.objects.filter(status="published").values_list("pk", flat=True))
    with Celery(backend="RESULTS_URL", set_as_current=False) as app:
        for number, pk in enumerate(ids):
            stored = odd[number % len(odd)] if number % {GOOD // ODD} == 0 else '{{"status": "SUCCESS", "result": 1}}'
            app.backend.set(app.backend.get_key_for_task(str(pk)), stored)
    answer(None)
"""
RESULTS = """
    failed = TaskResult.objects.filter(result__contains="UnreadableResult").count()
    answer([TaskResult.objects.filter(status="SUCCESS").count(), failed])
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_fifty_odd_items_among_a_thousand_stop_neither_relay_nor_collector(
    kind: str, tmp_path: Path, redis_url: str, results_url: str
) -> None:
    with (
        fresh_database(kind, tmp_path) as database_url,
        system(tmp_path, database_url, redis_url, results_url) as stack,
    ):
        in_django(stack, SEND)
        stack.start("relay")
        eventually(lambda: in_django(stack, COUNTS) == {"published": GOOD, "dead": ODD})
        reasons = in_django(stack, REASONS)
        assert all(reason.startswith("The stored message cannot be read: ") for reason in reasons)
        assert len(set(reasons)) > len(ODD_ROWS) / 2

        in_django(stack, FINISH.replace("RESULTS_URL", results_url))
        stack.start("results")
        eventually(lambda: in_django(stack, RESULTS) == [GOOD - ODD, ODD])
        stack.check()  # neither process has ended meanwhile
