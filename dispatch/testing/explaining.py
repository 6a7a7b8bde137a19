"""Why an assertion failed: what was sent instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dispatch.core.wording import suggest
from dispatch.testing.sent import Sent
from dispatch.testing.wanted import Wanted

MOST_SHOWN = 20


def many(count: int) -> str:
    """Return a number of messages in words."""
    return "1 message" if count == 1 else f"{count} messages"


def not_sent(wanted: Wanted, count: int | None, messages: Sequence[Sent]) -> str:
    """Say what was expected, how much of it was found, and in what the closest message differs."""
    found = sum(map(wanted.fits, messages))
    expected = "at least 1 message" if count is None else many(count)
    of_task = [sent for sent in messages if sent.task == wanted.task]
    hint = "" if of_task else suggest(wanted.task or "", dict.fromkeys(sent.task for sent in messages))
    complaint = f"Expected {expected} {wanted}, found {found}{hint}."
    if found or not of_task:
        return complaint
    closest = min((list(wanted.differences(sent)) for sent in of_task), key=len)
    return f"{complaint}\nThe closest differs in this: {'; '.join(closest)}."


def with_all(complaint: str, stored: Sequence[Sent], undone: Sequence[str]) -> str:
    """Add what was sent, what could not be enqueued, and what was rolled back."""
    return "\n".join([complaint, *_listed(stored, undone)])


def _listed(stored: Sequence[Sent], undone: Sequence[str]) -> Iterator[str]:
    messages = [sent for sent in stored if not sent.error]
    yield "Sent:" if messages else "Nothing was sent."
    yield from (f"  {number}. {sent}" for number, sent in enumerate(messages[:MOST_SHOWN], 1))
    if len(messages) > MOST_SHOWN:
        yield f"  … and {len(messages) - MOST_SHOWN} more"
    failures = [sent for sent in stored if sent.error]
    if failures:
        yield "Could not be enqueued:"
        yield from (f"  - {sent.error}" for sent in failures[:MOST_SHOWN])
    if undone:
        yield f"Rolled back, or deleted: {', '.join(dict.fromkeys(undone))}."
