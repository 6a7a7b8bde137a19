"""What the import of a manifest changes, task by task, as the pages show it: before it, and in its history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dispatch.admin import widgets
from dispatch.admin.links import Link, Viewer
from dispatch.core.redaction import storable
from dispatch.models import TaskDefinition

#: Tasks of each section, and changes of each task, that are shown.
MOST_SHOWN = 100
#: By the key of the document: the title, the badge of each task, and the word of the summary.
SECTIONS: dict[str, tuple[Promise, str, Promise]] = {
    "missing": (_("Retired tasks: sending them is refused, their messages wait"), "warning", _("retired")),
    "changed": (_("Changed tasks"), "claimed", _("changed")),
    "returned": (_("Tasks that are offered again"), "active", _("offered again")),
    "added": (_("New tasks"), "active", _("added")),
}


#: What changes of a task: texts, and whether each breaks who sends it.
Lines = list[tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class Section:
    """The tasks with which the same happens, each with its changes; ``more`` says how many are left out."""

    title: str | Promise
    kind: str
    label: str | Promise
    entries: list[tuple[Link, Lines]]
    more: int


def sections(document: Any, viewer: Viewer) -> list[Section]:
    """Return what a difference's document holds; what is odd in it is left out, for it may come from a row."""
    found = {key: list(_entries(document, key)) for key in SECTIONS}
    names = [name for entries in found.values() for name, _lines in entries[:MOST_SHOWN]]
    tasks = {link.text: link for link in links_to(names, viewer)}
    return [
        Section(
            *SECTIONS[key],
            [(tasks[name], lines) for name, lines in entries[:MOST_SHOWN]],
            max(0, len(entries) - MOST_SHOWN),
        )
        for key, entries in found.items()
        if entries
    ]


def summary(document: Any) -> str:
    """Return how many tasks were added, changed and retired, "" for none."""
    counts = {
        label: sum(1 for _each in _entries(document, key)) for key, (_title, _kind, label) in SECTIONS.items()
    }
    texts = (
        gettext("%(count)s %(what)s") % {"count": widgets.number(count), "what": label}
        for label, count in counts.items()
        if count
    )
    return ", ".join(texts)


def _entries(document: Any, key: str) -> Iterator[tuple[str, Lines]]:
    """Yield each task with its changes."""
    for each in _objects(document.get(key) if isinstance(document, dict) else None, (str, dict)):
        if isinstance(each, str):
            yield storable(each), []
        else:
            changes = _objects(each.get("changes"), (dict,))[:MOST_SHOWN]
            yield storable(str(each.get("task", ""))), [_line(change) for change in changes]


def _line(change: dict[str, Any]) -> tuple[str, bool]:
    text = f"{change.get('parameter', '')} {change.get('sentence', '')}".strip()
    return storable(text), bool(change.get("breaking"))


def _objects(value: Any, kinds: tuple[type, ...]) -> list[Any]:
    return [each for each in value if isinstance(each, kinds)] if isinstance(value, list) else []


def links_to(names: Iterable[str], viewer: Viewer) -> list[Link]:
    """Return tasks by their names, with the addresses of their pages for who may see them."""
    names = list(names)
    urls = viewer.urls(TaskDefinition, names)
    return [Link(name, urls.get(name, "")) for name in names]
