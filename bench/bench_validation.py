"""What checking a valid call costs at each send: dispatch beside jsonschema-rs alone, in the same run.

The goal is at most 30 µs a call (the low tens). Repeats are interleaved; a figure is the median of its repeats. Beside
them, once in each process or at each import: loading the library, making a validator, reading a task of a manifest.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import timeit
from collections.abc import Callable, Iterator

from jsonschema_rs import Draft202012Validator

from dispatch.core import manifest
from dispatch.core.json_values import plain
from dispatch.core.schema.parameters import Parameters

GOAL = 30.0
REPEATS, CALLS = 9, 2_000

ADDRESS = {
    "type": "object",
    "properties": {"street": {"type": "string"}, "zip": {"type": "string", "pattern": r"^\d{5}$"}},
    "required": ["street", "zip"],
}
CASES = {
    "flat, 3 parameters": (
        {
            "type": "object",
            "properties": {
                "note_id": {"type": "string", "format": "uuid"},
                "text": {"type": "string"},
                "sentences": {"type": "integer", "minimum": 1, "default": 2},
            },
            "required": ["note_id", "text"],
            "additionalProperties": False,
        },
        {
            "note_id": "0190f3a2-0000-7000-8000-000000000000",
            "text": "A text of some length. " * 20,
            "sentences": 3,
        },
    ),
    "nested models, union, enum, list": (
        {
            "type": "object",
            "properties": {
                "customer": {"$ref": "#/$defs/Customer"},
                "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            "required": ["customer"],
            "additionalProperties": False,
            "$defs": {
                "Address": ADDRESS,
                "Customer": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/Address"}},
                    "required": ["name", "address"],
                },
            },
        },
        {
            "customer": {"name": "Ada", "address": {"street": "A 1", "zip": "12345"}},
            "tags": ["a", "b"],
            "note": None,
        },
    ),
    "list of 50 numbers": (
        {"type": "object", "properties": {"values": {"type": "array", "items": {"type": "number"}}}},
        {"values": [number / 2 for number in range(50)]},
    ),
}


def contenders() -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Yield case, contender and the call to be timed."""
    for case, (schema, kwargs) in CASES.items():
        parameters, validator = Parameters(schema), Draft202012Validator(schema)
        yield case, "dispatch", lambda p=parameters, k=kwargs: p.check((), k)  # type: ignore[misc]
        yield case, "jsonschema-rs", lambda v=validator, k=kwargs: v.is_valid(k)  # type: ignore[misc]
        yield case, "to JSON's types", lambda k=kwargs: plain(k)  # type: ignore[misc]


def occasions() -> Iterator[tuple[str, float]]:
    """Yield what is paid once, in milliseconds."""
    timer = (
        "import time; begun = time.perf_counter(); import jsonschema_rs; print(time.perf_counter() - begun)"
    )
    loads = [subprocess.check_output([sys.executable, "-c", timer]) for _ in range(REPEATS)]
    yield "loading jsonschema-rs", statistics.median(map(float, loads)) * 1e3
    for case, (schema, kwargs) in CASES.items():
        first = timeit.timeit(lambda s=schema, k=kwargs: Parameters(s).check((), k), number=100) * 10  # type: ignore[misc]
        yield f"first call, {case}", first
    tasks = [
        {"name": f"task{number}", "parameters": schema}
        for number, (schema, _) in enumerate([*CASES.values()] * 300)
    ]
    text = manifest.sealed({"manifest": 1, "worker": "w", "version": "1", "queues": [], "tasks": tasks})
    yield "a task of a manifest", timeit.timeit(lambda: manifest.read(text), number=3) / 3 / len(tasks) * 1e3
    yield "the same, its JSON alone", timeit.timeit(lambda: json.loads(text), number=3) / 3 / len(tasks) * 1e3


def main() -> int:
    """Print a table, and exit with 1 if the goal is missed."""
    rounds: dict[tuple[str, str], list[float]] = {}
    for _ in range(REPEATS):
        for case, contender, call in contenders():
            call()  # compiles, which happens once per definition
            rounds.setdefault((case, contender), []).append(timeit.timeit(call, number=CALLS) / CALLS * 1e6)
    missed = False
    for (case, contender), times in rounds.items():
        median = statistics.median(times)
        missed |= contender == "dispatch" and median > GOAL
        print(f"{case:<34}{contender:<18}{median:8.1f} µs   ({min(times):.1f} to {max(times):.1f})")
    for occasion, milliseconds in occasions():
        print(f"{occasion:<52}{milliseconds:8.3f} ms")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
