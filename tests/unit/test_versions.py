"""What pyproject.toml and the README promise is what `make matrix` runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_database

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOXFILE = (ROOT / "noxfile.py").read_text()
PAIRS = re.findall(r'\("(3\.\d+)", "(\d\.\d)"\)', NOXFILE)


def classified(of: str) -> list[str]:
    return [
        found[1] for each in PROJECT["classifiers"] if (found := re.fullmatch(rf"{of} :: (\d\.\d+)", each))
    ]


def test_the_classifiers_name_the_versions_of_python_and_django_that_the_matrix_runs() -> None:
    assert PAIRS, "The pairs are written otherwise now: read them so."
    pythons, djangos = zip(*PAIRS, strict=True)
    assert (classified("Programming Language :: Python"), classified("Framework :: Django")) == (
        list(pythons),
        list(djangos),
    )


def test_the_oldest_versions_that_the_distribution_takes_are_those_that_the_matrix_runs() -> None:
    oldest = dict(re.findall(r'"(Django|celery)==(\d\.\d)\.\*"', NOXFILE))
    required = dict(
        re.findall(r"(Django|celery)(?:\[redis\])?>=(\d\.\d)", "\n".join(PROJECT["dependencies"]))
    )
    assert (required, PROJECT["requires-python"]) == (oldest, f">={PAIRS[0][0]}")


def test_the_readme_promises_the_same() -> None:
    (first, *_, last), djangos = zip(*PAIRS, strict=True)
    promise = f"Python {first} to {last}, Django {', '.join(djangos[:-1])} and {djangos[-1]} "
    assert promise in (ROOT / "README.md").read_text()
