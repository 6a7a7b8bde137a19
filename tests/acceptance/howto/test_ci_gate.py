"""The how-to on the CI gate, followed literally, with two clones of the worker's repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clones import CELERY, Clone, clone
from tests.support.how_to import Block, blocks

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
GATE = "sh contract/gate.sh"
*AGREED, CHANGED = [block for block in blocks("ci-gate") if block.language != "text"]

Ended = list[tuple[str, int, str]]


class Team:
    """Two repositories side by side: the worker's, and a web project."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.worker = Clone(directory / "worker")
        self.web = directory / "web"

    def found(self) -> None:
        """Make both repositories."""
        clone(self.worker.directory)
        self.web.mkdir()
        shutil.copy(ROOT / "manage.py", self.web)
        (self.web / "settings.py").write_text("from project.settings import *\n")
        assert self.run("web", "python manage.py migrate --verbosity 0").returncode == 0

    def second_clone(self) -> Clone:
        """Put a second clone, a later commit, in the place of the first."""
        shutil.rmtree(self.worker.directory)
        self.worker = clone(self.directory / "worker")
        return self.worker

    def run(self, where: str, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self.directory / where,
            env=self._environment(where),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    def _environment(self, where: str) -> dict[str, str]:
        base = {k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "DJANGO_", "PYTHON"))}
        binaries = CELERY.parent if where == "worker" else Path(sys.executable).parent
        base["PATH"] = f"{binaries}{os.pathsep}{base['PATH']}"
        if where == "worker":
            return self.worker.environment(base)
        return base | {
            "DJANGO_SETTINGS_MODULE": "settings",
            "DATABASE_URL": f"sqlite:///{self.web}/web.sqlite3",
            "BROKER_URL": "redis://nobody.invalid:6379/0",
            "PYTHONPATH": f"{self.web}{os.pathsep}{ROOT}",
        }


def follow(team: Team, *part: Block) -> Ended:
    """Do what a part of the page says; return the end of each command: itself, its exit code, its output."""
    done = []
    for block in part:
        if block.language == "sh":
            (team.web / block.file).write_text(block.text, encoding="utf-8")
        for where, command, output in block.commands("(worker|web)"):
            ended = team.run(where, command)
            assert not output or ended.stdout == output, f"{command}\n{ended.stdout}"
            done.append((command, ended.returncode, ended.stdout))
    return done


@pytest.fixture(scope="module")
def first_clone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Follow the page up to the change, once for all tests; return where, and what came of it."""
    team = Team(tmp_path_factory.mktemp("agreed"))
    team.found()
    return team.directory, follow(team, *AGREED)


@pytest.fixture
def team(first_clone: tuple[Path, Ended], tmp_path: Path) -> Team:
    """Both repositories as they are where the page comes to the change."""
    shutil.copytree(first_clone[0], tmp_path, dirs_exist_ok=True)
    return Team(tmp_path)


def rename_a_task(worker: Clone) -> None:
    worker.edit("tasks/llm.py", "worker.tasks.llm.summarize_note", "worker.tasks.llm.summarise_note")


def drop_a_parameter(worker: Clone) -> None:
    worker.edit("tasks/ops.py", '    reason: str = "no reason was given",\n', "")
    worker.edit("tasks/ops.py", "failed on demand: {reason}", "failed on demand")


def move_a_queue(worker: Clone) -> None:
    worker.move_queue("stt", "speech")


def test_with_the_first_clone_the_gate_passes(first_clone: tuple[Path, Ended]) -> None:
    ended = first_clone[1]
    assert [code for _, code, _ in ended] == [0] * 9
    assert ended[-1][0] == GATE


def test_with_the_second_clone_the_gate_names_each_of_three_changes_and_stops(team: Team) -> None:
    second = team.second_clone()
    second.release("0.2.0")
    for change in (rename_a_task, drop_a_parameter, move_a_queue):
        change(second)
    *publishing, (command, code, output) = follow(team, CHANGED)
    assert [code for _, code, _ in publishing] == [0, 0]
    assert (command, code) == (GATE, 1)
    for what in (
        r"C004  error    worker\.tasks\.llm\.summarize_note",
        r"parameter 'reason' is gone",
        r"C033  error    speech",
        r"C031  error    stt",
    ):
        assert re.search(what, output), output


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (rename_a_task, ["C001", "C004", "C005"]),
        (drop_a_parameter, ["C008", "C011", "C011"]),
        (move_a_queue, ["C031", "C033"]),
    ],
)
def test_each_change_alone_stops_the_gate(
    team: Team, change: Callable[[Clone], None], found: list[str]
) -> None:
    change(team.second_clone())
    for where, command in (
        ("worker", "celery -A worker manifest -o manifest.json"),
        ("web", "cp ../worker/manifest.json manifest.json"),
    ):
        assert team.run(where, command).returncode == 0
    ended = team.run("web", GATE)
    assert ended.returncode == 1
    assert re.findall(r"^(C\d{3})  ", ended.stdout, flags=re.MULTILINE) == found
