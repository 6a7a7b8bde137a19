"""Values as the JSON that they become, the same in every process."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Set
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")


def plain(value: Any) -> Any:
    """Return a value as JSON has it: sets sorted, as their order depends on the hash seed.

    Raises ValueError for what JSON cannot say: NaN, half of a character pair, a circle, most objects; and for
    NUL, which no database stores.
    """
    try:
        text = json.dumps(value, default=_jsonable, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if NUL.search(text):
        raise ValueError("a text holds NUL, which no database stores")
    return json.loads(text)


def canonical(value: Any) -> str:
    """Return the canonical JSON of a plain value: keys sorted, separators `,` and `:`, no ASCII escapes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Set):
        return sorted((plain(each) for each in value), key=canonical)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # field by field: pydantic would turn the sets inside into lists, in the order of the day
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return to_jsonable_python(value)
