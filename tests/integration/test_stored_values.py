"""A message tells what was stored: of each kind of field, a fresh object and a reloaded one give the same."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models
from django.db.models import Model
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import gettext_lazy

from dispatch.models import OutboxMessage, TaskDefinition
from dispatch.triggers.event_values import Event
from dispatch.triggers.preview import candidates, preview
from tests.support.registry import make_registry, make_trigger

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("temporary_models")]
only_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL")
NOT_PROVIDED = models.NOT_PROVIDED
BERLIN = ZoneInfo("Europe/Berlin")
MOMENT = dt.datetime(2026, 7, 1, 12, 30, 5, 123456, tzinfo=BERLIN)
KEY = "0198c0de00007000800000000000000a"


class Colour(str, enum.Enum):  # noqa: UP042 - its str() is not its value, unlike a StrEnum's
    RED = "red"


class Kind(models.IntegerChoices):
    ONE = 1


class Upper(models.CharField):
    """Changes what it stores."""

    def get_prep_value(self, value: Any) -> Any:
        return "" if value is None else str(value).upper()


class Words(models.TextField):
    """Holds a list as a text."""

    def get_prep_value(self, value: Any) -> Any:
        return " ".join(value)

    def from_db_value(self, value: str, expression: Any, connection: Any) -> list[str]:
        return value.split()


class Cut(models.Field):
    """Has a column of a type of its own, by which the database changes what it stores."""

    def db_type(self, connection: Any) -> str:
        return "numeric(5, 1)" if connection.vendor == "postgresql" else "decimal(5, 1)"


class Coarse(models.DecimalField):
    """Has a column that is coarser than the field says."""

    def db_type(self, connection: Any) -> str:
        return "numeric(5, 1)"


class DecimalDecoder(json.JSONDecoder):
    def __init__(self, **options: Any) -> None:
        super().__init__(parse_float=Decimal, **options)


def json_field(**options: Any) -> models.JSONField:
    return models.JSONField(null=True, **options)


FIELDS: list[tuple[Callable[[], models.Field], Any]] = [
    (lambda: models.DecimalField(max_digits=10, decimal_places=2), Decimal("23.7881")),
    (lambda: models.DecimalField(max_digits=10, decimal_places=2), Decimal("0.125")),
    (lambda: models.DecimalField(max_digits=10, decimal_places=2), Decimal("-0.135")),
    (lambda: models.DecimalField(max_digits=10, decimal_places=2), Decimal("-0.001")),
    (lambda: models.DecimalField(max_digits=10, decimal_places=2), Decimal("1E+2")),
    (lambda: models.DecimalField(max_digits=10, decimal_places=2), 23.7881),
    (lambda: models.DecimalField(max_digits=10, decimal_places=2), 5),
    (lambda: models.DecimalField(max_digits=10, decimal_places=2), "7.5"),
    (lambda: models.DecimalField(max_digits=30, decimal_places=10), Decimal("1234567890.12345678901")),
    (lambda: models.DecimalField(max_digits=5, decimal_places=0), Decimal("2.5")),
    (lambda: models.CharField(max_length=20), Colour.RED),
    (lambda: models.CharField(max_length=20), 5),
    (lambda: models.CharField(max_length=20), gettext_lazy("yes")),
    (lambda: models.CharField(max_length=20, null=True), None),
    (lambda: models.TextField(), uuid.UUID(KEY)),
    (lambda: models.SlugField(), "a-b"),
    (lambda: models.EmailField(), "a@b.example"),
    (lambda: models.URLField(), "https://example.com/"),
    (lambda: models.FilePathField(path="/tmp"), "/tmp/a"),
    (lambda: models.FileField(), "a/b.txt"),
    (lambda: models.FileField(blank=True), None),
    (lambda: models.GenericIPAddressField(), "2001:DB8:0:0::1"),
    (lambda: models.GenericIPAddressField(), "::ffff:10.0.0.1"),
    (lambda: models.GenericIPAddressField(unpack_ipv4=True), "::ffff:10.0.0.1"),
    (lambda: models.GenericIPAddressField(), "10.0.0.1"),
    (lambda: models.GenericIPAddressField(null=True, blank=True), ""),
    (lambda: models.BooleanField(), "t"),
    (lambda: models.BooleanField(null=True), 1),
    (lambda: models.IntegerField(), "5"),
    (lambda: models.IntegerField(), 5.0),
    (lambda: models.IntegerField(), Kind.ONE),
    (lambda: models.IntegerField(), True),
    (lambda: models.SmallIntegerField(), "5"),
    (lambda: models.BigIntegerField(), "5"),
    (lambda: models.PositiveIntegerField(), "5"),
    (lambda: models.PositiveSmallIntegerField(), "5"),
    (lambda: models.PositiveBigIntegerField(), "5"),
    (lambda: models.FloatField(), "1.5"),
    (lambda: models.FloatField(), 5),
    (lambda: models.FloatField(), 0.1 + 0.2),
    (lambda: models.UUIDField(), KEY),
    (lambda: models.DateField(), "2026-07-01"),
    (lambda: models.DateField(), dt.datetime(2026, 7, 1, 0, 30, tzinfo=BERLIN)),
    (lambda: models.DateField(auto_now=True), None),
    (lambda: models.DateTimeField(), MOMENT),
    (lambda: models.DateTimeField(), MOMENT.isoformat()),
    (lambda: models.DateTimeField(auto_now_add=True), None),
    (lambda: models.DateTimeField(null=True), None),
    (lambda: models.TimeField(), "12:30:05.5"),
    (lambda: models.TimeField(), dt.time(12, 30, 5, 123456)),
    (lambda: models.DurationField(), dt.timedelta(days=1, microseconds=5)),
    (lambda: models.BinaryField(), memoryview(b"abc")),
    (lambda: models.ForeignKey(Group, models.DO_NOTHING, db_constraint=False), "5"),
    (lambda: models.OneToOneField(Group, models.DO_NOTHING, db_constraint=False, null=True), ""),
    (lambda: json_field(), {2: "a", True: "b", None: "c", 1.5: "d"}),
    (lambda: json_field(), {"t": (1, 2), "big": 1e16, "small": 1e-7, "zero": -0.0, "x": "1e+5"}),
    (lambda: json_field(), [None, 1, "a", {"b": [Kind.ONE]}]),
    (lambda: json_field(encoder=DjangoJSONEncoder), {"at": MOMENT, "n": Decimal("1.50"), "t": gettext_lazy("yes")}),
    (lambda: json_field(), "text"),
    (lambda: json_field(), None),
    (lambda: Upper(max_length=20), "abc"),
    (lambda: Upper(max_length=20), None),
    (lambda: Words(), ["a", "b"]),
    (lambda: Upper(max_length=20), NOT_PROVIDED),
]  # fmt: skip
#: Of these the database alone knows what it stored.
ASKED: list[tuple[Callable[[], models.Field], Any]] = [
    (lambda: Cut(), Decimal("23.75")),
    (lambda: Coarse(max_digits=5, decimal_places=2), Decimal("23.75")),
    (lambda: models.IntegerField(), models.Value(2) + 3),
    (lambda: models.IntegerField(db_default=7), NOT_PROVIDED),
    (
        lambda: models.GeneratedField(
            expression=models.Value(7), output_field=models.IntegerField(), db_persist=True
        ),
        NOT_PROVIDED,
    ),
    (lambda: json_field(), models.Value(None, models.JSONField())),
    (lambda: json_field(decoder=DecimalDecoder), {"n": 1.25}),  # what was loaded could not be saved
]


def add_postgresql_fields() -> None:
    from django.contrib.postgres import fields, search
    from django.db.backends.postgresql.psycopg_any import DateRange, DateTimeTZRange, NumericRange

    def decimals() -> models.Field:
        return fields.ArrayField(models.DecimalField(max_digits=10, decimal_places=2))

    class Numbers(fields.ArrayField):
        def __init__(self, base_field: Any = None, **options: Any) -> None:
            super().__init__(base_field or models.IntegerField(), **options)

    day = dt.date(2026, 7, 1)
    FIELDS.extend([
        (decimals, [Decimal("23.7881"), 5, "0.125"]),
        (decimals, (Decimal("1.005"),)),
        (lambda: fields.ArrayField(decimals()), [[Decimal("1.999")], [Decimal("2.001")]]),
        (lambda: fields.ArrayField(models.TextField()), []),
        (lambda: fields.ArrayField(models.CharField(max_length=5, null=True)), ["a", None, Colour.RED]),
        (lambda: fields.ArrayField(models.DateTimeField()), [MOMENT]),
        (lambda: fields.ArrayField(models.UUIDField()), [KEY]),
        (lambda: fields.ArrayField(models.GenericIPAddressField()), ["2001:DB8::1"]),
        (lambda: fields.ArrayField(json_field()), [{1: "a"}, None]),
        (lambda: fields.ArrayField(Words()), [["a", "b"]]),
        (lambda: fields.ArrayField(models.IntegerField(), null=True), None),
        (lambda: Numbers(), ["1", 2]),
        (lambda: fields.HStoreField(), {1: 2, "a": None}),
        (lambda: fields.IntegerRangeField(), (1, 5)),
        (lambda: fields.IntegerRangeField(), NumericRange(1, 5, "(]")),
        (lambda: fields.IntegerRangeField(), NumericRange(None, 5, "[]")),
        (lambda: fields.IntegerRangeField(), NumericRange(None, None, "()")),
        (lambda: fields.IntegerRangeField(), NumericRange(3, 4, "()")),
        (lambda: fields.IntegerRangeField(), NumericRange(empty=True)),
        (lambda: fields.IntegerRangeField(null=True), None),
        (lambda: fields.BigIntegerRangeField(), [1, None]),
        (lambda: fields.DecimalRangeField(), (Decimal(1), Decimal("2.50"))),
        (lambda: fields.DecimalRangeField(default_bounds="[]"), (Decimal("1E+2"), 200)),
        (lambda: fields.DecimalRangeField(), NumericRange(Decimal(1), Decimal("1.0"), "[)")),
        (lambda: fields.DateRangeField(), DateRange(day, day, "[]")),
        (lambda: fields.DateRangeField(), (day, None)),
        (lambda: fields.DateTimeRangeField(), DateTimeTZRange(MOMENT, None)),
        (lambda: fields.DateTimeRangeField(), (MOMENT, MOMENT + dt.timedelta(hours=1))),
        (lambda: fields.DateTimeRangeField(), (MOMENT.replace(tzinfo=None), None)),
    ])  # fmt: skip
    ASKED.extend([
        (lambda: fields.ArrayField(models.IntegerField()), "{1,2}"),
        (lambda: fields.IntegerRangeField(), "[1,5]"),
        (lambda: search.SearchVectorField(), "a:2 b:1"),
        (lambda: search.SearchVectorField(null=True), None),
    ])  # fmt: skip


if connection.vendor == "postgresql":
    add_postgresql_fields()


@pytest.fixture
def hstore() -> None:
    if connection.vendor == "postgresql":
        from django.contrib.postgres.signals import get_hstore_oids, register_type_handlers

        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS hstore")
        get_hstore_oids.cache_clear()
        register_type_handlers(connection)


@contextmanager
def table_of(make: Callable[[], models.Field]) -> Iterator[type[Model]]:
    """A model with one field, and its table."""

    class Thing(models.Model):
        value = make()

        class Meta:
            app_label = "notes"

    with connection.schema_editor(atomic=False) as editor:
        editor.create_model(Thing)
    try:
        yield Thing
    finally:
        with connection.schema_editor(atomic=False) as editor:
            editor.delete_model(Thing)


def seen(instance: Model, event: str = "created", **options: Any) -> Event:
    return Event(instance=instance, event=event, using="default", **options)


def label(each: Any) -> str:
    return type(each()).__name__ if getattr(each, "__name__", "") in ("<lambda>", "decimals") else "value"


def check(make: Any, value: Any, queries: int) -> None:
    with table_of(make) as thing:
        name = thing._meta.get_field("value").attname
        fresh = thing(**({} if value is NOT_PROVIDED else {name: value}))
        fresh.save()
        loaded = thing.objects.get()
        row = thing.objects.values().get()
        held = row[name]
        with CaptureQueriesContext(connection) as asked:
            found = seen(fresh).new("value")
        assert len(asked) <= queries
        again = seen(loaded).new("value")
        assert (type(found), repr(found)) == (type(again), repr(again))
        assert found == (bytes(held) if isinstance(held, memoryview) else held)
        assert not seen(fresh, "updated", before=row).changed("value")
        assert repr(seen(fresh, "updated", before=row).old("value")) == repr(found)


@pytest.mark.usefixtures("hstore")
@pytest.mark.parametrize(("make", "value"), FIELDS, ids=label)
def test_a_fresh_object_and_a_reloaded_one_give_the_same_value_without_a_query(make: Any, value: Any) -> None:
    check(make, value, queries=0)


@pytest.mark.parametrize(("make", "value"), ASKED, ids=label)
def test_where_the_field_cannot_say_the_row_is_asked_once(make: Any, value: Any) -> None:
    check(make, value, queries=1)


@pytest.mark.parametrize("is_aware", [True, False])
def test_moments_are_those_of_the_projects_zone(settings: Any, is_aware: bool) -> None:
    settings.TIME_ZONE, settings.USE_TZ = "Europe/Berlin", is_aware
    with table_of(models.DateTimeField) as thing, timezone.override("Asia/Tokyo"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Django's own, of the naive moment
        fresh = thing.objects.create(value="2026-07-01 12:00")
        warnings.simplefilter("error")
        found = seen(fresh).new("value")
    assert found.isoformat() == ("2026-07-01T10:00:00+00:00" if is_aware else "2026-07-01T12:00:00")


def test_a_deleted_object_holds_what_was_stored_of_it() -> None:
    with table_of(lambda: models.DecimalField(max_digits=10, decimal_places=2)) as thing:
        assert seen(thing(value=Decimal("23.7881")), "deleted").new("value") == Decimal("23.79")


def test_a_deleted_object_holds_what_it_has_where_only_the_row_that_is_gone_would_tell() -> None:
    with table_of(Cut) as thing:
        assert seen(thing(value=Decimal("2.5")), "deleted").new("value") == Decimal("2.5")


def test_what_a_save_does_not_write_is_told_as_it_is_stored() -> None:
    with table_of(lambda: models.DecimalField(max_digits=10, decimal_places=2)) as thing:
        fresh = thing.objects.create(value=Decimal("23.7881"))
        assert seen(fresh, "updated", written=frozenset()).new("value") == Decimal("23.79")
        fresh.value = models.F("value") + 1
        assert seen(fresh, "updated", written=frozenset()).new("value") == Decimal("23.79")


# -- from a save to its message ---------------------------------------------------------------------


@contextmanager
def sending(field: Callable[[], models.Field], **columns: Any) -> Iterator[type[Model]]:
    """A model whose saves send its value."""
    task = make_registry()
    TaskDefinition.objects.update(parameters={})
    with table_of(field) as thing:
        row = make_trigger(task, "created", "updated", model="notes.thing", **columns)
        row.arguments.filter(parameter="text").update(value="value")
        yield thing


def sent() -> list[Any]:
    assert not OutboxMessage.objects.filter(status="dead")
    return [json.loads(row.kwargs)["text"] for row in OutboxMessage.objects.order_by("id")]


@pytest.mark.usefixtures("no_ttl")
@pytest.mark.parametrize("operator", ["equals", "changed_to"])
def test_a_number_is_sent_and_compared_as_its_column_rounds_it(operator: str) -> None:
    price = partial(models.DecimalField, max_digits=10, decimal_places=2)
    with sending(price, when=("value", operator, "23.79")) as thing:
        thing.objects.create(value=Decimal("23.7881"))
        assert sent() == ["23.79"]


@pytest.mark.usefixtures("no_ttl")
def test_a_number_that_is_rounded_to_what_is_stored_has_not_changed() -> None:
    price = partial(models.DecimalField, max_digits=10, decimal_places=2)
    with sending(price, when=("value", "changed", "")) as thing:
        thing.objects.create(value=Decimal("23.7881")).save()
        assert sent() == ["23.79"]


@pytest.mark.usefixtures("no_ttl")
def test_json_with_keys_that_are_no_texts_is_sent_as_it_is_stored() -> None:
    with sending(json_field) as thing:
        thing.objects.create(value={1: "a", None: {True: "b"}})
        assert sent() == [{"1": "a", "null": {"true": "b"}}]


@only_postgresql
@pytest.mark.usefixtures("no_ttl")
@pytest.mark.parametrize("text", ['{"lower": 1, "upper": 5, "bounds": "[]"}', '{"lower": 1, "upper": 6}'])
def test_a_range_is_sent_as_an_object_and_compared_as_it_is_stored(text: str) -> None:
    from django.contrib.postgres.fields import IntegerRangeField
    from django.db.backends.postgresql.psycopg_any import NumericRange

    with sending(IntegerRangeField, when=("value", "equals", text)) as thing:
        thing.objects.create(value=NumericRange(1, 5, "[]"))
        thing.objects.create(value=(1, 5))
        assert sent() == [{"lower": 1, "upper": 6, "bounds": "[)"}]


@pytest.mark.usefixtures("no_ttl")
def test_messages_of_a_key_that_was_given_as_a_text_are_found_by_the_reloaded_object() -> None:
    with sending(models.IntegerField) as thing:
        thing.objects.create(pk="007", value=1)
        assert OutboxMessage.objects.get().object_pk == str(thing.objects.get().pk)


@pytest.mark.usefixtures("no_ttl")
def test_a_preview_shows_the_assumed_value_of_a_column_that_the_database_alone_knows() -> None:
    with sending(Cut, name="cut") as thing:
        thing.objects.create(value=1)
        [found] = candidates("cut")
        answer = preview(found, thing.objects.get(), "updated", {"value": "2.5"})
        assert answer.body is not None
        assert answer.body.kwargs["text"] == "2.5"
