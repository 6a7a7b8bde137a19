"""Capabilities and guarantees name the tests that prove what they promise: they are there, where the links lead."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CAPABILITIES = ROOT / "docs" / "capabilities.md"
TEXT = CAPABILITIES.read_text("utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in TEXT.splitlines()
    if re.match(r"\| [A-G]\d+ \|", line)
]
LINK = re.compile(r"\[((?:worker_stub/(?:packages/[\w-]+/)?)?tests/[^\]]+)\]\(([^)]+)\)")
GUARANTEES = ROOT / "docs" / "explanation" / "guarantees.md"
NAMED = sorted(
    {
        (page.parent, *found)
        for page in (CAPABILITIES, GUARANTEES)
        for found in LINK.findall(page.read_text("utf-8"))
    }
)


@cache
def known_in(path: Path) -> frozenset[str]:
    """Return the names of a module's tests, those of its classes as pytest writes them."""
    found = ast.parse(path.read_text(encoding="utf-8")).body
    classes = [node for node in found if isinstance(node, ast.ClassDef)]
    methods = {f"{node.name}::{name}" for node in classes for name in names(node.body)}
    return frozenset(methods | names(found))


def names(body: list[ast.stmt]) -> set[str]:
    return {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize(
    ("folder", "test", "link"), NAMED, ids=[f"{folder.name}-{test}" for folder, test, _ in NAMED]
)
def test_a_test_that_is_named_exists_where_the_link_leads(folder, test, link):
    file, _, name = test.partition("::")
    assert (folder / link).resolve() == ROOT / file
    assert name.partition("[")[0] in known_in(ROOT / file), f"{file} has no such test."


def test_every_id_in_the_column_of_tests_was_looked_at():
    for number, *_, proof in ROWS:
        assert proof.count("::") == len(LINK.findall(proof)), number


def test_what_works_or_works_partly_names_a_test_and_what_is_to_come_names_none():
    for number, _, state, proof in ROWS:
        assert re.match(r"works|partly|later", state), number
        assert bool(LINK.search(proof)) is not state.startswith("later"), number


def test_every_row_is_seen():
    assert [row[0] for row in ROWS] == [
        f"{table}{number}"
        for table, last in zip("ABCDEFG", (17, 14, 6, 12, 13, 8, 9), strict=True)
        for number in range(1, last + 1)
    ]
