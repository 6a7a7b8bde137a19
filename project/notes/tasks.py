# Written by `manage.py dispatch stubs`: do not edit, run it again when a worker has changed.
# fmt: off
# mypy: disable-error-code="empty-body"
# pyright: reportArgumentType=false, reportReturnType=false
"""The tasks that the workers offer, each to be called with its own arguments.

A call sends the task and returns its message, whose `result(message).get()` is what the
function returns. What is left out is not sent: the worker's default holds. `task.call(…)`
makes a Call for `send_many`, `await task.asend(…)` sends from async code, and
`task.with_options(countdown=60)(…)` takes the options of `send_task`.
"""

from __future__ import annotations

from typing import Any, Final

from dispatch.api import sender

CREDIT_ACCOUNT: Final = "worker.tasks.ledger.credit_account"
PREVIEW_LINKS: Final = "worker.tasks.link.preview_links"
SUMMARIZE_NOTE: Final = "worker.tasks.llm.summarize_note"
FAIL_ON_DEMAND: Final = "worker.tasks.ops.fail_on_demand"
TRANSCRIBE_AUDIO: Final = "worker.tasks.stt.transcribe_audio"


@sender(CREDIT_ACCOUNT)
def credit_account(account: str, cents: int) -> dict[str, Any]:
    """Credit an account, once for each message however often it arrives."""


@sender(PREVIEW_LINKS)
def preview_links(note_id: str, text: str) -> dict[str, Any]:
    """List the links of a text with their titles. Opens local HTML files only, never
    the network.
    """


@sender(SUMMARIZE_NOTE)
def summarize_note(note_id: str, text: str, sentences: int = 2) -> dict[str, Any]:
    """Summarise a note by its most telling sentences.

    sentences: How many sentences the summary may have.
    """


@sender(FAIL_ON_DEMAND)
def fail_on_demand(
    note_id: str,
    reason: str = "no reason was given",
    retries: int = 0,
) -> Any:
    """Fail on purpose, so that failures and retries can be seen.

    retries: How often to try again before failing.
    """


@sender(TRANSCRIBE_AUDIO)
def transcribe_audio(note_id: str, path: str) -> dict[str, Any]:
    """Measure a recording: length, channels, sample rate and loudness.

    path: A WAV file that this worker can read.
    """
