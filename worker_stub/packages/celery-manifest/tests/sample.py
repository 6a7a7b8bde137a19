"""An app with a task of every kind; `python sample.py` writes its manifest."""

from __future__ import annotations

import datetime
import decimal
import enum
import sys
import uuid
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NotRequired

from celery import Celery
from kombu import Exchange, Queue
from pydantic import BaseModel, Field, SecretStr
from typing_extensions import TypedDict  # pydantic refuses that of `typing` before Python 3.12

from celery_manifest import build, encode

if TYPE_CHECKING:
    from fractions import Fraction

LETTERS = frozenset("abcdefghijklmnop")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """How loud."""

    QUIET = 1
    LOUD = 9


class Author(BaseModel):
    """Who wrote it."""

    name: str
    friends: list[Author] = []
    tags: frozenset[str] = LETTERS


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    born: datetime.date = Field(alias="bornOn")


@dataclass
class Point:
    x: int
    y: float = 0.0
    marks: frozenset[str] = field(default=LETTERS)


class Box(TypedDict):
    width: int
    label: NotRequired[str]


class Span(NamedTuple):
    start: int
    end: int = 0


app = Celery("sample", broker="redis://127.0.0.1:1/0", set_as_current=False)
app.conf.task_queues = [
    Queue("slow", Exchange("slow"), max_length=5, queue_arguments={"x-queue-type": "quorum"}),
    Queue("fast", durable=False, max_priority=9),
]


@app.task(name="sample.plain")
def plain(
    number: int,
    ratio: float,
    text: str,
    flag: bool,
    nothing: None,
    anything,
    when: datetime.datetime,
    day: datetime.date,
    clock: datetime.time,
    wait: datetime.timedelta,
    key: uuid.UUID,
    price: decimal.Decimal,
    raw: bytes,
) -> None: ...


@app.task(name="sample.containers")
def containers(
    names: set[str],
    pairs: dict[str, list[int]],
    pair: tuple[int, str],
    span: Span,
    box: Box,
    letters: frozenset[str] = LETTERS,
    mixed: Any = {"b": LETTERS, "a": [LETTERS, {1, "x", (2, 3)}]},  # noqa: B006
) -> list[Box]:
    """Take what holds other things.

    More than one paragraph.
    """
    return []


@app.task(name="sample.choices")
def choices(
    colour: Colour,
    level: Level = Level.LOUD,
    mode: Literal["b", "a", 3] = "b",
    either: int | str | None = None,
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None,
) -> Colour | None: ...


@app.task(name="sample.models", bind=True, pydantic=True, autoretry_for=(OSError,), rate_limit="10/m")
def models(self, author: Author, dog: Dog, point: Point = Point(1)) -> Dog: ...  # noqa: B008


@app.task(name="sample.calls", priority=None, time_limit=60, expires=datetime.timedelta(hours=1))
def calls(first: int, second: str = "x", /, third: int = 3, *rest: float, only: bool, **more: Author): ...


@app.task(name="sample.unknown")
def unknown(good: int, hidden: Fraction, last: list[Fraction] = ()) -> Fraction: ...


@app.task(name="sample.secret", sensitive={"pin", "code"}, deprecated="use sample.plain", ignore_result=True)
def secret(token: SecretStr, pin: str = "0000", code: int = 0, visible: str = "yes") -> str: ...


class Resize(app.Task):
    """Resize a picture."""

    name = "sample.resize"
    deprecated = True

    def run(self, width: int, *, crop: bool = False) -> dict[str, Any]: ...


app.register_task(Resize())


if __name__ == "__main__":
    warnings.simplefilter("error")
    sys.stdout.buffer.write(encode(build(app, "1.0")))
