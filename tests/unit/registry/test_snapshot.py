"""A task definition as plain data: what it checks, and what it never quotes."""

from __future__ import annotations

import pytest

from dispatch.core.routing import Target
from dispatch.core.schema.parameters import Parameters
from dispatch.exceptions import InvalidArguments
from dispatch.registry import Task

SECRET = "S3CRET"
PROPERTIES = {"token": {"type": "string", "maxLength": 3}, "note": {"type": "integer"}, "deep": {}}


def task(**schema):
    parameters = Parameters({"type": "object", "properties": PROPERTIES, **schema})
    return Task("t", parameters, Target(), {}, frozenset({"token"}))


def refusal(of, *args, **kwargs):
    with pytest.raises(InvalidArguments) as caught:
        of.check(args, kwargs)
    return caught.value


@pytest.mark.parametrize(
    "schema",
    [
        {"maxProperties": 1},
        {"not": {"required": ["token"]}},
        {"oneOf": [{"required": ["note"]}, {"required": ["token"]}]},
        {"dependentRequired": {"token": ["deep"]}},
        {"const": {"token": "other"}},
        {"enum": [{"token": "other"}]},
    ],
    ids=str,
)
def test_a_rule_on_all_arguments_is_told_without_any_value(schema):
    assert SECRET not in str(refusal(task(**schema), token=SECRET[:3], note=1))
    assert SECRET not in str(refusal(task(**schema), token=SECRET, note=1))


@pytest.mark.parametrize("value", [SECRET, [SECRET], {"a": SECRET}])
def test_a_sensitive_value_is_not_quoted_by_its_own_rule(value):
    error = refusal(task(), token=value)
    assert SECRET not in str(error)
    assert error.pointer.startswith("/kwargs/token")


def test_a_sensitive_value_is_not_quoted_where_it_was_given_by_position():
    error = refusal(task(**{"x-positional": ["token"]}), SECRET)
    assert (SECRET in str(error), error.pointer) == (False, "/args/0")


def test_a_sensitive_parameter_may_have_a_slash_in_its_name():
    parameters = Parameters({"properties": {"a/b~c": {"type": "integer"}}})
    error = refusal(Task("t", parameters, Target(), {}, frozenset({"a/b~c"})), **{"a/b~c": SECRET})
    assert SECRET not in str(error)


def test_other_values_are_quoted_because_that_helps():
    assert "'seven' is not of type 'integer'" in str(refusal(task(), note="seven"))


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        ("string", 5, "5"),
        ("string", 1.5, "1.5"),
        ("string", True, True),
        ("string", None, None),
        ("integer", 5, 5),
    ],
)
def test_a_number_becomes_a_text_where_the_schema_wants_one(wanted, value, expected):
    parameters = Parameters({"properties": {"key": {"type": wanted}}})
    found = Task("t", parameters, Target(), {}, frozenset()).fitted({"key": value, "more": 1})
    assert found == {"key": expected, "more": 1}
