from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.configuration import document
from dispatch.configuration.document import SECTIONS, in_order
from dispatch.core.manifest import sealed
from dispatch.exceptions import InvalidConfiguration
from dispatch.models import Queue
from tests.support.configurations import minimal

WORDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def refusal(text):
    with pytest.raises(InvalidConfiguration) as caught:
        document.read(text if isinstance(text, str) else json.dumps(text))
    return str(caught.value)


# -- what the document holds ------------------------------------------------------------


def test_the_lists_of_the_document_are_these():
    assert [section.name for section in SECTIONS] == ["exchanges", "queues", "routes", "tasks", "triggers"]
    assert [section.name for section in in_order() if section.parent] == [
        "bindings",
        "conditions",
        "arguments",
    ]


@pytest.mark.parametrize("section", in_order(), ids=lambda section: section.name)
def test_every_column_is_configuration_or_known_to_be_state(section):
    """A new column of a model is exported; one that is written while the system runs must be named in STATE."""
    columns = {field.name for field in section.model._meta.concrete_fields}
    assert columns - {field.name for field in section.fields} <= {
        "id",
        "manifest",
        "disabled_reason",
        "paused",
        "retired_at",
        "retired_version",
    }


@pytest.mark.parametrize("section", in_order(), ids=lambda section: section.name)
def test_the_natural_key_comes_first(section):
    own = [name for name in section.key_columns if name != section.parent]
    assert set(section.columns[: len(own)]) == set(own)


def test_texts_of_json_have_one_form():
    [queues] = (section for section in SECTIONS if section.name == "queues")
    found = queues.plain(Queue(arguments={"b": [{"d": 1, "c": 1e23}], "a": 1.0}))
    assert json.dumps(found["arguments"]) == '{"a": 1.0, "b": [{"c": 100000000000000000000000, "d": 1}]}'


# -- what is refused, in a sentence each ---------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "The configuration is not JSON: "),
        ("[" * 100_000, "The configuration is not JSON: "),
        ("[]", "must be a JSON object, not []: write it with `manage.py dispatch config export`."),
        ("{}", "not a configuration of format 1, but None"),
        ('{"configuration": 2}', "not a configuration of format 1, but 2"),
        ('{"configuration": true}', "not a configuration of format 1, but True"),
        ('{"routing": 1}', "write it with `manage.py dispatch config export`"),
        ('{"configuration": 1, "queus": []}', "/queus is not a key (did you mean 'queues'?)."),
        ('{"configuration": 1, "x": "\\ud800"}', "the text at /x holds '\\ud800'"),
        ('{"configuration": 1, "queues": [{"name": "a\\u0000"}]}', "the text at /queues/0/name holds"),
        ('{"configuration": 1, "queues": [{"name": "a", "arguments": {"x": NaN}}]}', "/queues/0/arguments/x"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_configuration_is_refused_in_one_sentence(text, complaint):
    assert complaint in refusal(text)
    assert "\n" not in refusal(text)


def test_an_edited_document_is_refused_until_its_checksum_is_removed():
    text = sealed(minimal(queues=[{"name": "llm"}]))
    assert document.read(text).entries[0].key == ("llm",)
    edited = text.replace("llm", "stt")
    assert 'remove the line "checksum"' in refusal(edited)
    without = {key: value for key, value in json.loads(edited).items() if key != "checksum"}
    assert document.read(json.dumps(without)).entries[0].key == ("stt",)


@pytest.mark.parametrize(
    ("lists", "complaint"),
    [
        ({"queues": {}}, "/queues must be a list of objects, not {}."),
        ({"queues": ["llm"]}, "/queues/0 must be an object, not 'llm'."),
        ({"queues": [{}]}, "/queues/0/name must be a text that is not empty: the row goes by it."),
        ({"queues": [{"name": ""}]}, "/queues/0/name must be a text that is not empty"),
        ({"queues": [{"name": 7}]}, "/queues/0/name must be a text that is not empty"),
        ({"queues": [{"name": "a", "max_prio": 3}]}, "/queues/0/max_prio is not a key (did you mean 'max_priority'"),
        ({"queues": [{"name": "a", "paused": True}]}, "/queues/0/paused is no configuration, but state: leave it out."),
        ({"queues": [{"name": "a"}, {"name": "a"}]}, "/queues/1 is queue 'a' once more: it stands at /queues/0"),
        ({"queues": [{"name": "a", "bindings": {}}]}, "/queues/0/bindings must be a list of objects"),
        ({"queues": [{"name": "a", "bindings": [{"key": "x"}]}]}, "/queues/0/bindings/0/key is not a key"),
        ({"routes": [{"pattern": "a", "kind": None}]}, "/routes/0/kind must be a text"),
        ({"triggers": [{"name": "t", "arguments": [{"parameter": ""}]}]}, "/triggers/0/arguments/0/parameter must be"),
    ],
)  # fmt: skip
def test_each_error_is_named_with_its_path(lists, complaint):
    assert complaint in refusal(minimal(**lists))


def test_every_error_is_told_at_once():
    text = refusal(minimal(queues=[{"name": 1}, {"nam": "x"}], routes=[[]]))
    assert [line.split()[0] for line in text.splitlines()] == ["/queues/0/name", "/queues/1/nam", "/routes/0"]


@given(st.dictionaries(st.sampled_from(["queues", "routes", "tasks", "triggers", "exchanges"]), WORDS))
def test_whatever_stands_there_is_read_or_refused_with_a_sentence(lists):
    with suppress(InvalidConfiguration):
        document.parse(minimal(**lists))


# -- what is read ------------------------------------------------------------------------------


def test_nested_rows_go_by_the_row_they_stand_in():
    read = document.parse(
        minimal(queues=[{"name": "stt", "bindings": [{"exchange": "media", "routing_key": "a.#"}]}])
    )
    binding = read.entries[1]
    assert (binding.key, binding.path) == (("stt", "media", "a.#"), "/queues/0/bindings/0")
    assert binding.label == "binding 'media' → 'stt' (a.#)"
    assert read.lists == {("queues", ()), ("bindings", ("stt",))}


def test_a_part_of_a_key_that_has_a_default_may_be_left_out():
    [route] = document.parse(minimal(routes=[{"pattern": "a.*"}])).entries
    assert (route.key, route.label) == (("a.*", "glob"), "route 'a.*' (glob)")


def test_a_document_without_a_row_lacks_what_stands_in_it_too():
    read = document.parse(minimal(queues=[{"name": "a", "bindings": [{"exchange": "e"}]}, {"name": "b"}]))
    assert [entry.path for entry in read.without(["/queues/0"]).entries] == ["/queues/1"]
    assert [entry.path for entry in read.without(["/queues/0/bindings/0"]).entries] == [
        "/queues/0",
        "/queues/1",
    ]
