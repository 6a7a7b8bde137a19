"""How much pyright knows of the public names' types, for users who have django-stubs and celery-types."""

from __future__ import annotations

import pytest

from tests.support import pyright

#: The share of the public names whose types are known.
LEAST = {"dispatch.api": 1, "dispatch.testing": 0.95}


@pytest.mark.parametrize("module", LEAST)
def test_the_types_of_public_names_are_known_to_pyright(module: str) -> None:
    found = pyright.report("--ignoreexternal", "--verifytypes", module)["typeCompleteness"]
    unknown = [
        each["name"] for each in found["symbols"] if not each["isTypeKnown"] or each["isTypeAmbiguous"]
    ]
    assert found["packageRootDirectory"] == str(pyright.ROOT / "dispatch")
    assert found["completenessScore"] >= LEAST[module], unknown
