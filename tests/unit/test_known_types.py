"""How much pyright knows of the public names' types, for users who have django-stubs and celery-types."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What pyright reads is what the first interpreter on the path has.
SEARCHED = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
#: The share of the public names whose types are known.
LEAST = {"dispatch.api": 1, "dispatch.exceptions": 1, "dispatch.testing": 0.95}


@pytest.fixture(scope="module")
def pyright() -> str:
    try:
        version("django-stubs"), version("celery-types")
    except PackageNotFoundError as error:
        pytest.skip(f"{error.name}, of requirements/lint.txt, is not installed")
    return shutil.which("pyright", path=SEARCHED) or pytest.skip("pyright is not installed")


@pytest.mark.parametrize("module", LEAST)
def test_the_types_of_public_names_are_known_to_pyright(module: str, pyright: str) -> None:
    done = subprocess.run(
        [pyright, "--ignoreexternal", "--outputjson", "--verifytypes", module],
        env=os.environ | {"PATH": SEARCHED, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,  # it fails for anything that is not known
    )
    found = json.loads(done.stdout)["typeCompleteness"]
    unknown = [
        each["name"] for each in found["symbols"] if not each["isTypeKnown"] or each["isTypeAmbiguous"]
    ]
    assert found["packageRootDirectory"] == str(ROOT / "dispatch")
    assert found["completenessScore"] >= LEAST[module], unknown
