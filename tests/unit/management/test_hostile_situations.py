"""Every subcommand in every situation in which a program's surroundings fail it, or lie to it.

A subcommand that is added later must be added to ``COMMANDS``, and each option that names a file to ``FILES``.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import json
import os
import re
import socket
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import ProgrammingError, connections
from django_celery_results.models import TaskResult

from dispatch.configuration import document
from dispatch.core import manifest
from dispatch.core.manifest import sealed
from dispatch.management.commands.dispatch import Command
from dispatch.management.subcommands import triggers
from dispatch.models import Exchange, Manifest, OutboxMessage, Queue, Route, TaskDefinition, Trigger
from dispatch.registry import cache
from project.notes.models import Note
from tests.support.registry import PARAMETERS, TASK, make_registry, make_trigger
from tests.support.subcommands import PARSERS

#: An object and a message that ``populated`` holds.
NOTE, MESSAGE = "0198c0de-0000-7000-8000-000000000001", "0198c0de-0000-7000-8000-000000000002"
#: Each subcommand as it would be run, with whether it prints something of the registry of ``populated``.
COMMANDS = {
    "relay": ["--once"],
    "results": ["--once"],
    "messages list": [],
    "messages show": [MESSAGE],
    "messages requeue": [MESSAGE, "--yes"],
    "messages cancel": [MESSAGE, "--yes"],
    "messages revoke": [MESSAGE, "--yes"],
    "messages prune": ["--yes"],
    "run": ["--once"],
    "status": [],
    "manifest sync": ["manifest.json"],
    "manifest show": [],
    "verify": [],
    "stubs": ["-o", "-"],
    "routes list": [],
    "routes explain": [TASK, "--offline"],
    "routes export": [],
    "triggers list": [],
    "triggers preview": ["changed", NOTE],
    "config export": [],
    "config import": ["configuration.json", "--yes"],
    "config import-celery": ["celery_app_of_a_test:app", "--yes"],
    "queues list": [],
    "queues declare": [],
    "queues peek": ["llm"],
    "queues delete": ["llm", "--yes"],
    "queues purge": ["llm", "--yes"],
    "queues pause": ["llm"],
    "queues resume": ["llm"],
    "queues apply": ["--yes"],
    "worker-command": [],
    "acl": [],
    "groups": [],
}
WITH_JSON = [
    name
    for name in COMMANDS
    if name not in ("relay", "results", "run", "stubs", "routes export", "config export")
]
#: What stands for FILE is put at the end.
READS = {
    "manifest sync": ["manifest", "sync"],
    "verify --manifest": ["verify", "--manifest"],
    "stubs --manifest": ["stubs", "-o", "-", "--manifest"],
    "config import": ["config", "import", "--yes"],
}
WRITES = {
    "routes export": ["routes", "export"],
    "config export": ["config", "export"],
    "stubs -o": ["stubs", "-o"],
}
#: A name that would clear the screen, ring, end its line, turn the rest of it round, and is no text besides.
HOSTILE = "x\x1b[2J\x07\x9b1m\x7f\r\n\u202e\u2028y"
MANIFEST = {
    "manifest": 1,
    "worker": "worker",
    "version": "0.1.0",
    "queues": [],
    "tasks": [{"name": "a", "parameters": PARAMETERS}],
}
TWISTED = {"llm": HOSTILE, "changed": HOSTILE, TASK: HOSTILE}
#: What ``str.isprintable`` refuses, but for the line breaks that are ours.
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")
NO_FILE = "(it is a directory|it is no regular file. For a pipe or a device write -, and redirect|Too many levels .*)"
#: Of those that fail here before they print a word, exit code and words.
SILENT = {
    "queues peek": (1, r"CommandError: Broker 'default' \(memory\) cannot show messages .*\n"),
    "queues apply": (1, r"No worker answered .*\nCommandError: The workers could not all be brought .*\n"),
}
FORBIDDEN = re.compile(r"[^\n -~]")


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch, broker_settings):
    """A directory of its own with the files that COMMANDS name; the test's connections stay open."""
    broker_settings("memory://", BROKER_TIMEOUT=0.1)
    monkeypatch.setattr(connections, "close_all", lambda: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifest.json").write_text(sealed(MANIFEST))
    (tmp_path / "configuration.json").write_text(
        json.dumps({"configuration": 1, "queues": [{"name": "new"}]})
    )
    (tmp_path / "celery_app_of_a_test.py").write_text("import celery\napp = celery.Celery('a')\n")
    monkeypatch.syspath_prepend(tmp_path)


def program(*arguments, stdout=None, stderr=None):
    """Run the command as ``manage.py`` does; an exception that is no end of a program passes, and fails the test."""
    out, err = stdout or io.StringIO(), stderr or io.StringIO()
    code = 0
    try:
        Command(stdout=out, stderr=err).run_from_argv(["manage.py", "dispatch", "--skip-checks", *arguments])
    except SystemExit as end:
        code = end.code
    told = [stream.getvalue() if isinstance(stream, io.StringIO) else "" for stream in (out, err)]
    return SimpleNamespace(code=code, out=told[0], err=told[1])


def run(name, *more, **streams):
    return program(*name.split(), *COMMANDS[name], *more, **streams)


@contextmanager
def database(monkeypatch, blocker, name) -> Iterator[None]:
    """Let ``default`` be another SQLite."""
    with blocker.unblock():
        was = connections["default"]
        settings = {**was.settings_dict, "ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": {}}
        monkeypatch.setitem(connections.settings, "default", settings)
        connections["default"] = connections.create_connection("default")
        try:
            yield
        finally:
            connections["default"].close()
            connections["default"] = was
            cache.clear()
            with warnings.catch_warnings(action="ignore", category=ResourceWarning):
                gc.collect()  # Django never closes the connection by which it learns that a file is no database


@pytest.fixture
def populated(db):
    task = make_registry()
    make_trigger(task, "updated", name="changed")
    Note.objects.create(pk=NOTE, title="A", body="B")
    OutboxMessage.objects.create(pk=MESSAGE, task_name=TASK, broker="default", queue="llm", status="dead")


@pytest.fixture
def hostile(db):
    """A registry in which every text is hostile."""
    name = HOSTILE
    queue = Queue.objects.create(name=name, is_default=True)
    Exchange.objects.create(name=name)
    task = TaskDefinition.objects.create(
        name=name, queue=queue, description=name, parameters={}, deprecated=name
    )
    Route.objects.create(pattern=name, kind="exact", queue=queue)
    Route.objects.create(pattern=f"({name}", kind="regex", queue=queue)
    Manifest.objects.create(
        worker=name,
        version=name,
        checksum=name,
        queues=[{"name": name, "durable": True, "arguments": {}}],
        offers=[name],
    )
    Trigger.objects.create(name=name, model="notes.note", events=["updated"], task=task)
    Note.objects.create(pk=NOTE, title=name, body=name)
    texts = dict.fromkeys(("task_name", "queue", "broker", "origin_name", "object_model", "object_pk"), name)
    options = {"queue": name, "link": [{"task": name, "args": [name]}]}
    message = OutboxMessage.objects.create(
        pk=MESSAGE, status="dead", last_error=name, options=options, **texts
    )
    message.failed_attempts.create(id=NOTE, number=1, at=message.created_at, error=name, queue=name)
    TaskResult.objects.create(task_id=MESSAGE, worker=name, result=name, traceback=name)


# -- the table is whole ----------------------------------------------------------------------------


def test_the_table_has_every_subcommand():
    assert set(PARSERS) == set(COMMANDS)


def test_the_table_has_every_option_that_names_a_file():
    named = set()
    for name, parser in PARSERS.items():
        for action in parser._actions:
            if action.metavar == "FILE":
                option = min(action.option_strings, default="", key=len)
                named.add(f"{name} {option}".strip())
    assert named == {*READS, *WRITES}


# -- databases -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_missing_tables_are_told(name, monkeypatch, django_db_blocker, tmp_path):
    with database(monkeypatch, django_db_blocker, str(tmp_path / "empty.sqlite3")):
        found = run(name)
    assert found.err == "CommandError: The tables of dispatch are missing: run `manage.py migrate` first.\n"
    assert found.code == (2 if name == "verify" else 1)
    assert found.out == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_is_no_database_is_told(name, monkeypatch, django_db_blocker, tmp_path):
    with database(monkeypatch, django_db_blocker, str(tmp_path / "configuration.json")):
        found = run(name)
    assert found.err == "CommandError: The database cannot be used: file is not a database\n"
    assert found.code == (2 if name == "verify" else 1)


@pytest.mark.parametrize(
    "name", [name for name, parser in PARSERS.items() if "--database" in parser.format_help()]
)
def test_a_database_that_is_none_is_refused(name, capsys):
    assert run(name, "--database", "nope").code == 2
    assert "invalid choice: 'nope'" in capsys.readouterr().err


def test_a_missing_table_of_the_project_is_told(populated, monkeypatch):
    def load(*args):
        raise ProgrammingError('relation "notes_note" does not exist\nLINE 1: SELECT')

    monkeypatch.setattr(triggers, "load", load)
    found = run("triggers preview")
    told = 'The database cannot be used: relation "notes_note" does not exist LINE 1: SELECT'
    assert (found.code, found.err) == (1, f"CommandError: {told}\n")


# -- standard output and error ---------------------------------------------------------------------


@pytest.fixture
def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", encoding="utf-8")
    yield stream
    stream.close()


@pytest.fixture
def full_disk():
    with suppress(OSError), Path("/dev/full").open("w", encoding="utf-8") as stream:
        yield stream


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_has_gone_ends_the_command_without_a_word(name, populated, closed_pipe):
    found = run(name, stdout=closed_pipe)
    code, told = SILENT.get(name, (141, ""))
    assert found.code == code
    assert re.fullmatch(told, found.err)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_told(name, populated, full_disk):
    found = run(name, stdout=full_disk)
    code, told = SILENT.get(name, (1, r"CommandError: Standard output cannot be written: No space left .*\n"))
    assert found.code == code
    assert re.fullmatch(told, found.err)


@pytest.mark.parametrize("name", COMMANDS)
def test_standard_output_and_error_may_be_closed(name, populated, monkeypatch):
    expected = run(name)
    TaskDefinition.objects.filter(name="a").delete()
    Queue.objects.filter(name="new").delete()
    OutboxMessage.objects.update(status="dead")
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    try:
        Command().run_from_argv(["manage.py", "dispatch", *name.split(), *COMMANDS[name], "--skip-checks"])
        code = 0
    except SystemExit as end:
        code = end.code
    assert code == expected.code


@pytest.mark.parametrize("name", COMMANDS)
def test_standard_error_that_cannot_be_written_changes_no_exit_code(
    name, monkeypatch, django_db_blocker, full_disk
):
    with database(monkeypatch, django_db_blocker, ":memory:"):
        assert run(name, stderr=full_disk).code == (2 if name == "verify" else 1)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_terminal_that_knows_ascii_only_gets_nothing_else(name, hostile):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    arguments = [TWISTED.get(each, each) for each in COMMANDS[name]]
    program(*name.split(), *arguments, stdout=out)
    text = out.buffer.getvalue().decode("ascii")
    assert not FORBIDDEN.search(text)
    if name.endswith("export"):
        assert HOSTILE in [queue["name"] for queue in json.loads(text)["queues"]]


# -- what others wrote --------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["text", "json"])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_name_steers_the_terminal_or_breaks_its_line(name, format_, hostile, caplog):
    if format_ == "json" and name not in WITH_JSON:
        format_ = "text"
    arguments = [TWISTED.get(each, each) for each in COMMANDS[name]]
    arguments += ["--format", "json"] if format_ == "json" else []
    found = program(*name.split(), *arguments)
    for text in (found.out, found.err, *caplog.messages):
        assert not UNSEEN.search(text)
    assert not any("\n" in message for message in caplog.messages)
    assert not any(line.startswith(("y", "\\u2028")) for line in found.out.splitlines())
    if format_ == "json" and found.out:
        json.loads(found.out)


def test_a_manifest_steers_no_terminal_and_breaks_no_line(db, tmp_path):
    task = {"name": "a", "description": HOSTILE, "deprecated": HOSTILE, "parameters": PARAMETERS}
    (tmp_path / "manifest.json").write_text(sealed({**MANIFEST, "version": HOSTILE, "tasks": [task]}))
    found = run("manifest sync")
    assert not UNSEEN.search(found.out + found.err)
    assert len((found.out + found.err).splitlines()) <= 2


def test_an_error_is_one_line_for_those_that_call_the_command_too(hostile):
    with pytest.raises(CommandError) as caught:
        call_command("dispatch", "queues", "pause", "nope\n\x1b[2J")
    assert not UNSEEN.search(str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in COMMANDS if COMMANDS[name]])
def test_arguments_that_are_no_text_are_refused(name, populated):
    arguments = [each if each.startswith("-") else "x\udcff" for each in COMMANDS[name]]
    found = program(*name.split(), *arguments)
    if "x\udcff" in arguments:
        assert found.err == "CommandError: x\\udcff is no text in UTF-8.\n"
        assert found.code == 1


# -- Ctrl-C ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_ends_any_command_in_a_line(name, populated, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("dispatch.management.commands.dispatch._refuse_what_is_no_text", interrupt)
    found = run(name)
    assert (found.code, found.err) == (130, "\nInterrupted.\n")


@pytest.mark.parametrize(
    "name", ["config import", "messages prune", "messages requeue", "queues delete", "queues purge"]
)
def test_ctrl_c_at_a_question_changes_nothing(name, populated, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

        def readline(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Terminal())
    arguments = [each for each in COMMANDS[name] if each != "--yes"]
    found = program(*name.split(), *arguments)
    assert found.code == 130
    assert found.err.endswith("? [y/N] \nCommandError: Interrupted: nothing was changed.\n")
    assert set(Queue.objects.values_list("name", flat=True)) == {"default", "llm"}


def test_a_question_to_a_closed_standard_input_is_told(populated, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert program("queues", "purge", "llm").err.endswith("Nobody is here to answer: add --yes.\n")
    assert (
        program("config", "import", "-").err == "CommandError: standard input cannot be read: it is closed.\n"
    )


# -- files -------------------------------------------------------------------------------------------


@pytest.fixture(params=["FIFO", "directory", "/dev/full", "/dev/zero", "/dev/null", "loop", "socket"])
def no_file(request, tmp_path):
    """The name of what is there, and is no regular file."""
    if request.param.startswith("/"):
        return request.param
    path = tmp_path / "odd"
    match request.param:
        case "FIFO":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "socket":
            # The whole path may be longer than a socket's name can be.
            with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(tmp_path):
                server.bind(path.name)
    return str(path)


@pytest.mark.parametrize("arguments", READS.values(), ids=" ".join)
def test_only_a_regular_file_is_read(arguments, no_file, populated):
    found = program(*arguments, no_file)
    assert re.fullmatch(rf"CommandError: {no_file} cannot be read: {NO_FILE}\.\n", found.err)
    assert found.code == (2 if "verify" in arguments else 1)


@pytest.mark.parametrize("arguments", [*WRITES.values(), ["stubs", "--check", "-o"]], ids=" ".join)
def test_only_a_regular_file_is_written(arguments, no_file, populated):
    before = os.lstat(no_file)
    found = program(*arguments, no_file)
    assert re.fullmatch(rf"CommandError: {no_file} cannot be (used|written): {NO_FILE}\.\n", found.err)
    assert found.code == 1
    after = os.lstat(no_file)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.parametrize("arguments", [*READS.values(), *WRITES.values()], ids=" ".join)
def test_a_name_that_no_file_can_have_is_told(arguments, populated):
    for odd in ("x" * 300, "manifest.json/below", ""):
        found = program(*arguments, odd)
        assert re.fullmatch(r"CommandError: .* cannot be (read|used|written): .*\.\n", found.err), odd


@pytest.mark.parametrize("arguments", WRITES.values(), ids=" ".join)
def test_a_file_is_replaced_whole_or_not_at_all(arguments, populated, tmp_path, monkeypatch):
    def fill(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "target").write_text("before")
    monkeypatch.setattr(Path, "write_text", fill)
    found = program(*arguments, "target")
    assert found.err == "CommandError: target cannot be written: No space left on device.\n"
    assert (tmp_path / "target").read_text() == "before"
    assert not list(tmp_path.glob(".dispatch-*"))


@pytest.mark.parametrize("arguments", WRITES.values(), ids=" ".join)
def test_a_file_keeps_its_permissions_and_its_link(arguments, populated, tmp_path):
    (tmp_path / "target").write_text("")
    (tmp_path / "target").chmod(0o640)
    (tmp_path / "link").symlink_to("target")
    assert program(*arguments, "link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o640
    assert (tmp_path / "target").read_text() == program(*arguments, "-").out


@pytest.mark.parametrize(
    ("name", "most"), [("config import", document.LONGEST), ("manifest sync", manifest.LONGEST)]
)
def test_standard_input_is_read_no_further_than_a_document_may_be_long(name, most, populated, monkeypatch):
    class Endless(io.StringIO):
        def read(self, size=-1):
            asked.append(size)
            return " " * size

    asked = []
    monkeypatch.setattr(sys, "stdin", Endless())
    found = program(*name.split(), "-")
    assert asked == [most + 1]
    assert re.fullmatch(r"CommandError: standard input: .* characters.*is it the right file\?\n", found.err)


# -- values without end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [json.dumps, str], ids=["text", "document"])
@pytest.mark.parametrize("depth", [30, 65, 900, 100_000])
def test_a_constant_nested_without_end_is_refused_when_it_is_imported(depth, where, populated, tmp_path):
    value = "[" * depth + "]" * depth
    argument = f'{{"parameter": "text", "source": "constant", "value": {where(value)}}}'
    text = (
        '{"configuration": 1, "triggers": [{"name": "deep", "model": "notes.note", "events": ["created"], '
        f'"task": "{TASK}", "arguments": [{argument}]}}]}}'
    )
    (tmp_path / "configuration.json").write_text(text)
    for format_ in ("text", "json"):
        found = run("config import", "--dry-run", "--format", format_)
        assert found.code == (0 if depth == 30 else 1)
        assert found.code == 0 or re.fullmatch(r"CommandError: configuration.json: .{1,1500}\n", found.err)


@pytest.mark.parametrize("pk", ["9" * 30, "9" * 5000, "x", "", "[" * 5000, "-1", "1e9", "nan"], ids=range(8))
def test_a_key_that_no_object_can_have_is_told(pk, db):
    trigger = make_trigger(make_registry(), "updated", name="changed", model="notes.tag")
    trigger.arguments.filter(value="body").update(value="name")
    found = program("triggers", "preview", "changed", "--model=notes.tag", "--", pk)
    assert found.code == 1
    assert re.fullmatch(r"CommandError: There is no notes.tag with the primary key .*\n", found.err)


@pytest.mark.parametrize("limit", ["9" * 30, "9" * 5000, "0", "-1", "x", "1e3"], ids=range(6))
def test_a_limit_that_no_broker_takes_is_refused(limit, populated, capsys):
    assert program("queues", "peek", "llm", f"--limit={limit}").code == 2
    assert "argument --limit: 1 to 10000" in capsys.readouterr().err
