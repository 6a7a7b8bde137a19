"""The outbox against a model of it: any sequence of saves, transactions and errors, one row per matching save."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from django.db import IntegrityError, connection, models, transaction
from django.db.models.signals import post_delete, post_save
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dispatch.api import allow_triggers, suppress_triggers
from dispatch.core import trigger_rules as dispatch_rules
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from project.notes.models import Note, Tag
from tests.support.databases import savepoint_create
from tests.support.registry import make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)

EXAMPLES = settings.default.max_examples // 2  # of up to 30 steps each
TITLES = ("a", "b")
TAG_EVENTS = ("created", "updated", "deleted")
M2M_EVENTS = dispatch_rules.M2M_EVENTS
#: What the receiver of another app does when a tag of this weight is created or deleted.
PLAIN, SAVES_ANOTHER, UNDOES_ANOTHER, RAISES = range(4)

colours = st.sampled_from(["red", "blue"])
weights = st.sampled_from([PLAIN, PLAIN, SAVES_ANOTHER, UNDOES_ANOTHER, RAISES])
picks = st.sets(st.integers(0, 9), min_size=1, max_size=4)


class Undo(Exception):
    pass


@dataclass(frozen=True)
class Row:
    pk: int
    colour: str
    weight: int


@dataclass
class World:
    """What the database must hold."""

    tags: dict[str, Row] = field(default_factory=dict)
    links: frozenset[tuple[str, str]] = frozenset()
    disabled: frozenset[str] = frozenset()
    sent: list[tuple[Any, ...]] = field(default_factory=list)

    def copy(self) -> World:
        return replace(self, tags=dict(self.tags), sent=list(self.sent))


@dataclass
class Frame:
    """A transaction or savepoint under way, and the world as it was before."""

    atomic: Any
    before: World
    undoes_alone: bool


class Exactness(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.frames: list[Frame] = []
        self.suppressions: list[tuple[Any, frozenset[str] | None]] = []
        self.names = 0
        for model in (OutboxMessage, Note.tags.through, Tag):
            rows = models.QuerySet(model).all()
            rows._raw_delete(rows.db)
        Trigger.objects.update(enabled=True)

    @initialize()
    def begin(self) -> None:
        for weight in (PLAIN, SAVES_ANOTHER, UNDOES_ANOTHER):
            self.create("red", weight, "bulk")

    def teardown(self) -> None:
        while self.frames:
            self._leave(Undo())
        while self.suppressions:
            self.suppressions.pop()[0].__exit__(None, None, None)

    @invariant()
    def outbox_is_as_expected(self) -> None:
        assert stored() == Counter(self.world.sent)
        assert dict(Tag.objects.values_list("name", "colour")) == {
            name: row.colour for name, row in self.world.tags.items()
        }

    # -- transactions and suppressions ------------------------------------------------------------

    @precondition(lambda self: len(self.frames) < 4)
    @rule(savepoint=st.booleans(), durable=st.booleans())
    def enter(self, savepoint: bool, durable: bool) -> None:
        outermost = not self.frames
        atomic = transaction.atomic(savepoint=savepoint, durable=durable and outermost)
        atomic.__enter__()
        self.frames.append(Frame(atomic, self.world.copy(), savepoint or outermost))

    @precondition(lambda self: self.frames)
    @rule()
    def commit(self) -> None:
        self.frames.pop().atomic.__exit__(None, None, None)

    @precondition(lambda self: self.frames)
    @rule(by_error=st.booleans())
    def roll_back(self, by_error: bool) -> None:
        while not self._leave(Undo() if by_error else None):
            pass  # without a savepoint of its own it breaks the one around it

    def _leave(self, error: Undo | None) -> bool:
        frame = self.frames.pop()
        if error is None:
            transaction.set_rollback(True)
        frame.atomic.__exit__(type(error) if error else None, error, None)
        self.world = frame.before
        return frame.undoes_alone or not self.frames

    @precondition(lambda self: len(self.suppressions) < 3)
    @rule(names=st.one_of(st.none(), st.just(()), st.sets(st.sampled_from(TAG_EVENTS), min_size=1)))
    def suppress(self, names: Any) -> None:
        block = allow_triggers() if names is None else suppress_triggers(*names)
        block.__enter__()
        outer = self._quiet()
        quiet = None if outer is None or names == () else outer | frozenset(names or ())
        if names is None:
            quiet = frozenset()
        self.suppressions.append((block, quiet))

    @precondition(lambda self: self.suppressions)
    @rule()
    def end_suppression(self) -> None:
        self.suppressions.pop()[0].__exit__(None, None, None)

    @rule(name=st.sampled_from([*TAG_EVENTS, "m2m"]))
    def switch(self, name: str) -> None:
        """An operator enables or disables a trigger, in the same transaction."""
        trigger = Trigger.objects.get(name=name)
        trigger.enabled = not trigger.enabled
        trigger.save()
        self.world.disabled = self.world.disabled ^ {name}

    # -- saves ------------------------------------------------------------------------------------

    @rule(colour=colours, weight=weights, how=st.sampled_from(["save", "create", "get", "update", "bulk"]))
    def create(self, colour: str, weight: int, how: str) -> None:
        name = self._name()
        fails = weight == RAISES and how != "bulk"
        with pytest.raises(Undo) if fails else nullcontext():
            save(Tag(name=name, colour=colour, weight=weight), how)
        if not fails or how in ("save", "create"):  # the others have a transaction of their own
            self._expect_created(Tag.objects.get(name=name))
            if how != "bulk":
                self._expect_another(name + "+", weight)

    @rule(count=st.integers(2, 4), colour=colours, weight=weights)
    def create_in_bulk(self, count: int, colour: str, weight: int) -> None:
        tags = [Tag(name=self._name(), colour=colour, weight=weight) for _ in range(count)]
        Tag.objects.bulk_create(tags)
        for tag in Tag.objects.filter(name__in=[tag.name for tag in tags]):
            self._expect_created(tag)

    @precondition(lambda self: self.world.tags)
    @rule(pick=picks, with_another_first=st.booleans())
    def create_a_name_twice(self, pick: set[int], with_another_first: bool) -> None:
        taken = self._chosen(pick)[0]
        with suppress(IntegrityError), transaction.atomic():
            if with_another_first:
                Tag.objects.create(name=self._name(), colour="red")
            Tag.objects.create(name=taken)

    @precondition(lambda self: self.frames)
    @rule(kept=st.booleans())
    def create_in_a_savepoint_by_hand(self, kept: bool) -> None:
        savepoint = savepoint_create()
        tag = Tag.objects.create(name=self._name(), colour="red")
        if kept:
            transaction.savepoint_commit(savepoint)
            self._expect_created(tag)
        else:
            transaction.savepoint_rollback(savepoint)

    @precondition(lambda self: self.world.tags)
    @rule(
        pick=picks,
        colour=colours,
        how=st.sampled_from(["save", "update_fields", "other fields", "bulk_update", "update"]),
    )
    def change(self, pick: set[int], colour: str, how: str) -> None:
        names = self._chosen(pick)
        if how == "update":
            Tag.objects.filter(name__in=names).update(colour=colour)
        elif how == "bulk_update":
            tags = list(Tag.objects.filter(name__in=names))
            for tag in tags:
                tag.colour = colour
            Tag.objects.bulk_update(tags, ["colour"], batch_size=2)
        else:
            fields = {"save": None, "update_fields": ["colour"], "other fields": ["weight"]}[how]
            for tag in Tag.objects.filter(name__in=names):
                tag.colour = colour
                tag.save(update_fields=fields)
        if how != "other fields":
            self._expect_changed(names, colour)

    @precondition(lambda self: self.world.tags)
    @rule(pick=picks, together=st.booleans())
    def delete(self, pick: set[int], together: bool) -> None:
        names = self._chosen(pick)
        if any(self.world.tags[name].weight == RAISES for name in names):
            with pytest.raises(Undo), transaction.atomic():
                Tag.objects.filter(name__in=names).delete()
            return
        if together:
            Tag.objects.filter(name__in=names).delete()
        else:
            for tag in Tag.objects.filter(name__in=names):
                tag.delete()
        for name in names:
            self._expect_deleted(name)

    # -- related objects --------------------------------------------------------------------------

    @precondition(lambda self: self.world.tags)
    @rule(title=st.sampled_from(TITLES), pick=picks, how=st.sampled_from(["add", "remove", "set", "clear"]))
    def relate(self, title: str, pick: set[int], how: str) -> None:
        names = set(self._chosen(pick))
        linked = {name for note, name in self.world.links if note == title}
        tags = Note.objects.get(title=title).tags
        given = list(Tag.objects.filter(name__in=names))
        if how == "set":
            tags.set(given)
            self._expect_related("m2m_removed", title, linked - names)
            self._expect_related("m2m_added", title, names - linked)
        elif how == "clear":
            tags.clear()
            self._expect_related("m2m_cleared", title, linked)
        elif how == "add":
            tags.add(*given)
            self._expect_related("m2m_added", title, names - linked)
        else:
            tags.remove(*given)
            self._expect_related("m2m_removed", title, names & linked)

    @precondition(lambda self: self.world.tags)
    @rule(pick=picks, how=st.sampled_from(["add", "remove", "clear"]))
    def relate_from_the_other_side(self, pick: set[int], how: str) -> None:
        name = self._chosen(pick)[0]
        linked = {title for title in TITLES if (title, name) in self.world.links}
        notes = Tag.objects.get(name=name).notes
        arguments = [] if how == "clear" else list(Note.objects.all())
        getattr(notes, how)(*arguments)
        event = {"add": "m2m_added", "remove": "m2m_removed", "clear": "m2m_cleared"}[how]
        for title in {*TITLES} - linked if how == "add" else linked:
            self._expect_related(event, title, {name})

    # -- what is expected -------------------------------------------------------------------------

    def _name(self) -> str:
        self.names += 1
        return f"tag {self.names}"

    def _chosen(self, pick: set[int]) -> list[str]:
        known = sorted(self.world.tags)
        return sorted({known[number % len(known)] for number in pick})

    def _quiet(self) -> frozenset[str] | None:
        """Return the names that are suppressed, None for all."""
        return self.suppressions[-1][1] if self.suppressions else frozenset()

    def _tell(self, event: str, *rest: Any) -> None:
        name = event if event in TAG_EVENTS else "m2m"
        quiet = self._quiet()
        if name not in self.world.disabled and quiet is not None and name not in quiet:
            self.world.sent.append((event, *rest))

    def _expect_created(self, tag: Tag) -> None:
        self.world.tags[tag.name] = Row(tag.pk, tag.colour, tag.weight)
        self._tell("created", tag.name)

    def _expect_another(self, name: str, weight: int) -> None:
        if weight == SAVES_ANOTHER:
            self._expect_created(Tag.objects.get(name=name))

    def _expect_changed(self, names: list[str], colour: str) -> None:
        for name in names:
            row = self.world.tags[name]
            if row.colour != colour:
                self.world.tags[name] = replace(row, colour=colour)
                self._tell("updated", name)

    def _expect_deleted(self, name: str) -> None:
        row = self.world.tags.pop(name)
        self.world.links -= {(title, name) for title in TITLES}
        self._tell("deleted", name)
        self._expect_another(name + "-", row.weight)

    def _expect_related(self, event: str, title: str, names: set[str]) -> None:
        pairs = {(title, name) for name in names}
        self.world.links = self.world.links | pairs if event == "m2m_added" else self.world.links - pairs
        if names:
            self._tell(event, title, tuple(sorted(self.world.tags[name].pk for name in names)))


def save(tag: Tag, how: str) -> None:
    values = {"colour": tag.colour, "weight": tag.weight}
    if how == "save":
        tag.save()
    elif how == "create":
        Tag.objects.create(name=tag.name, **values)
    elif how == "get":
        Tag.objects.get_or_create(name=tag.name, defaults=values)
    elif how == "update":
        Tag.objects.update_or_create(name=tag.name, defaults=values)
    else:
        Tag.objects.bulk_create([tag])


def stored() -> Counter[tuple[Any, ...]]:
    rows = OutboxMessage.objects.values_list("status", "kwargs")
    assert {status for status, _ in rows} <= {"pending"}
    found: Counter[tuple[Any, ...]] = Counter()
    for _, text in rows:
        kwargs = json.loads(text)
        related = kwargs.get("related")
        more = () if related is None else (tuple(sorted(related)),)
        found[kwargs["event"], kwargs["text"], *more] += 1
    return found


def another_app(*, sender: type[Tag], instance: Tag, created: bool | None = None, **_: Any) -> None:
    """A receiver that saves, undoes and raises; connected after those of dispatch, as an app's are."""
    if created is False:
        return
    name = instance.name + ("+" if created else "-")
    if instance.weight == RAISES:
        raise Undo
    if instance.weight == SAVES_ANOTHER:
        Tag.objects.create(name=name, colour="red")
    if instance.weight == UNDOES_ANOTHER:
        with transaction.atomic():
            Tag.objects.create(name=name, colour="red")
            transaction.set_rollback(True)


@pytest.fixture
def house(no_ttl: None) -> Iterator[None]:
    task = make_registry()
    TaskDefinition.objects.update(parameters={})
    for event in TAG_EVENTS:
        when = ("colour", "changed", "") if event == "updated" else None
        make(make_trigger(task, event, model="notes.tag", name=event, when=when), "name")
    related = make(make_trigger(task, *M2M_EVENTS, watched=["tags"], name="m2m"), "title")
    related.arguments.create(parameter="related", source="related")
    Note.objects.bulk_create(Note(title=title) for title in TITLES)
    with ExitStack() as stack:
        for signal in (post_save, post_delete):
            signal.connect(another_app, sender=Tag, dispatch_uid="another app")
            stack.callback(signal.disconnect, sender=Tag, dispatch_uid="another app")
        yield


def make(trigger: Trigger, text: str) -> Trigger:
    trigger.arguments.filter(parameter="text").update(value=text)
    trigger.arguments.create(parameter="event", source="event")
    return trigger


@pytest.mark.hypothesis
@pytest.mark.usefixtures("house")
def test_after_any_sequence_the_outbox_holds_one_row_for_each_matching_save_that_stands() -> None:
    run_state_machine_as_test(
        Exactness,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=30, suppress_health_check=list(HealthCheck)
        ),
    )
    assert not connection.in_atomic_block
