"""Tasks whose effect must not happen twice."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from worker.app import app
from worker.database import transaction
from worker.once import processed


@app.task(name="worker.tasks.ledger.credit_account", bind=True)
def credit_account(self: Any, account: str, cents: Annotated[int, Field(ge=1)]) -> dict[str, Any]:
    """Credit an account, once for each message however often it arrives."""
    with transaction() as connection:
        if not processed(connection, self.name, self.request.id):
            connection.execute("INSERT INTO entries (account, cents) VALUES (?, ?)", (account, cents))
        total = connection.execute("SELECT sum(cents) FROM entries WHERE account = ?", (account,))
        # What a repetition returns is read too: it takes the place of the first result.
        return {"account": account, "cents": total.fetchone()[0]}
