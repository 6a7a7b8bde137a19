"""Text tasks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from worker.app import app
from worker.summary import count_words, summarize


@app.task(name="worker.tasks.llm.summarize_note")
def summarize_note(
    note_id: str,
    text: str,
    sentences: Annotated[int, Field(ge=1, description="How many sentences the summary may have.")] = 2,
) -> dict[str, Any]:
    """Summarise a note by its most telling sentences."""
    return {"note_id": note_id, "summary": summarize(text, sentences), "words": count_words(text)}
