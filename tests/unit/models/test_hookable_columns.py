from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.expressions import RawSQL
from django.db.models.functions import Upper
from django.test.utils import isolate_apps
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core import trigger_rules
from dispatch.core.json_values import plain
from dispatch.core.schema.parameters import Parameters
from dispatch.exceptions import ConfigurationError, InvalidArguments
from dispatch.models import TaskDefinition, Trigger, TriggerArgument, TriggerCondition
from dispatch.models.hookable_columns import (
    KINDS,
    OTHERS,
    check_held,
    expected,
    find_field,
    kind,
    operators,
    to_python,
)
from dispatch.triggers.event_values import Event

moments = st.datetimes(timezones=st.just(dt.UTC))
#: Columns of each kind, with values that they hold and how those are written in a condition.
COLUMNS: dict[models.Field[Any, Any], st.SearchStrategy[Any]] = {
    models.BooleanField(name="f"): st.booleans(),
    models.IntegerField(name="f"): st.integers(-(2**31), 2**31 - 1),
    models.BigAutoField(name="f", primary_key=True): st.integers(1, 2**31 - 1),
    models.FloatField(name="f"): st.floats(allow_nan=False, allow_infinity=False),
    models.DecimalField(name="f", max_digits=20, decimal_places=2): st.decimals(-1000, 1000, places=2),
    models.DateField(name="f"): st.dates(),
    models.DateTimeField(name="f"): moments,
    models.TimeField(name="f"): st.times(),
    models.DurationField(name="f"): st.timedeltas(dt.timedelta(0), dt.timedelta(days=9)),
    models.CharField(name="f"): st.text("abc "),
    models.TextField(name="f"): st.text("abc "),
    models.SlugField(name="f"): st.text("abc-"),
    models.FileField(name="f"): st.text("abc/"),
    models.GenericIPAddressField(name="f"): st.ip_addresses(v=4).map(str),
    models.UUIDField(name="f"): st.uuids(),
    models.BinaryField(name="f"): st.binary(),
}
columns = pytest.mark.parametrize("field", COLUMNS, ids=lambda field: type(field).__name__)


class Seen:
    """An update from one value to another."""

    event, relation, related = trigger_rules.UPDATED, "", ()
    at = dt.datetime.now(dt.UTC)

    def __init__(self, before: Any, after: Any) -> None:
        self.before, self.after = before, after

    def new(self, field: str) -> Any:
        return self.after

    def old(self, field: str) -> Any:
        return self.before

    def changed(self, field: str) -> bool:
        return bool(self.before != self.after)

    def natural_key(self) -> list[Any]:
        return []


def test_the_table_knows_every_kind_of_column_that_django_has():
    own = {
        each
        for each in vars(models).values()
        if isinstance(each, type) and issubclass(each, models.Field) and each != models.Field
    }
    relations = {models.ForeignKey, models.OneToOneField, models.ManyToManyField, models.ForeignObject}
    generated = {getattr(models, "GeneratedField", None), getattr(models, "CompositePrimaryKey", None)}
    known = tuple(each for classes, _kind in KINDS for each in classes)
    unknown = {each for each in own - relations - generated if not issubclass(each, known)}
    assert {each.__name__ for each in unknown} <= {"OrderWrt", "IPAddressField"}


def test_every_operator_fits_some_column():
    fitting = {name for _classes, found in KINDS for name in found.operators} | {"is_null"}
    assert fitting == {*trigger_rules.OPERATORS, *trigger_rules.TRANSITIONS}


@pytest.mark.parametrize(
    ("field", "misfits"),
    [
        (models.BooleanField(name="f"), {"contains", "less", "in", "is_null"}),
        (models.JSONField(name="f"), {"less", "contains", "starts_with"}),
        (models.TextField(name="f"), {"less", "at_most", "greater", "at_least"}),
        (models.UUIDField(name="f"), {"less", "contains"}),
        (models.IntegerField(name="f"), {"contains", "starts_with"}),
        (models.BinaryField(name="f"), {"equals", "less", "changed_to"}),
        (TaskDefinition._meta.get_field("manifest"), {"less", "greater", "contains"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_operators_without_a_meaning_are_not_offered(field, misfits):
    assert misfits.isdisjoint(operators(field))
    assert "changed" in operators(field)


def test_null_can_be_asked_for_where_it_can_be():
    assert "is_null" in operators(models.IntegerField(name="f", null=True))
    assert "is_null" not in operators(models.IntegerField(name="f"))


def test_a_column_of_a_third_party_can_be_compared():
    class Money(models.Field):
        pass

    assert kind(Money(name="f")) is OTHERS


@columns
@given(data=st.data())
def test_an_operator_that_fits_never_fails_on_a_value_that_the_column_holds(field, data):
    of = COLUMNS[field]
    operator = data.draw(st.sampled_from(operators(field)))
    one, two = _written(data.draw(of)), _written(data.draw(of))
    value = expected(field, operator, f"{one}\n{two}" if operator == "changed_from_to" else one)
    held = st.one_of(of, st.none())
    condition = trigger_rules.Condition("f", operator, value)
    assert condition.holds(Seen(data.draw(held), data.draw(held))) in (True, False)


@columns
@given(data=st.data())
def test_a_value_reads_back_from_how_it_is_written(field, data):
    if "equals" not in operators(field):
        return
    value = data.draw(COLUMNS[field])
    condition = trigger_rules.Condition("f", "equals", expected(field, "equals", _written(value)))
    assert condition.holds(Seen(None, value))


@columns
@given(data=st.data())
def test_what_a_column_sends_has_the_json_type_that_the_table_says(field, data):
    value = data.draw(COLUMNS[field])
    try:
        sent = plain(value)
    except InvalidArguments:
        assert kind(field).json is None
        return
    schema = {"type": "object", "properties": {"p": {"type": kind(field).json}}}
    Parameters(schema).check((), {"p": sent})


def _written(value: Any) -> str:
    return value.isoformat() if isinstance(value, (dt.date, dt.time)) else str(value)


# -- values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    [
        models.IntegerField(name="f", null=True),
        models.DateTimeField(name="f", null=True),
        models.UUIDField(name="f", null=True),
        models.BooleanField(name="f", null=True),
        TaskDefinition._meta.get_field("manifest"),
    ],
    ids=lambda field: type(field).__name__,
)
def test_null_is_written_as_a_word(field):
    assert to_python(field, "null") is None
    assert expected(field, "changed_from_to", "null\nnull") == (None, None)


def test_null_is_a_text_in_a_column_of_texts():
    assert to_python(models.CharField(name="f", null=True), "null") == "null"


def test_json_is_compared_as_json():
    field = models.JSONField(name="f")
    assert expected(field, "equals", '{"a": [1, null]}') == {"a": [1, None]}
    with pytest.raises(ValidationError, match="Write JSON"):
        expected(field, "equals", "{a}")


@pytest.mark.parametrize(
    ("field", "operator", "value"),
    [
        (models.CharField(name="f", max_length=3), "equals", "long"),
        (models.CharField(name="f", max_length=3), "in", ("ok", "long")),
        (models.CharField(name="f", choices=[("a", "A")]), "changed_from_to", ("a", "b")),
        (models.DecimalField(name="f", max_digits=3, decimal_places=1), "less", decimal.Decimal("0.05")),
        (models.SlugField(name="f"), "equals", "no slug"),
    ],
)
def test_what_a_column_can_never_hold_is_refused(field, operator, value):
    with pytest.raises(ValidationError):
        check_held(field, operator, value)


@pytest.mark.parametrize(
    ("field", "operator", "value"),
    [
        (models.CharField(name="f", choices=[("a", "A")], blank=True), "equals", ""),
        (models.CharField(name="f", choices=[("a", [("b", "B")])]), "equals", "b"),
        (models.IntegerField(name="f", choices=[(1, "one")]), "less", 5),
        (models.CharField(name="f", max_length=3), "contains", "longer"),
        (models.UUIDField(name="f", null=True), "changed_to", None),
        (models.UUIDField(name="f"), "equals", uuid.UUID(int=1)),
    ],
)
def test_what_a_column_may_hold_is_accepted(field, operator, value):
    check_held(field, operator, value)


@pytest.fixture
def vault():
    """Models that hold a sensitive key and what can be reached of it, in a registry of their own."""
    with isolate_apps("project.notes"):

        class Vault(models.Model):
            token = models.CharField(max_length=20, unique=True)
            name = models.CharField(max_length=20)
            loud = models.GeneratedField(
                expression=Upper("token"), output_field=models.TextField(), db_persist=True
            )
            is_open = models.GeneratedField(
                expression=models.Case(models.When(models.Q(token="x"), then=1), default=0),
                output_field=models.IntegerField(),
                db_persist=True,
            )
            raw = models.GeneratedField(
                expression=RawSQL("token || 'x'", ()), output_field=models.TextField(), db_persist=True
            )
            greeting = models.GeneratedField(
                expression=Upper("name"), output_field=models.TextField(), db_persist=True
            )

            class Meta:
                app_label = "notes"

        class Key(models.Model):
            vault = models.ForeignKey(Vault, models.CASCADE, to_field="token")
            plain = models.ForeignKey(Vault, models.CASCADE, related_name="+")

            class Meta:
                app_label = "notes"

        class Spare(models.Model):
            key = models.OneToOneField(Vault, models.CASCADE, to_field="token", primary_key=True)

            class Meta:
                app_label = "notes"

        class Copy(models.Model):
            spare = models.ForeignKey(Spare, models.CASCADE)

            class Meta:
                app_label = "notes"

        class Pair(models.Model):
            pk = models.CompositePrimaryKey("token", "number")
            token = models.CharField(max_length=20)
            number = models.IntegerField()

            class Meta:
                app_label = "notes"

        class Holder(models.Model):
            spares = models.ManyToManyField(Spare)
            vaults = models.ManyToManyField(Vault, related_name="+")
            hidden = models.ManyToManyField(Vault, related_name="+")

            class Meta:
                app_label = "notes"

        yield {model.__name__: model for model in (Vault, Key, Spare, Copy, Pair, Holder)}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Vault", "token"),
        ("Vault", "loud"),
        ("Vault", "is_open"),
        ("Vault", "raw"),
        ("Key", "vault"),
        ("Key", "vault_id"),
        ("Spare", "key"),
        ("Spare", "pk"),
        ("Copy", "spare"),
        ("Pair", "token"),
        ("Pair", "pk"),
    ],
)
def test_what_holds_a_sensitive_value_is_sensitive_itself(model, name, vault, settings):
    find_field(vault[model], name)
    settings.DISPATCH = {"SENSITIVE_FIELDS": ["notes.Vault.token", "notes.pair.token"]}
    with pytest.raises(ValidationError, match="is a sensitive field"):
        find_field(vault[model], name)
    with pytest.raises(ValidationError, match="is a sensitive field"):
        TriggerCondition(field=name, operator="equals", value="x").spec(vault[model])
    if name == "pk":
        with pytest.raises(ValidationError, match="is a sensitive field"):
            TriggerArgument(source="pk").spec(vault[model])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Vault", "name"),
        ("Vault", "greeting"),
        ("Vault", "pk"),
        ("Key", "plain"),
        ("Pair", "number"),
        ("Key", "pk"),
    ],
)
def test_what_does_not_hold_one_can_be_sent(model, name, vault, settings):
    settings.DISPATCH = {"SENSITIVE_FIELDS": ["notes.vault.token", "notes.pair.token"]}
    find_field(vault[model], name)
    TriggerArgument(source="pk" if name == "pk" else "field", value=name).spec(vault[model])


@pytest.mark.parametrize(
    ("watched", "sensitive", "refused"),
    [
        (["spares"], ["notes.vault.token"], "spares"),
        ([], ["notes.vault.token"], "spares"),
        (["vaults"], ["notes.vault.token"], None),
        (["vaults"], ["notes.vault.id"], "vaults"),
        (["vaults"], ["notes.holder.hidden"], None),
        (["hidden"], ["notes.holder.hidden"], "hidden"),
        ([], [], None),
    ],
    ids=str,
)
def test_keys_of_related_objects_are_refused_where_they_are_sensitive(
    watched, sensitive, refused, vault, settings
):
    settings.DISPATCH = {"SENSITIVE_FIELDS": sensitive}
    argument = TriggerArgument(source="related", trigger=Trigger(watched=watched))
    if refused is None:
        assert argument.spec(vault["Holder"]) == trigger_rules.Argument("related")
    else:
        with pytest.raises(ValidationError, match=f"{refused} holds sensitive keys"):
            argument.spec(vault["Holder"])


def keys(function):
    """Return the natural key of a vault whose ``natural_key()`` is ``function``."""

    class Vault(models.Model):
        token = models.CharField(max_length=20)
        name = models.CharField(max_length=20)
        natural_key = function

        class Meta:
            app_label = "notes"

    held = Vault(pk=1, token="s3cr3t", name="n")
    return Event(instance=held, event="updated", using="default").natural_key()


@isolate_apps("project.notes")
@pytest.mark.parametrize(
    "function",
    [
        lambda self: (self.token,),
        lambda self: [self.name, self.token],
        lambda self: (f"{self.token}!",),
        lambda self: ("%s" % self.token,),  # noqa: UP031
        lambda self: (self.token + self.name,),
        lambda self: (self.name + self.token,),
        lambda self: (self.token.upper(),),
        lambda self: (self.token[:3],),
        lambda self: (*self.token,),
        lambda self: (len(self.token),),
        lambda self: ("x" if self.token else "y",),
        lambda self: (str(self.token),),
        lambda self: (hash(self.token),),
        lambda self: (self.token == "s3cr3t",),
    ],
    ids=[
        "alone",
        "in a list",
        "formatted",
        "by percent",
        "before",
        "after",
        "its method",
        "cut",
        "each",
        "length",
        "truth",
        "text",
        "hash",
        "compared",
    ],
)
def test_a_natural_key_that_reads_a_sensitive_field_is_refused(function, settings):
    settings.DISPATCH = {"SENSITIVE_FIELDS": ["notes.vault.token"]}
    with pytest.raises(
        ConfigurationError, match=r"Vault.natural_key\(\) reads 'token', a sensitive field"
    ) as caught:
        keys(function)
    assert "s3cr3t" not in str(caught.value)


@isolate_apps("project.notes")
def test_a_natural_key_that_reads_none_is_sent(settings):
    settings.DISPATCH = {"SENSITIVE_FIELDS": ["notes.vault.token"]}
    assert keys(lambda self: (self.name, self.pk)) == ("n", 1)


def test_the_natural_key_of_a_user_is_sent():
    seen = Event(instance=User(username="ada", password="s3cr3t"), event="updated", using="default")
    assert seen.natural_key() == ("ada",)
