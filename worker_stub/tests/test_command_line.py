from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from celery_manifest import checksum


@pytest.fixture
def celery(tmp_path):
    """Run `celery -A worker …` in an empty folder; keywords are environment variables."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-P", "-m", "celery", "-A", "worker", *arguments]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, timeout=60)

    return run


def test_the_manifest_goes_to_standard_output_and_nothing_else_does(celery):
    done = celery("manifest")
    assert (done.returncode, done.stderr) == (0, b"")
    document = json.loads(done.stdout)
    assert document["worker"] == "worker"
    assert document["checksum"] == checksum(document)


def test_the_manifest_needs_no_broker_and_has_the_same_bytes_each_time(celery, tmp_path):
    closed = "redis://127.0.0.1:1/0"
    first = celery("manifest", BROKER_URL=closed, PYTHONHASHSEED="1").stdout
    second = celery(
        "manifest", "-o", "manifest.json", BROKER_URL=closed, PYTHONHASHSEED="2", PYTHONIOENCODING="ascii"
    )
    assert (second.returncode, second.stdout) == (0, b"")
    assert (tmp_path / "manifest.json").read_bytes() == first
    assert first.endswith(b"}\n")


def test_the_manifest_shows_the_queues_of_the_routing_file(celery, write_routing):
    path = write_routing(queues=[{"name": "default"}, {"name": "night", "arguments": {"x-max-priority": 9}}])
    queues = json.loads(celery("manifest", ROUTING_FILE=str(path)).stdout)["queues"]
    assert queues == [
        {"name": "default", "durable": True, "arguments": {}},
        {"name": "night", "durable": True, "arguments": {"x-max-priority": 9}},
    ]


def test_a_missing_routing_file_stops_the_worker_with_cause_and_remedy(celery):
    done = celery("worker", ROUTING_FILE="nowhere.json")
    assert done.returncode != 0
    assert b"'nowhere.json' cannot be used: it cannot be read" in done.stderr
    assert b"manage.py dispatch routes export" in done.stderr


def test_a_queue_that_the_routing_file_does_not_list_is_refused(celery):
    done = celery("worker", "-Q", "llmm")
    assert done.returncode != 0
    assert b"llmm" in done.stderr


def test_the_help_explains_the_command(celery):
    assert b"Write what this worker offers" in celery("manifest", "--help").stdout
