from __future__ import annotations

from dispatch.core.python_source.signatures import signature

TEXT = {"type": "string"}


def names(arguments):
    return [argument.name for argument in arguments]


def test_parameters_are_sorted_into_pythons_kinds():
    found = signature(
        {
            "properties": dict.fromkeys(["a", "b", "z", "y", "x"], TEXT),
            "required": ["a", "z"],
            "additionalProperties": {"type": "integer"},
            "x-positional": ["a", "b"],
            "x-positional-only": ["a"],
            "x-variadic": {"type": "number"},
        }
    )
    assert names(found.positional_only) == ["a"]
    assert names(found.positional) == ["b"]
    assert names(found.keyword_only) == ["z", "x", "y"]
    assert found.variadic.schema == {"type": "number"}
    assert found.further.schema == {"type": "integer"}
    assert [each.name for each in found.arguments if each.required] == ["a", "z"]


def test_an_empty_schema_takes_anything():
    found = signature({})
    assert found.arguments == ()
    assert found.variadic.schema is True
    assert found.further.schema is True


def test_without_further_properties_there_are_none():
    found = signature({"properties": {"a": TEXT}, "additionalProperties": False})
    assert found.variadic is None
    assert found.further is None
    assert names(found.keyword_only) == ["a"]


def test_names_that_python_does_not_take_are_changed_and_told():
    properties = dict.fromkeys(["from", "from_", "a-b", "__x", "kwargs"], TEXT)
    found = signature({"properties": properties, "x-positional": list(properties)})
    assert names(found.positional) == ["from__", "from_", "a_b", "x", "kwargs"]
    assert found.renamed == {"from__": "from", "a_b": "a-b", "x": "__x"}
    assert found.further.name == "kwargs_"


def test_a_parameter_before_a_required_one_is_required_too():
    found = signature({"properties": {"a": TEXT, "b": TEXT}, "required": ["b"], "x-positional": ["a", "b"]})
    assert all(each.required for each in found.positional)


def test_names_without_a_schema_take_anything():
    found = signature({"required": ["b"], "x-positional": ["a", "a"]})
    assert [(each.name, each.schema) for each in found.arguments] == [("a", True), ("b", True)]


def test_a_default_is_one_only_of_what_may_be_left_out():
    found = signature(
        {
            "properties": {"a": {"default": 1}, "b": {"default": None}},
            "required": ["a"],
            "x-positional": ["a", "b"],
        }
    )
    assert [each.has_default for each in found.arguments] == [False, True]
    assert found.arguments[1].default is None
