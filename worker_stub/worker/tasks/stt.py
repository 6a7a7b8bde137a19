"""Speech tasks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from worker.app import app
from worker.audio import measure


@app.task(
    name="worker.tasks.stt.transcribe_audio",
    # The message may overtake the upload: give the file a few seconds to appear.
    autoretry_for=(FileNotFoundError,),
    max_retries=3,
    retry_backoff=1,
    retry_backoff_max=8,
)
def transcribe_audio(
    note_id: str,
    path: Annotated[str, Field(min_length=1, description="A WAV file that this worker can read.")],
) -> dict[str, Any]:
    """Measure a recording: length, channels, sample rate and loudness."""
    found = measure(path)
    return {"note_id": note_id, "summary": str(found), **asdict(found)}
