from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.summary import content_words, count_words, split_sentences, summarize

NOTE = (
    "Good morning. The solar panels on the roof deliver more power than planned. We had coffee. "
    "The panels deliver power even on cloudy days. Somebody left an umbrella."
)
PROSE = st.text(alphabet="aB .!?\n\"'é1", max_size=200)


def test_summary_keeps_the_telling_sentences_in_their_order():
    assert summarize(NOTE, 2) == (
        "The solar panels on the roof deliver more power than planned. "
        "The panels deliver power even on cloudy days."
    )


def test_german_stop_words_do_not_decide():
    text = "Das ist so, wie das ist. Der Zug hat Verspätung. Das und das. Der Zug ist der Zug nach Kiel."
    assert summarize(text, 1) == "Der Zug ist der Zug nach Kiel."


def test_text_shorter_than_the_summary_is_returned_whole():
    assert summarize("One.  Two\nthree.", 5) == "One. Two three."


def test_empty_text_has_an_empty_summary():
    assert summarize(" \n ", 2) == ""


def test_less_than_one_sentence_is_refused():
    with pytest.raises(ValueError, match="at least one sentence, not 0"):
        summarize("One.", 0)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Dr. Who came. He left.", ["Dr. Who came.", "He left."]),
        ("Wir backen, z. B. Brot. Es gelingt.", ["Wir backen, z. B. Brot.", "Es gelingt."]),
        ("Am 3. Oktober ist frei. Gut so!", ["Am 3. Oktober ist frei.", "Gut so!"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("Pi is 3.14 or so. Really?", ["Pi is 3.14 or so.", "Really?"]),
        ("A headline\n\nA paragraph.", ["A headline", "A paragraph."]),
        ("It was me, not I. You know.", ["It was me, not I.", "You know."]),
    ],
)
def test_sentences_end_where_a_reader_sees_their_end(text, sentences):
    assert split_sentences(text) == sentences


@given(PROSE)
def test_splitting_loses_no_character_but_white_space(text):
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


@given(st.text(alphabet="aB .!\n", max_size=24), st.integers(1, 3))
def test_summary_is_as_many_sentences_as_asked_for_in_their_order(text, count):
    sentences = split_sentences(text)
    possible = {" ".join(chosen) for chosen in combinations(sentences, min(count, len(sentences)))}
    assert summarize(text, count) in possible


def test_words_are_counted_with_their_apostrophes():
    assert count_words("Don't count 3 words\u2019 marks, twenty-one!") == 6


def test_stop_words_and_numbers_are_no_content():
    assert content_words("The 7 Panels are über Kiel") == ["panels", "kiel"]
