from __future__ import annotations

import keyword
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core.python_source.names import RESERVED, Names, class_name, identifier


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("note_id", "note_id"),
        ("from", "from_"),
        ("a-b", "a_b"),
        ("2nd", "x_2nd"),
        ("", "x"),
        ("__init__", "init__"),
        ("Größe", "Größe"),
        ("ﬁ", "fi"),
        ("a\nb", "a_b"),
    ],
)
def test_a_text_becomes_a_name_that_python_takes(text, name):
    assert identifier(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("summarize_note", "SummarizeNote"),
        ("Address-Input", "AddressInput"),
        ("Page[int]", "PageInt"),
        ("", "x"),
    ],
)
def test_a_text_becomes_the_name_of_a_class(text, name):
    assert class_name(text) == name


@given(st.text(st.characters()))
def test_any_text_becomes_a_name_that_python_leaves_as_it_is(text):
    for name in (identifier(text), class_name(text), identifier(text.upper())):
        assert name.isidentifier()
        assert not keyword.iskeyword(name)
        assert not name.startswith("__")
        assert unicodedata.normalize("NFKC", name) == name
        assert identifier(name) == name


def test_a_task_is_called_by_the_last_part_of_its_name():
    assert Names().claim_short(["worker.tasks.llm.summarize", "worker.tasks.stt.transcribe"]) == {
        "worker.tasks.llm.summarize": "summarize",
        "worker.tasks.stt.transcribe": "transcribe",
    }


def test_tasks_of_one_last_part_are_all_called_by_more_parts():
    assert Names().claim_short(["a.mail.send", "a.post.send", "b.mail.send"]) == {
        "a.mail.send": "a_mail_send",
        "a.post.send": "post_send",
        "b.mail.send": "b_mail_send",
    }


def test_what_has_a_meaning_already_is_told_apart_by_more_parts_or_a_stroke():
    assert Names(["sender"]).claim_short(["tasks.print", "tasks.sender", "import", "list"]) == {
        "tasks.print": "tasks_print",
        "tasks.sender": "tasks_sender",
        "import": "import_",
        "list": "list_",
    }


def test_names_that_python_cannot_tell_apart_are_numbered():
    assert Names().claim_short(["a.b", "a_b"]) == {"a.b": "b", "a_b": "a_b"}
    assert Names().claim_short(["a-b", "a_b"]) == {"a-b": "a_b", "a_b": "a_b_"}
    assert Names().claim_short(["a-b", "a_b", "a+b"])["a_b"] == "a_b__2"


@given(st.sets(st.text("ab._1", min_size=1), max_size=8))
def test_each_task_has_a_name_of_its_own(tasks):
    names = Names().claim_short(tasks)
    assert names.keys() == tasks
    assert len(set(names.values())) == len(tasks)
    assert not RESERVED.intersection(names.values())
    assert all(name.isidentifier() for name in names.values())
