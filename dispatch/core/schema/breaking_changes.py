"""What a new version of a task's schema means to those who call it: parameter by parameter, breaking or not.

A change is breaking unless it is shown that every call that fitted the old schema fits the new one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dispatch.core.redaction import shorten
from dispatch.core.schema.summary import describe
from dispatch.core.schema.validation import canonical, covers, same

VARIADIC, FURTHER, RETURNS = "*args", "**kwargs", "return value"
ABSENT = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. ``parameter`` is "" for what concerns no single one; ``sentence`` goes on after its name."""

    parameter: str
    breaking: bool
    sentence: str

    def __str__(self) -> str:
        return f"{self.parameter} {self.sentence}".lstrip()


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return what changes for callers of a task whose parameters had one schema and get another.

    Both are schemas of the keyword form, as :class:`dispatch.core.schema.parameters.Parameters` reads them. What
    callers cannot notice (titles, order of the keys) is no change.
    """
    if same(old, new):
        return ()
    if not new:
        return (Change("", False, "anything is accepted now, without a check"),)
    if not old:
        return (Change("", True, "anything was accepted; now the arguments are checked"),)
    return tuple(_Calls(old, new).changes())


def compare_returns(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return what changes for readers of a task's return value, given as two schemas."""
    if same(old, new):
        return ()
    fits = covers(canonical(old, old), canonical(new, new))  # whatever comes now could have come before
    return (Change(RETURNS, not fits, _was(old, new)),)


class _Calls:
    """Two schemas of one task's calls."""

    def __init__(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        # The arguments are an object, said or not: it is what both schemas judge.
        self._old, self._new = ({**schema, "type": "object"} for schema in (old, new))
        self._properties = old.get("properties", {}), new.get("properties", {})
        self._required = old.get("required", ()), new.get("required", ())
        self._positional = tuple(old.get("x-positional", ())), tuple(new.get("x-positional", ()))

    def changes(self) -> Iterator[Change]:
        found = list(self._by_parameter())
        yield from found
        if any(change.breaking for change in found):
            return
        if not self._covers(self._old, self._new):
            yield Change("", True, "it cannot be shown that every earlier call is still accepted")

    def _by_parameter(self) -> Iterator[Change]:
        was, is_ = self._properties
        for name in was:
            yield from self._kept(name) if name in is_ else [self._gone(name)]
        for name in is_:
            if name not in was:
                yield self._added(name)
        yield from self._places()
        yield from self._rest(
            VARIADIC, *(schema.get("x-variadic", False) for schema in (self._old, self._new))
        )
        further = (schema.get("additionalProperties", True) for schema in (self._old, self._new))
        yield from self._rest(FURTHER, *further)

    def _covers(self, old: Any, new: Any) -> bool:
        """Tell whether ``new``, a part of the new schema, surely accepts what ``old`` does, a part of the old one."""
        return covers(canonical(new, self._new), canonical(old, self._old))

    def _alike(self, old: Any, new: Any) -> bool:
        """Tell whether two parts surely say the same, whatever their titles and descriptions."""
        was, is_ = canonical(old, self._old), canonical(new, self._new)
        return (covers(was, is_) and covers(is_, was)) or (same(old, new) and same(self._old, self._new))

    def _added(self, name: str) -> Change:
        kind = describe(self._properties[1][name])
        if name in self._required[1]:
            return Change(name, True, f"is new and required: {kind}")
        before = self._old.get("additionalProperties", True)
        if before is not False and not self._covers(before, self._properties[1][name]):
            return Change(
                name, True, f"is new, optional: {kind}; callers could pass anything under this name"
            )
        return Change(name, False, f"is new, optional: {kind}")

    def _gone(self, name: str) -> Change:
        further = self._new.get("additionalProperties", True)
        if further is not False and self._covers(self._properties[0][name], further):
            return Change(name, False, "is no longer named, and still accepted among further arguments")
        return Change(name, True, "is gone")

    def _kept(self, name: str) -> Iterator[Change]:
        if name in self._required[1] and name not in self._required[0]:
            yield Change(name, True, "was optional, is required")
        if name in self._required[0] and name not in self._required[1]:
            yield Change(name, False, "was required, is optional")
        was, is_ = (properties[name] for properties in self._properties)
        if not self._alike(was, is_):
            yield Change(name, not self._covers(was, is_), _was(was, is_))
        yield from _default(name, was, is_)

    def _places(self) -> Iterator[Change]:
        """Compare what may be given by position: another parameter in a place is breaking, even of the same type."""
        before, after = self._positional
        for place, name in enumerate(before):
            if after[place : place + 1] == (name,):
                continue
            if name in after:
                yield Change(
                    name, True, f"was argument {place + 1} by position, is argument {after.index(name) + 1}"
                )
            elif name in self._properties[1] or self._new.get("additionalProperties", True) is not False:
                yield Change(name, True, "can no longer be given by position")
        yield from self._nameless()
        if len(after) > len(before) and "x-variadic" in self._old:
            names = ", ".join(after[len(before) :])
            yield Change(VARIADIC, True, f"came after argument {len(before)}, where now stand {names}")

    def _nameless(self) -> Iterator[Change]:
        """Compare what may not be given by name."""
        before, after = (set(schema.get("x-positional-only", ())) for schema in (self._old, self._new))
        is_open = self._old.get("additionalProperties", True) is not False
        for name in sorted(after - before):
            if name in self._properties[0] or is_open:
                yield Change(name, True, "can no longer be given by name")
        for name in sorted(before & set(self._properties[1]) - after):
            yield Change(name, False, "can be given by name too")

    def _rest(self, name: str, was: Any, is_: Any) -> Iterator[Change]:
        if self._alike(was, is_):
            return
        if was is False:
            yield Change(name, False, f"is new: {describe(is_)}")
        elif is_ is False:
            yield Change(name, True, "is gone: no further arguments are accepted")
        else:
            yield Change(name, not self._covers(was, is_), _was(was, is_))


def _default(name: str, was: Any, is_: Any) -> Iterator[Change]:
    before, after = (each.get("default", ABSENT) if isinstance(each, dict) else ABSENT for each in (was, is_))
    if before is after or (ABSENT not in (before, after) and same(before, after)):
        return
    yield Change(name, False, f"has another default: was {_shown(before)}, is {_shown(after)}")


def _shown(default: Any) -> str:
    return "none" if default is ABSENT else shorten(json.dumps(default, ensure_ascii=False), 60)


def _was(old: Any, new: Any) -> str:
    before, after = describe(old), describe(new)
    if before == after:
        return f"is {before} as before, defined differently"
    return f"was {before}, is {after}"
