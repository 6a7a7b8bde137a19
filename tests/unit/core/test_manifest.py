from __future__ import annotations

import contextlib
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core import manifest
from dispatch.exceptions import InvalidManifest

DOCUMENT = {
    "manifest": 1,
    "worker": "worker",
    "version": "0.1.0",
    "queues": [
        {"name": "llm", "durable": True, "arguments": {"x-max-priority": 9}},
        {"name": "default", "durable": False, "arguments": {}},
    ],
    "tasks": [
        {
            "name": "worker.tasks.llm.summarize_note",
            "description": "Größe ☃",
            "parameters": {"type": "object", "properties": {"note_id": {"type": "string"}}},
            "returns": {"type": "object"},
            "options": {"ignore_result": True},
            "deprecated": "use summarize_text",
            "sensitive": ["token"],
        },
        {"name": "worker.tasks.ping"},
    ],
}
#: What dispatch and the worker must both compute; written down, so that neither can change alone.
CHECKSUM = "sha256:ce60046ba912a2144f2a62b7c542d0f87d71161e23a911b0d2a2c50862aa2bae"

texts = st.text(st.characters(blacklist_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.text("abcdef", min_size=1), values, max_size=4)


def changed(**entries):
    return {**copy.deepcopy(DOCUMENT), **entries}


def test_a_manifest_is_read_as_it_was_written():
    found = manifest.read(manifest.sealed(DOCUMENT))
    first, second = found.tasks
    assert (found.worker, found.version) == ("worker", "0.1.0")
    assert found.queues == (
        manifest.ConsumedQueue("default", False, {}),
        manifest.ConsumedQueue("llm", True, {"x-max-priority": 9}),
    )
    assert found.checksum == manifest.checksum(DOCUMENT)
    assert first.name == "worker.tasks.llm.summarize_note"
    assert first.parameters == DOCUMENT["tasks"][0]["parameters"]
    assert first.returns == {"type": "object"}
    assert (first.description, first.sensitive, first.options) == (
        "Größe ☃",
        ("token",),
        {"ignore_result": True},
    )
    assert first.deprecated == "use summarize_text"
    assert second == manifest.Task("worker.tasks.ping", "", {}, {}, {}, None, ())


def test_a_live_answer_is_read_as_the_file_is():
    assert manifest.from_document(json.loads(manifest.sealed(DOCUMENT))) == manifest.read(
        manifest.sealed(DOCUMENT)
    )


def test_keys_of_a_later_version_are_ignored():
    later = changed(colour="red", tasks=[{**DOCUMENT["tasks"][0], "tempo": "allegro"}])
    assert [task.name for task in manifest.read(manifest.sealed(later)).tasks] == [
        DOCUMENT["tasks"][0]["name"]
    ]


def test_tasks_that_the_worker_left_out_are_read_with_their_reasons():
    found = manifest.read(manifest.sealed(changed(left_out=[{"name": "with space", "reason": "odd"}])))
    assert found.left_out == {"with space": "odd"}
    assert manifest.read(manifest.sealed(DOCUMENT)).left_out == {}


@pytest.mark.parametrize(
    "odd", [{"left_out": "a"}, {"left_out": [{"reason": "x"}]}, {"left_out": [{"name": "a", "reason": 5}]}]
)
def test_what_is_left_out_oddly_is_refused(odd):
    with pytest.raises(InvalidManifest, match="left_out"):
        manifest.read(manifest.sealed(changed(**odd)))


@pytest.mark.parametrize("key", ["queue", "exchange", "routing_key"])
def test_a_tasks_own_place_that_is_no_text_is_refused(key):
    with pytest.raises(InvalidManifest, match=f"Task 'a', 'options': '{key}' must be a text, not 5"):
        manifest.read(manifest.sealed(changed(tasks=[{"name": "a", "options": {key: 5}}])))


def test_options_that_are_not_set_or_of_a_later_version_are_kept():
    options = {
        "rate_limit": 5,
        "time_limit": 1.5,
        "serializer": None,
        "ignore_result": False,
        "colour": ["red"],
    }
    [task] = manifest.read(manifest.sealed(changed(tasks=[{"name": "a", "options": options}]))).tasks
    assert task.options == options


def test_large_numbers_are_read_as_postgresql_gives_them_back():
    [task] = manifest.read(
        manifest.sealed(
            changed(tasks=[{"name": "a", "parameters": {"properties": {"x": {"maximum": 1e23}}}}])
        )
    ).tasks
    assert task.parameters == {"properties": {"x": {"maximum": 10**23}}}


def test_the_checksum_is_the_one_that_worker_and_web_agreed_on():
    assert manifest.checksum(DOCUMENT) == CHECKSUM


@given(documents)
def test_a_sealed_document_carries_the_checksum_of_its_content(document):
    sealed = json.loads(manifest.sealed(document))
    assert sealed.pop("checksum") == manifest.checksum(document)
    assert sealed == document


@given(documents, st.randoms())
def test_the_order_of_keys_and_the_layout_do_not_count(document, random):
    keys = list(document)
    random.shuffle(keys)
    assert manifest.checksum({key: document[key] for key in keys}) == manifest.checksum(document)
    assert manifest.checksum(json.loads(json.dumps(document, indent=3))) == manifest.checksum(document)


@given(documents, documents)
def test_documents_that_differ_have_checksums_that_differ(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (manifest.checksum(one) == manifest.checksum(other)) == same


@pytest.mark.parametrize(
    "tamper",
    [
        lambda document: document["tasks"][0].update(name="other"),
        lambda document: document["tasks"].pop(),
        lambda document: document["queues"].reverse(),
        lambda document: document.update(extra=1),
        lambda document: document.pop("checksum"),
        lambda document: document.update(checksum="sha256:0"),
        lambda document: document.update(checksum=None),
    ],
)
def test_a_manifest_that_was_edited_is_refused(tamper):
    document = json.loads(manifest.sealed(DOCUMENT))
    tamper(document)
    with pytest.raises(InvalidManifest, match="edited or cut; export it anew"):
        manifest.read(json.dumps(document))


@pytest.mark.parametrize(
    "text", ["", "{", "tasks: []", "[" * 100_000, manifest.sealed(DOCUMENT)[:-20]], ids=lambda t: t[:9]
)
def test_a_text_that_is_no_json_is_refused(text):
    with pytest.raises(InvalidManifest, match=r"is not JSON: .*Export it anew"):
        manifest.read(text)


@pytest.mark.parametrize("text", ["[]", "null", "1", '"manifest"', "NaN", "[NaN]"])
def test_json_that_is_no_object_is_refused(text):
    with pytest.raises(InvalidManifest, match="must be a JSON object"):
        manifest.read(text)


@pytest.mark.parametrize("number", [None, 0, 2, "1"], ids=repr)
def test_another_format_is_refused_and_the_error_says_which_it_is(number):
    with pytest.raises(InvalidManifest, match=f"not a manifest of format 1, but {number!r}"):
        manifest.read(manifest.sealed(changed(manifest=number)))


def test_half_a_character_pair_is_refused():
    with pytest.raises(InvalidManifest, match=r"the text at /worker holds .* which no JSON reader accepts"):
        manifest.read('{"manifest": 1, "worker": "\\ud800"}')


def test_a_text_that_is_too_long_is_refused_before_it_is_parsed():
    with pytest.raises(InvalidManifest, match=r"has 16,777,217 characters.*is it the right file"):
        manifest.read("x" * (manifest.LONGEST + 1))


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"tasks": None}, "no list of at most"),
        ({"tasks": {}}, "no list of at most"),
        ({"tasks": ["ping"]}, "has no name: 'ping'"),
        ({"tasks": [{"name": ""}]}, "has no name"),
        ({"tasks": [{"name": 5}]}, "has no name"),
        ({"tasks": [{"x": float("nan")}]}, "nan at /tasks/0/x is not a JSON number"),
        ({"tasks": [{"name": "a\0"}]}, "the text at /tasks/0/name"),
        ({"tasks": [{"name": "a b"}]}, "holds no spaces"),
        ({"tasks": [{"name": "a" * 256}]}, "at most 255 characters"),
        ({"tasks": [{"name": "a"}] * 10_001}, "at most 10,000 tasks"),
        ({"tasks": [{"name": "a", "parameters": {"x": json.loads("[" * 70 + "]" * 70)}}]}, "64 levels deep"),
        ({"tasks": [{"name": "a", "parameters": {"$ref": "#"}}]}, "'a': The schema refers to '#' without end"),
        ({"tasks": [{"name": "a", "returns": {"$defs": {"x": {"anyOf": [{"$ref": "#/$defs/x"}]}}}}]}, "without end"),
        ({"tasks": [{"name": "a", "returns": {"type": "strnig"}}]}, "'a', 'returns': Not a JSON Schema .*at /type"),
        ({"tasks": [{"name": "a", "returns": [1]}]}, "'a': 'returns' must be a JSON object"),
        ({"tasks": [{"name": "a", "deprecated": True}]}, "'a': 'deprecated' must be a text"),
        ({"worker": "w" * 201}, "'worker' must be a text of at most 200"),
        ({"worker": None}, "names no worker"),
        ({"worker": ""}, "names no worker"),
        ({"version": "1" * 65}, "'version' must be a text of at most 64"),
        ({"queues": ["llm"]}, "'queues' must be a list of objects"),
        ({"queues": [{"name": "llm"}, {"name": "llm"}]}, "a queue twice"),
        ({"queues": [{"name": "llm", "arguments": 5}]}, "'llm': 'arguments' must be a JSON object"),
        ({"tasks": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}, "'a' twice"),
        ({"tasks": [{"name": "a", "parameters": {"type": "strnig"}}]}, "'a': Not a JSON Schema"),
        ({"tasks": [{"name": "a", "parameters": {"properties": {"b": {"$ref": "https://x.example/y"}}}}]},
         "'a': The schema refers to 'https://x.example/y', which it does not hold"),
        ({"tasks": [{"name": "a", "returns": {"$ref": "#/x-mine", "x-mine": {"minLength": "2"}}}]},
         "'a', 'returns': The schema refers to '#/x-mine', which it does not hold: put it under \\$defs"),
        ({"tasks": [{"name": "a", "parameters": {"x-variadic": {"multipleOf": 0}}}]}, "at /x-variadic/multipleOf"),
        ({"tasks": [{"name": "a", "parameters": None}]}, "'a': 'parameters' must be a JSON object"),
        ({"tasks": [{"name": "a", "parameters": {"x-positional": "ab"}}]}, "'a': x-positional"),
        ({"tasks": [{"name": "a", "options": [1]}]}, "'a': 'options' must be a JSON object"),
        ({"tasks": [{"name": "a", "options": {"ignore_result": "maybe"}}]},
         "'a': option 'ignore_result' must be true or false, not 'maybe'"),
        ({"tasks": [{"name": "a", "options": {"ignore_result": 1}}]}, "must be true or false, not 1"),
        ({"tasks": [{"name": "a", "options": {"time_limit": True}}]}, "number of seconds from 0 to .*, not True"),
        ({"tasks": [{"name": "a", "options": {"expires": "1h"}}]}, "number of seconds from 0 to .*, not '1h'"),
        ({"tasks": [{"name": "a", "options": {"priority": 1.5}}]}, "must be a whole number, not 1.5"),
        ({"tasks": [{"name": "a", "options": {"rate_limit": []}}]}, "must be a text such as 10/m, or a number"),
        ({"tasks": [{"name": "a", "options": {"serializer": 5}}]}, "'serializer' must be a text, not 5"),
        ({"tasks": [{"name": "a", "sensitive": "token"}]}, "'a': 'sensitive' must be a list of names"),
        ({"queues": None}, "'queues' must be a list of objects"),
        ({"queues": [1]}, "'queues' must be a list of objects"),
    ],
)  # fmt: skip
def test_what_a_broken_worker_wrote_is_refused_in_one_sentence(entries, complaint):
    with pytest.raises(InvalidManifest, match=complaint):
        manifest.read(manifest.sealed(changed(**entries)))


@given(st.sampled_from([*DOCUMENT, "queue", "task"]), st.text("abcdef_", min_size=1), values)
def test_whatever_stands_in_a_document_it_is_a_manifest_or_told_what_is_wrong(place, key, odd):
    document = copy.deepcopy(DOCUMENT)
    if place in document:
        document[place] = odd
    else:
        entry = document[f"{place}s"][0]
        entry |= dict.fromkeys([*entry, key], odd)
    with contextlib.suppress(InvalidManifest):
        assert manifest.from_document({**document, "checksum": manifest.checksum(document)}).tasks is not None
