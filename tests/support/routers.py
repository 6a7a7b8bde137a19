"""Router callables of a project, with Celery's signature."""

from __future__ import annotations

from typing import Any

ROUTERS = [f"{__name__}.{name}" for name in ("by_length", "failing", "as_entities", "by_eta")]
BY_LENGTH, FAILING, AS_ENTITIES, BY_ETA = ROUTERS


def by_length(name: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any], **_: Any) -> Any:
    """Send long texts to a queue of their own, and leave the others to the next route."""
    return {"queue": "long", "priority": 2} if len(kwargs.get("text", "")) > 20 else None


def by_eta(name: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any], **_: Any) -> Any:
    """Send what the worker has to wait for to a queue of its own."""
    return "late" if "eta" in options else None


def failing(name: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any], **_: Any) -> Any:
    raise LookupError("the tenants cannot be read")


def as_entities(name: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any], **_: Any) -> Any:
    """Answer with kombu's own objects, as many projects do."""
    import kombu

    return {"queue": kombu.Queue("long")}
