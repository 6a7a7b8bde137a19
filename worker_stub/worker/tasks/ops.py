"""Tasks for operators."""

from __future__ import annotations

from typing import Annotated, Any, NoReturn

from pydantic import Field

from worker.app import app


class FailedOnDemandError(RuntimeError):
    """Raised because the message asked for it."""


@app.task(name="worker.tasks.ops.fail_on_demand", bind=True)
def fail_on_demand(
    self: Any,
    note_id: str,
    reason: str = "no reason was given",
    retries: Annotated[int, Field(ge=0, le=5, description="How often to try again before failing.")] = 0,
) -> NoReturn:
    """Fail on purpose, so that failures and retries can be seen."""
    error = FailedOnDemandError(f"Note {note_id} failed on demand: {reason}")
    if self.request.retries < retries:
        raise self.retry(exc=error, countdown=1, max_retries=retries)
    raise error
