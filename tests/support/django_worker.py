"""A worker that has Django in it, and writes its results to django-db itself."""

from __future__ import annotations

import os

import django
from celery import Celery

django.setup()
app = Celery("django_worker", broker=os.environ["BROKER_URL"], backend="django-db")


@app.task(name="worker.tasks.llm.summarize_note")
def summarize_note(note_id: str, text: str, sentences: int = 2) -> dict[str, str]:
    return {"note_id": note_id, "summary": text.upper()}
