"""The one rule by which Python values become JSON, and JSON pointers."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from dispatch.core.ranges import as_object, is_range
from dispatch.core.redaction import UNSENDABLE
from dispatch.exceptions import InvalidArguments

DEPTH = 64  # levels of lists and objects; JSON readers give up somewhere, Python's at about 1,000
LONGEST_NUMBER = 14_000  # bits; Python neither writes nor reads numbers of more than 4,300 digits
LARGE = 1 << 63  # beyond, a number's digits are worth counting
CONTAINERS = frozenset([dict, list, tuple])
TEXTS: Mapping[type, Callable[[Any], str]] = {
    uuid.UUID: str,
    **dict.fromkeys([dt.datetime, dt.date, dt.time], lambda value: value.isoformat()),
}
Number = TypeVar("Number", float, decimal.Decimal)
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def to_json(value: Any) -> str:
    """Return the JSON text of a value that :func:`plain` returned."""
    return _encoder.encode(value)


def plain(value: Any, pointer: str = "") -> Any:
    """Return ``value`` in JSON's own types, by one rule for the whole project.

    Strings, booleans, None, whole numbers and finite floats stay; lists and tuples become arrays; mappings
    with string keys become objects; dates, times, UUIDs and Decimals become their ISO or decimal text; an enum
    its value; a lazy translation or object what it stands for; a range of PostgreSQL an object.

    Raises InvalidArguments, with the JSON pointer, for what a worker could not read back: NaN, infinities, NUL,
    lone surrogates, keys that are not strings, other types, more than 64 levels of nesting, and the
    ``__type__``/``__value__`` pair that kombu's decoder takes for its own.
    """
    return _plain(value, pointer, DEPTH)


def check_size(args: str, kwargs: str, most: int) -> None:
    """Raise InvalidArguments if two JSON texts are longer than ``most`` bytes together, naming the largest argument."""
    if 4 * (len(args) + len(kwargs)) <= most:
        return  # no character takes more than 4 bytes
    size = len(args.encode()) + len(kwargs.encode())
    if size <= most:
        return
    sizes = dict(_sizes("/args", enumerate(json.loads(args))))
    sizes |= _sizes("/kwargs", json.loads(kwargs).items())
    pointer = max(sizes, key=sizes.__getitem__)
    raise InvalidArguments(
        f'the arguments take {size:,} bytes as JSON, and DISPATCH["MAX_ARGUMENTS_SIZE"] allows {most:,}; the largest '
        f"is at {pointer} ({sizes[pointer]:,} bytes): store it where the worker can read it, and send its key.",
        pointer,
    )


def _sizes(root: str, items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, int]]:
    for step, value in items:
        yield f"{root}/{escape(str(step))}", len(to_json(value).encode())


def _plain(value: Any, pointer: str, room: int) -> Any:
    if value is None or value is True or value is False:
        return value
    if (convert := TEXTS.get(type(value))) is not None:  # before the questions below, which take longer
        return convert(value)
    if type(value) in CONTAINERS:
        return _container(value, pointer, room - 1)
    if _is_lazy(value):
        return _plain(_evaluated(value, pointer), pointer, room)
    if isinstance(value, enum.Enum):
        return _plain(value.value, pointer, room)
    if isinstance(value, int):
        return _whole(value, pointer)
    if isinstance(value, str):
        return _text(value, pointer)
    if isinstance(value, float):
        return float(_finite(value, pointer))
    if isinstance(value, (Mapping, list, tuple)):
        return _container(value, pointer, room - 1)
    return _converted(value, pointer, room)


def _is_lazy(value: Any) -> bool:
    """Tell whether a value stands for another: Django's lazy translations and objects, told without importing it."""
    return type(value) is not value.__class__ or type(value).__name__ == "__proxy__"


def _evaluated(value: Any, pointer: str) -> Any:
    if hasattr(value, "_proxy____cast"):  # a lazy translation, evaluated as Django's fields do
        return value._proxy____cast()
    if hasattr(value, "_wrapped"):  # a lazy object, which asking for its class has evaluated
        return value._wrapped
    raise _unfit(value, pointer)


def _container(value: Mapping[Any, Any] | Sequence[Any], pointer: str, room: int) -> Any:
    if room < 0:
        raise InvalidArguments(
            f"the value at {pointer} contains itself, or is nested more than {DEPTH} levels deep: send less of it.",
            pointer,
        )
    if isinstance(value, (dict, Mapping)):  # a dict is told faster from itself
        return _object(value, pointer, room)
    return [
        item if _is_plain(item) else _plain(item, f"{pointer}/{index}", room)
        for index, item in enumerate(value)
    ]


def _is_plain(value: Any) -> bool:
    """Tell of the most common values, quickly and without their pointer, that JSON takes them as they are."""
    kind = type(value)
    if kind is str:
        return "\0" not in value if value.isascii() else UNSENDABLE.search(value) is None
    return value is None or kind is bool or (kind is int and -LARGE < value < LARGE)


def escape(token: str) -> str:
    """Escape one step of a JSON pointer (RFC 6901, section 3)."""
    return token.replace("~", "~0").replace("/", "~1")


def unescape(token: str) -> str:
    """Undo :func:`escape`."""
    return token.replace("~1", "/").replace("~0", "~")


def _text(value: str, pointer: str, what: str = "the text") -> str:
    if found := UNSENDABLE.search(value):
        raise InvalidArguments(
            f"{what} at {pointer or '/'} holds {found.group()!r}, which no JSON reader accepts: remove it.",
            pointer,
        )
    return str(value)


def _whole(value: int, pointer: str) -> int:
    if value.bit_length() > LONGEST_NUMBER:
        raise InvalidArguments(
            f"the number at {pointer or '/'} has too many digits for a JSON reader: send a text.", pointer
        )
    return int(value)  # of a subclass, whose repr JSON would not accept


def _finite(value: Number, pointer: str) -> Number:
    if not math.isfinite(value):
        raise InvalidArguments(
            f"{value!r} at {pointer or '/'} is not a JSON number: send None or a text.", pointer
        )
    return value


def _object(value: Mapping[Any, Any], pointer: str, room: int) -> dict[str, Any]:
    result = {}
    for key, item in value.items():
        name = key if type(key) is str and _is_plain(key) else _key(key, pointer)
        result[name] = item if _is_plain(item) else _plain(item, f"{pointer}/{escape(name)}", room)
    if "__type__" in result and "__value__" in result:
        raise InvalidArguments(
            f"the object at {pointer or '/'} has the keys '__type__' and '__value__', which the worker's decoder "
            f"would take for its own: rename one.",
            pointer,
        )
    return result


def _key(key: Any, pointer: str) -> str:
    if _is_lazy(key):
        return _key(_evaluated(key, pointer), pointer)
    if not isinstance(key, str):
        raise InvalidArguments(
            f"a key of the object at {pointer or '/'} is a {type(key).__name__}: JSON objects have text keys.",
            pointer,
        )
    return _text(key.value if isinstance(key, enum.Enum) else key, pointer, "a key of the object")


def _converted(value: Any, pointer: str, room: int) -> Any:
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return str(_finite(value, pointer))
    if is_range(value):
        return _container(as_object(value), pointer, room - 1)
    raise _unfit(value, pointer)


def _unfit(value: Any, pointer: str) -> InvalidArguments:
    return InvalidArguments(
        f"a {type(value).__name__} at {pointer or '/'} cannot be sent as JSON: send its primary key or a text.",
        pointer,
    )
