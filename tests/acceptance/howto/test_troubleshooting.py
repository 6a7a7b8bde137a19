"""docs/howto/troubleshooting.md: its query finds the messages of an object."""

from __future__ import annotations

import pytest

from tests.support.how_to import blocks
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

[QUERY] = blocks("troubleshooting")


def test_its_query_finds_what_was_sent_for_an_object(project: Project) -> None:
    imported, query = QUERY.text.split("\n\n")
    found = project.run(
        """
    for title in "AB":
        note = Note.objects.create(title=title, body="Cats sleep.")
    OutboxMessage.objects.filter(object_pk=note.pk).update(object_pk="42")
    """,
        imported,
        f"answer(list({query}))",
    )
    [message] = found
    assert (message["status"], message["queue"], message["attempts"]) == ("pending", "llm", 0)
    assert {*message} == {"status", "queue", "attempts", "available_at", "last_error"}
