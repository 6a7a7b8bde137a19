"""Rules, keys and outcomes in the reader's language: to the registry, their English names are what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dispatch.registry.routing_explanation import DECIDES, DEFAULT_PRIORITY, OVERRULED, ROUTE, TRIGGER

KEYS = {
    "queue": _("queue"),
    "exchange": _("exchange"),
    "routing_key": _("routing key"),
    "priority": _("priority"),
}
#: Texts that end with a name, or with names of keys.
NAMING_RULES = (ROUTE, TRIGGER, DEFAULT_PRIORITY)
NAMING_KEYS = (DECIDES, OVERRULED)


def key(name: str) -> str:
    """Return what a key of a destination is called."""
    return str(KEYS.get(name, name))


def rule(text: str) -> str:
    """Return a rule as the reader calls it."""
    return _said(text, NAMING_RULES, str)


def outcome(text: str) -> str:
    """Return what came of asking a rule."""
    return "; ".join(_said(part, NAMING_KEYS, _keys) for part in text.split("; "))


def decisions(decided_by: Mapping[str, str]) -> dict[str, str]:
    """Return each key of a destination with the rule that decided it."""
    return {key(name): rule(text) for name, text in decided_by.items()}


def _said(text: str, known: Iterable[str], named: Callable[[str], str]) -> str:
    for naming in known:
        head = naming % {"name": ""}
        if text.startswith(head):
            return gettext(naming) % {"name": named(text.removeprefix(head))}
    return gettext(text)


def _keys(names: str) -> str:
    return ", ".join(map(key, names.split(", ")))
