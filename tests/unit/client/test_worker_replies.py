from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.client import worker_replies
from dispatch.client.worker_replies import Consumed, by_worker, read, read_each
from dispatch.exceptions import QueueUnavailable
from tests.support.odd_values import JSON

QUEUE = {
    "name": "llm",
    "durable": True,
    "queue_arguments": {"x-max-priority": 9},
    "exchange": {"name": "llm"},
}
#: What reads an answer, and an answer that it can read.
READERS = {
    worker_replies.queues: [QUEUE],
    worker_replies.task_names: ["tasks.a [rate_limit=1/s]"],
    worker_replies.declared: {"task_queues": [QUEUE], "task_default_queue": "celery"},
    worker_replies.processes: {
        "pool": {"implementation": "celery.concurrency.prefork:TaskPool", "processes": [7]}
    },
    worker_replies.busy_processes: [{"worker_pid": 7}],
}
QUEUES = [
    5,
    None,
    "llm",
    {"name": "llm"},
    [None],
    ["llm"],
    [{}],
    [{"name": ["llm"]}],
    [{**QUEUE, "queue_arguments": "x"}],
    [{**QUEUE, "max_priority": "high"}],
    {"error": "no such command"},
]


def test_what_a_worker_answers_is_read_into_values():
    found = [reader(answer) for reader, answer in READERS.items()]
    assert found == [
        [Consumed("llm", own=False, durable=True, arguments={"x-max-priority": 9})],
        {"tasks.a"},
        {"llm": QUEUE},
        {7},
        {7},
    ]


@pytest.mark.parametrize("odd", QUEUES, ids=repr)
def test_an_odd_answer_is_left_out_with_the_reason_and_no_other(odd, caplog):
    assert list(read_each({"a": [QUEUE], "b": odd, "c": [QUEUE]}, worker_replies.queues)) == ["a", "c"]
    assert "Worker 'b' answered what cannot be read" in caplog.text


def test_the_word_of_a_worker_that_refuses_is_told():
    with pytest.raises(QueueUnavailable, match="no such command"):
        read("a", {"error": "no such command"}, worker_replies.queues)


@pytest.mark.parametrize("reader", READERS)
@given(odd=JSON, data=st.data())
def test_whatever_a_worker_answers_the_others_are_read(reader, odd, data):
    answer = json.loads(json.dumps(READERS[reader]))
    if isinstance(answer, list):
        answer = data.draw(st.sampled_from([odd, [odd], [*answer, odd]]))
    else:
        answer = data.draw(st.sampled_from([odd, answer | {min(answer): odd}]))
    assert read_each({"a": answer, "b": READERS[reader]}, reader)["b"] == reader(READERS[reader])


def test_replies_that_are_no_objects_are_left_out(caplog):
    assert by_worker([{"a": 1}, [5], "text", None, {"b": 2}]) == {"a": 1, "b": 2}
    assert by_worker(None) == {}
    assert caplog.text.count("A reply of a worker is left out") == 3
