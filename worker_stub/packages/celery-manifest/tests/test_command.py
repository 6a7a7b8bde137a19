from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest

from celery_manifest import checksum

APP = """
from celery import Celery
from celery_manifest import install

app = Celery("shop", broker="redis://127.0.0.1:1/0", include=["tasks"])
"""
INSTALL = 'install(app, version="1.0")\n'
TASKS = """
from shop import app

print("importing")

@app.task(name="shop.sell")
def sell(article: str) -> None:
    '''Sell it.'''
"""
BROKEN = TASKS.replace('name="shop.sell"', 'name="shop.sell", sensitive=["artcle"]')


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shop.py").write_text(APP + INSTALL)
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


@pytest.fixture
def celery(folder):
    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "celery", "-A", "shop", *arguments]
        environ = os.environ | {"PYTHONPATH": str(folder)}
        return subprocess.run(command, cwd=folder, env=environ, capture_output=True, timeout=60)

    return run


def complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a failed command said, which is no traceback."""
    assert done.returncode == 1, done
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    return done.stderr.decode()


def test_the_manifest_goes_to_standard_output_and_what_modules_print_does_not(celery):
    done = celery("manifest")
    assert (done.returncode, done.stderr) == (0, b"importing\n")
    document = json.loads(done.stdout)
    assert (document["worker"], document["version"]) == ("shop", "1.0")
    assert document["checksum"] == checksum(document)


def test_a_file_is_written_as_a_whole_and_keeps_its_permissions(celery, folder):
    file = folder / "manifest.json"
    file.write_text("old")
    file.chmod(0o640)
    done = celery("manifest", "--output", "manifest.json")
    assert (done.returncode, done.stdout) == (0, b"")
    assert json.loads(file.read_bytes())["worker"] == "shop"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in folder.iterdir() if "manifest" in path.name] == ["manifest.json"]


def test_a_broken_task_is_told_in_one_sentence_and_the_old_file_stays(celery, folder):
    (folder / "manifest.json").write_text("old")
    (folder / "tasks.py").write_text(BROKEN)
    message = complaint(celery("manifest", "-o", "manifest.json"))
    assert "The task shop.sell calls ['artcle'] sensitive but has no such parameter" in message
    assert (folder / "manifest.json").read_text() == "old"


def test_a_task_that_cannot_be_said_costs_itself_and_is_named(celery, folder):
    (folder / "manifest.json").write_text("old")
    (folder / "tasks.py").write_text(TASKS + '\napp.tasks["shop sell"] = sell\n')
    done = celery("manifest", "-o", "manifest.json")
    assert done.returncode == 3
    assert b"Error: The task 'shop sell' cannot be named" in done.stderr
    assert b"Traceback" not in done.stderr
    document = json.loads((folder / "manifest.json").read_bytes())
    assert [task["name"] for task in document["tasks"]] == ["shop.sell"]
    assert [task["name"] for task in document["left_out"]] == ["shop sell"]


def test_a_module_that_does_not_load_is_told_in_one_sentence(celery, folder):
    (folder / "tasks.py").write_text("1 / 0")
    assert "ZeroDivisionError: division by zero" in complaint(celery("manifest"))


def test_an_app_that_states_no_version_is_told_what_to_call(celery, folder):
    (folder / "shop.py").write_text(APP)
    assert "call celery_manifest.install(app, version=…)" in complaint(celery("manifest"))


def test_a_file_that_cannot_be_written_is_named(celery):
    message = complaint(celery("manifest", "-o", "nowhere/manifest.json"))
    assert "The file 'nowhere/manifest.json' cannot be written: No such file" in message


def test_a_wrong_option_is_an_error_of_usage(celery):
    assert celery("manifest", "--outptu", "x").returncode == 2


def test_the_help_explains_the_command(celery):
    assert b"Write what this worker offers" in celery("manifest", "--help").stdout
