"""A real worker process on a broker made of files: no server needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import wave

import pytest
from celery import Celery
from celery.exceptions import TimeoutError as ResultTimeout
from kombu import Exchange

WAIT = 30
MEDIA = {"exchange": "media", "routing_key": "media.fail"}
ROUTING = {
    "exchanges": [{"name": "media", "type": "topic"}],
    "queues": [
        {"name": "default"},
        {"name": "llm"},
        {"name": "clips", "bindings": [{"exchange": "media", "routing_key": "media.#"}]},
    ],
    "tasks": {"worker.tasks.ops.fail_on_demand": MEDIA},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("broker")
    (root / "results").mkdir()
    return root


@pytest.fixture(scope="module")
def live(folders, write_routing):
    """A worker with a pool process; ends with SIGTERM, which must stop it gracefully."""
    environ = os.environ | {
        "ROUTING_FILE": str(write_routing(**ROUTING)),
        "BROKER_URL": "filesystem://",
        "BROKER_FOLDER": str(folders / "messages"),
        "RESULT_BACKEND_URL": (folders / "results").as_uri(),
    }
    command = [
        sys.executable,
        "-P",
        "-m",
        "celery",
        "-A",
        "worker",
        "worker",
        "--concurrency",
        "1",
        "--loglevel",
        "INFO",
    ]
    with (folders / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folders, env=environ, stdout=log, stderr=log)
    yield process
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(WAIT) == 0, (folders / "log").read_text()
    finally:
        process.kill()


@pytest.fixture(scope="module")
def sender(folders, live):
    """A stranger that knows the worker by names only."""
    messages = str(folders / "messages")
    os.makedirs(messages, exist_ok=True)
    app = Celery(
        "sender", broker="filesystem://", backend=(folders / "results").as_uri(), set_as_current=False
    )
    app.conf.broker_transport_options = {
        "data_folder_in": messages,
        "data_folder_out": messages,
        "control_folder": f"{messages}/control",
    }
    return app


@pytest.fixture
def outcome(sender, folders):
    def send(name, destination, **kwargs):
        result = sender.send_task(name, kwargs=kwargs, **destination)
        try:
            result.get(timeout=WAIT, propagate=False)
        except ResultTimeout:
            pytest.fail((folders / "log").read_text())
        return result

    return send


def test_a_task_sent_by_name_is_done_and_its_result_is_there(outcome):
    result = outcome("worker.tasks.llm.summarize_note", {"queue": "llm"}, note_id="7", text="Celery works.")
    assert result.get() == {"note_id": "7", "summary": "Celery works.", "words": 2}


def test_a_recording_on_disk_is_measured(outcome, tmp_path):
    path = tmp_path / "memo.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 3, 48_000, 0, "NONE", ""))
        file.writeframes(bytes(6) * 48_000)
    result = outcome("worker.tasks.stt.transcribe_audio", {"queue": "default"}, note_id="7", path=str(path))
    assert result.get()["summary"] == "1.0 s, stereo, 48 kHz, silent"


# First, while the pool process has declared nothing yet: only then could its retry get lost.
TOPIC = MEDIA | {"declare": [Exchange("media", "topic")]}


@pytest.mark.parametrize(
    "destination", [TOPIC, {"queue": "default"}, {"queue": "clips"}], ids=["topic", "queue", "bound"]
)
def test_a_failure_is_seen_with_its_reason_after_its_retries(outcome, folders, destination):
    kwargs = {"note_id": "7", "reason": "drill", "retries": 1}
    result = outcome("worker.tasks.ops.fail_on_demand", destination, **kwargs)
    assert result.state == "FAILURE"
    assert "Note 7 failed on demand: drill" in str(result.result)
    assert f"{result.id}] retry: Retry in 1s" in (folders / "log").read_text()


def test_an_unknown_name_is_refused_by_the_worker(outcome):
    assert outcome("worker.tasks.llm.sumarize_note", {"queue": "llm"}).state == "FAILURE"
