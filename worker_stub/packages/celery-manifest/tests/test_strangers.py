from __future__ import annotations

import ast
import sys
from importlib import metadata
from pathlib import Path

import pytest

import celery_manifest

PACKAGE = Path(celery_manifest.__file__).parent
ALLOWED = set(sys.stdlib_module_names) | {
    "celery_manifest", "celery", "kombu", "click", "pydantic", "pydantic_core"
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_modules_import_celery_and_pydantic_and_nothing_else(path):
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    assert {name.partition(".")[0] for name in names} <= ALLOWED


def test_what_is_installed_with_it_is_celery_and_pydantic():
    required = [each for each in metadata.requires("celery-manifest") or () if "extra" not in each]
    assert sorted(each.partition(">")[0] for each in required) == ["celery", "pydantic"]


def test_its_types_are_for_others_to_use():
    assert (PACKAGE / "py.typed").is_file()
