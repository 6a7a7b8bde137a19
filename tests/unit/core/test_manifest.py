from __future__ import annotations

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
    "queues": ["default", "llm"],
    "tasks": [
        {
            "name": "worker.tasks.llm.summarize_note",
            "description": "Größe ☃",
            "parameters": {"type": "object", "properties": {"note_id": {"type": "string"}}},
            "options": {"ignore_result": True},
            "sensitive": ["token"],
        },
        {"name": "worker.tasks.ping"},
    ],
}
#: What dispatch and the worker must both compute; written down, so that neither can change alone.
CHECKSUM = "sha256:c4ff7b76045aaf87cc518a54b6c8b4e68b5ae59153a76bac25f3223e47d45735"

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
    assert (found.worker, found.version, found.queues) == ("worker", "0.1.0", ("default", "llm"))
    assert found.checksum == manifest.checksum(DOCUMENT)
    assert first.name == "worker.tasks.llm.summarize_note"
    assert first.parameters == DOCUMENT["tasks"][0]["parameters"]
    assert (first.description, first.sensitive, first.ignore_result) == ("Größe ☃", ("token",), True)
    assert (second.parameters, second.description, second.sensitive, second.ignore_result) == (
        {},
        "",
        (),
        None,
    )


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
    with pytest.raises(InvalidManifest, match="half of a character pair"):
        manifest.read('{"manifest": 1, "worker": "\\ud800"}')


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"tasks": None}, "no list of tasks"),
        ({"tasks": {}}, "no list of tasks"),
        ({"tasks": ["ping"]}, "has no name: 'ping'"),
        ({"tasks": [{"name": ""}]}, "has no name"),
        ({"tasks": [{"name": 5}]}, "has no name"),
        ({"tasks": [{"x": float("nan")}]}, "has no name"),
        ({"tasks": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}, "'a' twice"),
        ({"tasks": [{"name": "a", "parameters": {"type": "strnig"}}]}, "'a': Not a JSON Schema"),
        ({"tasks": [{"name": "a", "parameters": None}]}, "'a'.*must be a JSON object"),
        ({"tasks": [{"name": "a", "parameters": {"x-positional": "ab"}}]}, "'a': x-positional"),
        ({"tasks": [{"name": "a", "options": [1]}]}, "'a': its options"),
        ({"tasks": [{"name": "a", "sensitive": "token"}]}, "'a': 'sensitive' must be a list of names"),
        ({"queues": None}, "'queues' must be a list of names"),
        ({"queues": [1]}, "'queues' must be a list of names"),
    ],
)  # fmt: skip
def test_what_a_broken_worker_wrote_is_refused_in_one_sentence(entries, complaint):
    with pytest.raises(InvalidManifest, match=complaint):
        manifest.read(manifest.sealed(changed(**entries)))
