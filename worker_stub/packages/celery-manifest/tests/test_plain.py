from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid

import pytest
from pydantic import BaseModel

from celery_manifest.plain import plain


class Colour(enum.Enum):
    RED = "red"


class Author(BaseModel):
    name: str
    tags: frozenset[str] = frozenset()


@dataclasses.dataclass
class Point:
    x: int
    marks: frozenset[str] = frozenset("ba")
    inner: Author | None = None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, None),
        ((1, 2), [1, 2]),
        (frozenset("cab"), ["a", "b", "c"]),
        ({1, "a", (2, frozenset({4, 3}))}, ["a", 1, [2, [3, 4]]]),
        ({"b": {2, 1}}, {"b": [1, 2]}),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.50"), "1.50"),
        (Colour.RED, "red"),
        (Author(name="x", tags=frozenset("ba")), {"name": "x", "tags": ["a", "b"]}),
        (
            Point(1, inner=Author(name="x")),
            {"x": 1, "marks": ["a", "b"], "inner": {"name": "x", "tags": []}},
        ),
    ],
    ids=repr,
)
def test_values_become_the_json_of_their_type(value, said):
    assert plain(value) == said


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "value", [object(), float("nan"), float("inf"), print, "\ud800", {(1, 2): 3}, CIRCLE, Point]
)
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(ValueError):  # noqa: PT011  # each has its own message
        plain(value)
