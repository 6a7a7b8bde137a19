"""The worker and the web project share names and two JSON files, nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import worker

PACKAGE = Path(worker.__file__).parent
ALLOWED = set(sys.stdlib_module_names) | {"worker", "celery", "celery_manifest", "kombu", "pydantic"}


@pytest.mark.parametrize("name", ["django", "django_celery_results", "dispatch", "project"])
def test_nothing_of_the_web_project_can_be_imported(name, tmp_path):
    # -P and an empty folder: otherwise the checkout around this one would be on the path.
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is not None)"
    done = subprocess.run([sys.executable, "-P", "-E", "-c", code], cwd=tmp_path, timeout=60)
    assert done.returncode == 0, f"{name} can be imported by the worker"


def test_no_django_distribution_is_installed():
    installed = {distribution.name.lower() for distribution in metadata.distributions()}
    assert "celery" in installed
    assert [name for name in installed if "django" in name] == []


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_modules_import_only_what_this_repo_declares(path):
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    assert {name.partition(".")[0] for name in names} <= ALLOWED


def test_importing_the_package_reads_no_configuration(tmp_path):
    environ = {"ROUTING_FILE": "nowhere.json", "BROKER_URL": "filesystem://"}
    code = "import worker, worker.routing, worker.summary"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, env=environ, timeout=60)
    assert done.returncode == 0
