from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from project.stack import Process, ProcessDied
from project.stack.process import says

CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, "ready", flush=True)
time.sleep(60)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def python(tmp_path):
    """Return a function that makes a Process of a piece of Python; all of them are killed at the end."""
    made = []

    def make(code, **options):
        process = Process("sample", [sys.executable, "-c", code], log=tmp_path / "sample.log", **options)
        made.append(process)
        return process

    yield make
    for process in made:
        process.kill()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_that_ends_before_it_is_ready_is_reported_with_the_end_of_its_log(python):
    process = python("print('no such database'); raise SystemExit(3)", ready=says("ready"))
    process.start()
    with pytest.raises(ProcessDied, match=r"(?s)sample ended with exit code 3\..*no such database"):
        process.wait_ready(10)


def test_a_process_that_never_gets_ready_is_given_up_after_the_time_allowed(python):
    process = python("import time; time.sleep(60)", ready=says("ready"))
    process.start()
    with pytest.raises(ProcessDied, match="not ready after 0 s"):
        process.wait_ready(0.2)


def test_a_process_that_was_stopped_has_not_died_one_that_ended_by_itself_has(python):
    process = python("print('ready', flush=True); import time; time.sleep(60)", ready=says("ready"))
    process.start()
    process.wait_ready(10)
    process.stop()
    assert not process.running
    assert not process.died

    process.start()
    process.signal(9)
    process._popen.wait()
    assert process.died


def test_killing_a_process_ends_what_it_started_too(python):
    process = python(CHILD, ready=says("ready"))
    process.start()
    process.wait_ready(10)
    child = int(process.output().split()[0])
    process.kill()
    deadline = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def test_a_process_that_ignores_sigterm_is_ended_by_force(python):
    process = python(DEAF, ready=says("ready"))
    process.start()
    process.wait_ready(10)
    assert process.stop(timeout=0.3) == -9


def test_a_process_started_again_is_judged_by_what_it_says_now(python):
    process = python("print('ready', flush=True); import time; time.sleep(60)", ready=says("ready"))
    process.start()
    process.wait_ready(10)
    process.kill()
    process.command[-1] = "import time; time.sleep(60)"
    process.start()
    with pytest.raises(ProcessDied, match="not ready"):
        process.wait_ready(0.3)
    assert "ready" in process.log.read_text()
