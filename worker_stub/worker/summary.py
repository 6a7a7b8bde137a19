"""An extractive summary: the sentences that hold a text's most frequent words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from worker.stopwords import STOP_WORDS

WORD = re.compile(r"[^\W\d_][\w'\u2019-]*")
PARAGRAPH = re.compile(r"\n\s*\n")
# A sentence ends with its mark and perhaps a closing quote or bracket; the next starts in no lower case.
SENTENCE_END = re.compile(r"""(?:(?<=[.!?…])|(?<=[.!?…]["'”\u2019»)\]]))\s+(?![a-zß-öø-ÿ])""")
# "Dr. Who", "z. B. Brot", "am 3. Oktober": these full stops end no sentence.
ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:(?!I\.)[^\W\d_]|\d{1,2}|Dr|Prof|Mrs?|Ms|Hr|Fr|St|Jr|Nr|No|Fig|Abb|bzw|ca|vgl|evtl|etc|vs)\.$"
)


def summarize(text: str, sentences: int) -> str:
    """Return the most telling sentences of a text, in the order in which they stand there.

    Raises ValueError when fewer than one sentence is asked for.
    """
    if sentences < 1:
        raise ValueError(f"A summary needs at least one sentence, not {sentences}: pass sentences=1 or more.")
    candidates = split_sentences(text)
    weights = Counter(word for sentence in candidates for word in content_words(sentence))
    # sorted() is stable: of two equal sentences the earlier one wins.
    best = sorted(range(len(candidates)), key=lambda place: -score(candidates[place], weights))
    return " ".join(candidates[place] for place in sorted(best[:sentences]))


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, each with its white space evened out."""
    paragraphs = (" ".join(part.split()) for part in PARAGRAPH.split(text))
    return [sentence for part in paragraphs if part for sentence in _joined(SENTENCE_END.split(part))]


def count_words(text: str) -> int:
    """Return how many words a text holds; numbers count."""
    return len(re.findall(r"\w[\w'\u2019-]*", text))


def content_words(sentence: str) -> list[str]:
    """Return the words of a sentence that are no stop words, in lower case."""
    return [word for word in WORD.findall(sentence.lower()) if word not in STOP_WORDS]


def score(sentence: str, weights: Mapping[str, int]) -> float:
    """Return the mean weight of a sentence's content words: length alone must not win."""
    words = content_words(sentence)
    return sum(weights[word] for word in words) / len(words) if words else 0.0


def _joined(pieces: Iterable[str]) -> list[str]:
    """Put together what was split behind an abbreviation."""
    sentences: list[str] = []
    for piece in pieces:
        if sentences and ABBREVIATION.search(sentences[-1]):
            sentences[-1] += " " + piece
        else:
            sentences.append(piece)
    return sentences
