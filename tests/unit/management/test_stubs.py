from __future__ import annotations

import io
import stat
import sys

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dispatch.contract.typed_stubs import module, registered
from dispatch.core.manifest import sealed
from tests.support.registry import PARAMETERS, TASK, make_task

MANIFEST = {
    "manifest": 1,
    "worker": "worker",
    "version": "0.1.0",
    "queues": [],
    "tasks": [{"name": TASK, "parameters": PARAMETERS}],
}


def run(*arguments):
    output = io.StringIO()
    call_command("dispatch", "stubs", *map(str, arguments), stdout=output)
    return output.getvalue()


@pytest.fixture
def task(db):
    return make_task()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.py"


def test_the_module_is_written_from_the_registry(task, path):
    assert run("-o", path) == f"{path} was written.\n"
    assert path.read_text(encoding="utf-8") == module(registered())
    assert list(path.parent.iterdir()) == [path]


def test_standard_output_gets_what_a_file_gets(task, path):
    run("-o", path)
    assert run("-o", "-") == path.read_text(encoding="utf-8")


def test_a_file_that_is_as_it_should_be_is_not_touched(task, path):
    run("-o", path)
    before = path.stat()
    assert run("-o", path) == f"{path} is as it should be.\n"
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_file_that_is_written_anew_keeps_its_permissions_and_its_link(task, path):
    path.write_text("")
    path.chmod(0o640)
    link = path.with_name("link.py")
    link.symlink_to(path)
    run("-o", link)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert "summarize_note" in path.read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_is_named(task, path):
    with pytest.raises(CommandError, match=r"gone/tasks.py cannot be written: .*No such file"):
        run("-o", path.parent / "gone" / "tasks.py")
    path.write_bytes(b"\xff")
    with pytest.raises(CommandError, match=r"tasks.py cannot be read: .*decode"):
        run("-o", path)


def test_a_check_passes_on_what_would_be_written(task, path):
    run("-o", path)
    assert run("--check", "-o", path) == f"{path} is as it should be.\n"


def test_a_check_fails_with_the_difference_and_the_remedy_and_writes_nothing(task, path):
    run("-o", path)
    old = path.read_text(encoding="utf-8").replace("text: str", "text: int")
    path.write_text(old, encoding="utf-8")
    output = io.StringIO()
    with pytest.raises(CommandError, match=rf"not what .*manage.py dispatch stubs -o {path}$"):
        call_command("dispatch", "stubs", "--check", "-o", str(path), stdout=output)
    assert (
        "\n-def summarize_note(note_id: str, text: int, sentences: int = ...) -> Any:\n" in output.getvalue()
    )
    assert (
        "\n+def summarize_note(note_id: str, text: str, sentences: int = ...) -> Any:\n" in output.getvalue()
    )
    assert path.read_text(encoding="utf-8") == old


def test_a_long_difference_is_cut(task, path):
    path.write_text("".join(f"line {number}\n" for number in range(500)))
    output = io.StringIO()
    with pytest.raises(CommandError):
        call_command("dispatch", "stubs", "--check", "-o", str(path), stdout=output)
    lines = output.getvalue().splitlines()
    assert len(lines) == 61
    assert lines[-1].startswith("… and 4")


def test_a_check_of_a_missing_file_says_how_to_write_it(task, path):
    with pytest.raises(CommandError, match=rf"does not exist. Write it: manage.py dispatch stubs -o {path}$"):
        run("--check", "-o", path)


def test_a_check_needs_a_file(task):
    with pytest.raises(CommandError, match="--check compares a file"):
        run("--check", "-o", "-")


def test_an_empty_registry_does_not_empty_the_module(db, path):
    with pytest.raises(CommandError, match=r"No task is registered: manage.py dispatch manifest sync FILE"):
        run("-o", path)
    assert not path.exists()


def test_a_manifest_will_do_without_a_registry(path, tmp_path, monkeypatch):
    manifest = tmp_path / "manifest.json"
    manifest.write_text(sealed(MANIFEST), encoding="utf-8")
    run("-o", path, "--manifest", manifest)
    assert "def summarize_note(" in path.read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO(sealed(MANIFEST)))
    assert run("--check", "-o", path, "--manifest", "-") == f"{path} is as it should be.\n"
    with pytest.raises(CommandError, match=r"gone.json cannot be read"):
        run("-o", path, "--manifest", tmp_path / "gone.json")


def test_a_manifest_without_tasks_is_refused(path, tmp_path):
    manifest = tmp_path / "manifest.json"
    manifest.write_text(sealed({**MANIFEST, "tasks": []}), encoding="utf-8")
    with pytest.raises(CommandError, match=r"No task is in .*manifest.json"):
        run("-o", path, "--manifest", manifest)
