"""Copies of the worker's repository that are changed, as another commit of it would be."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispatch.core.manifest import sealed

REPOSITORY = Path(__file__).resolve().parents[2] / "worker_stub"
CELERY = REPOSITORY / ".venv" / "bin" / "celery"


@dataclass(frozen=True)
class Clone:
    """A copy of ``worker_stub/`` without its virtualenv, which it runs with all the same."""

    directory: Path

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file of the package; it must be there."""
        path = self.directory / "worker" / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {path}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def release(self, version: str) -> None:
        """Give the package another version."""
        self.edit("__init__.py", '__version__ = "0.1.0"', f'__version__ = "{version}"')

    def move_queue(self, old: str, new: str) -> None:
        """Give a queue of the packaged routing another name."""
        path = self.directory / "worker" / "routing.json"
        document: dict[str, Any] = json.loads(
            path.read_text(encoding="utf-8").replace(f'"{old}"', f'"{new}"')
        )
        path.write_text(sealed(document), encoding="utf-8")

    def environment(self, base: dict[str, str]) -> dict[str, str]:
        """Return an environment in which this copy is the package ``worker``."""
        return {name: value for name, value in base.items() if name != "ROUTING_FILE"} | {
            "PYTHONPATH": str(self.directory),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *arguments: str, base: dict[str, str]) -> str:
        """Run Celery's command line in this repository, and return what it printed."""
        done = subprocess.run(
            [CELERY, *arguments],
            cwd=self.directory,
            env=self.environment(base),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
        return done.stdout


def clone(directory: Path) -> Clone:
    """Copy the worker's repository into a directory that does not exist yet."""
    ignored = shutil.ignore_patterns(".venv", "__pycache__", "*.egg-info", ".*_cache")
    shutil.copytree(REPOSITORY, directory, ignore=ignored)
    return Clone(directory)
