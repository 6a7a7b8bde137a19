"""A Celery worker that knows nothing of the web project that sends to it.

`celery -A worker …` finds the app through the attribute `celery`, which is made on first use: importing a
plain module of this package reads neither the environment nor the routing file.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "celery":
        from worker.app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
