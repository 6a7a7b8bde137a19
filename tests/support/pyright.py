"""pyright, in the distribution that brings all it needs; it reads what the first interpreter on the path has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def command() -> str:
    """Return the file that is run; the test is skipped without it, or without the types of Django and Celery."""
    try:
        version("django-stubs"), version("celery-types")
    except PackageNotFoundError as error:
        pytest.skip(f"{error.name}, of requirements/test.txt, is not installed")
    return shutil.which("basedpyright", path=PATH) or pytest.skip("basedpyright is not installed")


def report(*arguments: str, folder: Path = ROOT) -> Any:
    """Return what pyright finds, as its JSON has it."""
    done = subprocess.run(
        [command(), "--outputjson", *arguments],
        cwd=folder,
        env=os.environ | {"PATH": PATH, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,  # it fails for anything that it finds
    )
    return json.loads(done.stdout)
