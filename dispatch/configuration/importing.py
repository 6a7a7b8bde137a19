"""Brings a document into the registry: all of it or nothing, in one transaction.

The preview writes the rows too, through the same checks and the database's own constraints, and is rolled back: what it
shows is what happens.
"""

from __future__ import annotations

from django.db import transaction

from dispatch.configuration.changes import Changes, Problem, sentences
from dispatch.configuration.document import Document
from dispatch.configuration.writing import Writer
from dispatch.exceptions import InvalidConfiguration
from dispatch.models import RegistryVersion


def preview(document: Document, using: str, *, prune: bool = False) -> Changes:
    """Return what an import would do.

    Raises InvalidConfiguration with a line for each row that cannot be stored.
    """
    changes, problems = _attempt(document, using, prune)
    if problems:
        raise InvalidConfiguration(sentences(problems))
    return changes


def usable(document: Document, using: str) -> tuple[Document, list[Problem]]:
    """Return the part of a document that can be stored, and why the rest cannot."""
    left_out: list[Problem] = []
    while True:
        _, problems = _attempt(document, using, prune=False)
        if not problems:
            return document, left_out
        smaller = document.without(problem.row for problem in problems)
        if len(smaller.entries) == len(document.entries):
            raise InvalidConfiguration(sentences(problems))
        left_out += problems
        document = smaller


def apply(document: Document, using: str, *, prune: bool = False, expected: Changes | None = None) -> Changes:
    """Bring the document into the registry, and return what was done.

    Raises InvalidConfiguration, and changes nothing, for rows that cannot be stored, and where the registry was changed
    since ``expected`` was shown.
    """
    with transaction.atomic(using=using):
        RegistryVersion.bump(using)  # whoever imports at the same time waits here
        changes, problems = Writer(document, using, prune=prune).write()
        if problems:
            raise InvalidConfiguration(sentences(problems))
        if expected is not None and changes != expected:
            raise InvalidConfiguration(
                "The registry was changed meanwhile: nothing was imported. Look again."
            )
    return changes


def _attempt(document: Document, using: str, prune: bool) -> tuple[Changes, list[Problem]]:
    with transaction.atomic(using=using):
        try:
            return Writer(document, using, prune=prune).write()
        finally:
            transaction.set_rollback(True, using=using)
