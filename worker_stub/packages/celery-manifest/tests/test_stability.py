"""The same code gives the same bytes in every process, whatever its hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

HERE = Path(__file__).parent
#: Later versions of pydantic may describe the same types in other words.
WRITTEN_WITH = "2.14"


def manifest_bytes(seed: str) -> bytes:
    environ = os.environ | {"PYTHONHASHSEED": seed}
    command = [sys.executable, str(HERE / "sample.py")]
    return subprocess.run(command, env=environ, capture_output=True, check=True, timeout=60).stdout


def test_every_hash_seed_gives_the_same_bytes():
    assert len({manifest_bytes(seed) for seed in ("0", "1", "2", "3")}) == 1


@pytest.mark.skipif(
    not metadata.version("pydantic").startswith(WRITTEN_WITH),
    reason=f"sample.json is of pydantic {WRITTEN_WITH}",
)
def test_every_python_gives_the_bytes_of_the_recorded_manifest():
    """Run under each Python that a worker may have; `python sample.py > sample.json` records it anew."""
    assert manifest_bytes("random") == (HERE / "sample.json").read_bytes()
