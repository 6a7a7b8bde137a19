"""Tasks with every kind of parameter, for tests of typed senders."""

from __future__ import annotations

from typing import Any

from dispatch.core.manifest import Task

TEXT = {"type": "string"}
ADDRESS = {
    "type": "object",
    "description": "Where someone lives.",
    "properties": {
        "street": TEXT,
        "date": {"type": "string", "format": "date"},
        "geo": {"type": "object", "properties": {"UUID": {"type": "string", "format": "uuid"}}},
        "next": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}], "default": None},
    },
    "required": ["street"],
}
TREE = {"anyOf": [TEXT, {"type": "array", "items": {"$ref": "#/$defs/Tree"}}]}
MODES = [
    "as fast as it can be done",
    "as well as it can be done",
    "as cheaply as it can be done",
    "not at all",
]


def closed(properties: dict[str, Any], **keywords: Any) -> dict[str, Any]:
    """The parameters of a task that takes these and no others, by position too."""
    base = {"type": "object", "additionalProperties": False, "x-positional": list(properties)}
    return {**base, "properties": properties, **keywords}


EVERYTHING = closed(
    {
        "note": {"type": "string", "format": "uuid", "description": "Whose, or which."},
        "when": {"type": "string", "format": "date-time"},
        "amount": {"anyOf": [{"type": "number"}, TEXT], "default": "1.50"},
        "color": {"$ref": "#/$defs/Color", "default": "red"},
        "mode": {"enum": MODES, "default": MODES[0]},
        "pair": {
            "type": "array",
            "prefixItems": [{"type": "integer"}, TEXT],
            "minItems": 2,
            "maxItems": 2,
            "default": [1, "a"],
        },
        "tags": {"type": "array", "items": TEXT},
        "weights": {"type": "object", "additionalProperties": {"type": "number"}, "description": "How much."},
        "address": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}], "default": None},
        "header": {"type": "object", "properties": {"from": TEXT, "a-b": TEXT}, "required": ["from"]},
        "tree": {"$ref": "#/$defs/Tree"},
        "anything": {},
    },
    required=["note", "when"],
    **{"$defs": {"Address": ADDRESS, "Color": {"enum": ["red", "green"]}, "Tree": TREE}},
)
POSITIONS = {
    **closed(
        {"a": {"type": "integer"}, "b": {**TEXT, "default": "x"}, "c": {"type": "number"}}, required=["a"]
    ),
    "x-positional-only": ["a", "b"],
    "x-variadic": {"type": "integer"},
    "additionalProperties": {"type": "boolean"},
}
FLAGS = {
    "type": "object",
    "properties": {"from": TEXT, "urgent": {"type": "boolean"}},
    "required": ["urgent"],
    "additionalProperties": False,
}
ADDRESSES = {
    "type": "object",
    "additionalProperties": {"type": "array", "items": {"$ref": "#/$defs/Address"}},
    "$defs": {"Address": ADDRESS},
}

OFFERS = [
    Task("worker.tasks.everything", "Take everything there is.", EVERYTHING, returns=ADDRESSES),
    Task("worker.tasks.positions", "", POSITIONS),
    Task("worker.tasks.flags", "Take flags.", FLAGS, returns={"type": ["integer", "null"]}),
    Task(
        "worker.mail.send",
        "Send mail.",
        closed({"to": TEXT}, required=["to"]),
        deprecated="use worker.post.send",
        returns={"type": "null"},
    ),
    Task(
        "worker.post.send",
        "Send post.",
        closed({"to": {"$ref": "#/$defs/Address"}}, required=["to"]) | {"$defs": {"Address": ADDRESS}},
    ),
    Task("print", "", {}),
]
