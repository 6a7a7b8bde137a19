"""Beside packages that have models of their own kind triggers fire as they do beside none, once for each row."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import DATABASES
from tests.support.stacks import fresh_database

pytestmark = pytest.mark.slow

APPS = "polymorphic simple_history safedelete tests.support.beside.archive"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["sqlite", *DATABASES])
def test_triggers_fire_beside_polymorphic_simple_history_and_safedelete(
    database: str, tmp_path: Path
) -> None:
    inner = Path(__file__).with_name("models_beside.py")
    flags = ["-q", "-p", "no:cacheprovider", "--ds", "tests.support.beside.settings"]
    with fresh_database(database, tmp_path) as url:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *flags, inner],
            env={**os.environ, "BESIDE": APPS, "DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "21 passed" in done.stdout
