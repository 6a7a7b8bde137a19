"""Link tasks."""

from __future__ import annotations

from typing import Any

from worker.app import app
from worker.links import find_links, title

SHOWN = 5


@app.task(name="worker.tasks.link.preview_links")
def preview_links(note_id: str, text: str) -> dict[str, Any]:
    """List the links of a text with their titles. Opens local HTML files only, never the network."""
    links = [{"url": url, "title": title(url)} for url in find_links(text)]
    return {"note_id": note_id, "summary": _summary([link["title"] for link in links]), "links": links}


def _summary(titles: list[str]) -> str:
    if not titles:
        return "no links"
    count = "1 link" if len(titles) == 1 else f"{len(titles)} links"
    more = f" and {len(titles) - SHOWN} more" if len(titles) > SHOWN else ""
    return f"{count}: {', '.join(titles[:SHOWN])}{more}"
