"""What mypy says of the generated module, and of code that uses it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dispatch.contract.typed_stubs import module
from tests.support import pyright
from tests.support.offers import OFFERS

ROOT = Path(__file__).parents[3]
GOOD = """
import datetime as dt
import uuid
from decimal import Decimal
from typing import Any, assert_type

from celery.result import AsyncResult
from dispatch.api import Call, SendOptions, SentMessage, result, send_many, send_task
from dispatch.models import OutboxMessage
import typed_tasks as tasks

note, now = uuid.uuid4(), dt.datetime.now(dt.UTC)
texts: list[str] = []
message: OutboxMessage = tasks.everything(note, now)
tasks.everything(str(note), now.isoformat(), Decimal(1), tags=texts, weights={"a": 1})
tasks.everything(note=note, when=now, color="green", pair=(2, "b"), address=None, mode="not at all")
address: tasks.Address = {"street": "x", "date": dt.date.today(), "next": {"street": "y"}}
tasks.post_send(address)
tasks.everything(note, now, address=address, header={"from": "x", "a-b": "y"}, tree=["a", ["b"]], anything=object())
tasks.positions(1, "b", 2, 3, 4, more=True)
urgent: SendOptions = {"priority": 9}
tasks.flags.with_options(**urgent).with_options(countdown=60)(urgent=True, from_="x")
calls: list[Call] = [tasks.flags.call(urgent=True)]
send_many(calls)
name: str = tasks.POST_SEND
found = result(tasks.everything(note, now)).get()
assert_type(found, dict[str, list[tasks.Address]])
street: str = found["home"][0]["street"]
sent: SentMessage[int | None] = tasks.flags.with_options(priority=9)(urgent=True)
assert_type(result(sent), AsyncResult[int | None])
assert_type(result(tasks.mail_send("a@example.org")), AsyncResult[None])  # type: ignore[deprecated]
assert_type(result(tasks.positions(1)), AsyncResult[Any])
assert_type(tasks.positions(1).status, str)
assert_type(result(send_task(name)), AsyncResult[Any])
assert_type(result(OutboxMessage.objects.get(pk=note)), AsyncResult[Any])
assert_type(result(note), AsyncResult[Any])


async def send() -> SentMessage[int | None]:
    return await tasks.flags.asend(urgent=True)


def of_any(sent: SentMessage[dict[str, Any]]) -> None:
    assert_type(result(sent), AsyncResult[dict[str, Any]])
"""
HEAD = [
    "import datetime as dt, uuid",
    "import typed_tasks as tasks",
    "from dispatch.api import result",
    "note, now = uuid.uuid4(), dt.datetime.now(dt.UTC)",
]
# Each of them is a mistake of its own, and the part of mypy's message that tells of it.
BAD = {
    "tasks.everything(7, now)": 'incompatible type "int"; expected "str | UUID"',
    "tasks.everything(note)": 'Missing positional argument "when"',
    "tasks.everithing(note, now)": 'has no attribute "everithing"',
    "tasks.EVERITHING": 'has no attribute "EVERITHING"',
    "tasks.everything(note, now, tag=[])": 'Unexpected keyword argument "tag"',
    "tasks.everything(note, now, tags='abc')": 'incompatible type "str"; expected "Array[str]"',
    "tasks.everything(note, now, tags=[1])": "list-item",
    "tasks.everything(note, now, tags={'a': 'b'})": 'expected "Array[str]"',
    "tasks.everything(note, now, tags=b'abc')": 'expected "Array[str]"',
    "tasks.everything(note, now, color='blue')": "expected \"Literal['red', 'green']\"",
    "tasks.everything(note, now, pair=(1, 2))": 'expected "tuple[int, str]"',
    "tasks.everything(note, now, weights={'a': 'b'})": 'expected "str": "float"',
    "tasks.everything(note, now, amount=None)": 'incompatible type "None"',
    "tasks.everything(note, now, tree=[1])": "list-item",
    "tasks.post_send({'stret': 'x'})": 'Missing key "street"',
    "tasks.post_send({'street': 1})": "typeddict-item",
    "tasks.positions(a=1)": "Too few arguments",
    "tasks.flags(True)": "Too many positional arguments",
    "tasks.flags.call()": 'Missing named argument "urgent"',
    "tasks.flags.with_options(countdwn=1)": 'Unexpected keyword argument "countdwn"',
    "tasks.flags.with_options(priority='high')": 'incompatible type "str"',
    "result(tasks.flags(urgent=True)).get() + 1": 'Left operand is of type "int | None"',
    "result(tasks.everything(note, now)).get()['home'][0]['stret']": 'has no key "stret"',
    "tasks.mail_send('a@example.org')": "deprecated: use worker.post.send",
}


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """What mypy --strict says of each line of the bad code, and of the other files."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "typed_tasks.py").write_text(module(OFFERS), encoding="utf-8")
    (folder / "good.py").write_text(GOOD)
    (folder / "bad.py").write_text("\n".join([*HEAD, *BAD, ""]))
    found: dict[tuple[str, int], str] = {}
    for line in check(folder, "typed_tasks.py", "good.py", "bad.py").splitlines():
        if match := re.match(r"(\w+\.py):(\d+): (?:error|note): (.*)", line):
            key = (match[1], int(match[2]))
            found[key] = f"{found.get(key, '')}{match[3]}\n"
    return found


def check(folder: Path, *names: str) -> str:
    settings = folder / "mypy.ini"
    settings.write_text(f"[mypy]\nstrict = true\nfollow_imports = silent\nmypy_path = {ROOT}:{folder}\n")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(settings),
        "--enable-error-code",
        "deprecated",
    ]
    cache = ROOT / ".mypy_cache" / "stubs"
    done = subprocess.run(
        [*command, "--cache-dir", str(cache), *names], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["typed_tasks.py", "good.py"])
def test_mypy_accepts_the_module_and_its_right_use(name, errors):
    assert {key: text for key, text in errors.items() if key[0] == name} == {}


@pytest.mark.parametrize("code", BAD)
def test_mypy_refuses_its_wrong_use(code, errors):
    number = len(HEAD) + 1 + list(BAD).index(code)
    assert BAD[code] in errors.get(("bad.py", number), "no error")


def test_pyright_accepts_the_module_and_its_right_use(tmp_path):
    (tmp_path / "typed_tasks.py").write_text(module(OFFERS), encoding="utf-8")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    assert pyright.report(folder=tmp_path)["generalDiagnostics"] == []
