"""Definitions and manifests that were written past their form: what cannot be used of them counts as empty.

An import reads all rows before it mends one: none of them may keep it from that.
"""

from __future__ import annotations

from typing import Any

from dispatch.core import manifest as documents
from dispatch.core.json_values import plain
from dispatch.exceptions import InvalidArguments, InvalidManifest
from dispatch.models import Manifest, TaskDefinition


def empty_definition(row: TaskDefinition) -> list[str]:
    """Empty what no import or form would have written into a definition, and return the columns.

    Whether its schemas are any is not looked at: that takes longest, and is asked of few.
    """
    names = _names(row.sensitive_parameters)
    odd = [] if names == row.sensitive_parameters else ["sensitive_parameters"]
    row.sensitive_parameters = names
    for column in ("parameters", "returns", "worker_options"):
        if not _is_usable(column, getattr(row, column)):
            odd.append(column)
            setattr(row, column, {})
    return odd


def _is_usable(column: str, value: Any) -> bool:
    try:
        plain(value)
        if column == "worker_options":
            documents.check_options(value, "")
    except (InvalidArguments, InvalidManifest):
        return False
    return isinstance(value, dict)


def empty_manifest(row: Manifest) -> None:
    """Empty what no import would have written into a manifest."""
    row.offers = _names(row.offers)
    try:
        documents.consumed_queues(row.queues)
    except InvalidManifest:
        row.queues = []


def _names(value: Any) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
