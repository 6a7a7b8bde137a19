"""The project that the pages go on from: the tutorial's, as its reader has it at the end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.tutorial import Project


@pytest.fixture(scope="session")
def finished_tutorial(tmp_path_factory: pytest.TempPathFactory, redis_server: str) -> Path:
    project = Project(tmp_path_factory.mktemp("tutorial"), f"{redis_server}/2", f"{redis_server}/4")
    project.make()
    return project.directory


@pytest.fixture
def project(finished_tutorial: Path, tmp_path: Path, redis_url: str, results_url: str) -> Project:
    """A copy of it, with an empty broker and an empty result backend. None of its processes runs."""
    shutil.copytree(finished_tutorial, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path, redis_url, results_url)
