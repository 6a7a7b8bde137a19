"""Beside apps that change the admin every page answers, and its buttons work; pictures go to ``var/screenshots/``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import servers

pytestmark = [pytest.mark.slow, pytest.mark.one_database]

APPS = {
    "django-unfold": "unfold unfold.contrib.import_export import_export",
    "django-jazzmin": "jazzmin",
    "django-import-export": "import_export",
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("apps", APPS.values(), ids=APPS)
def test_the_admin_works_beside(apps: str, tmp_path: Path) -> None:
    if not servers.CHROMIUM:
        servers.missing("Chromium was not found")
    environment = {
        **os.environ,
        "BESIDE": apps,
        "DATABASE_URL": f"sqlite:///{tmp_path}/web.sqlite3",
        "PYTHONWARNINGS": "ignore",  # of others
    }
    inner = Path(__file__).with_name("pages_beside.py")
    flags = ["-q", "-p", "no:cacheprovider", "-W", "ignore", "--ds", "tests.support.beside.settings"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *flags, inner],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
