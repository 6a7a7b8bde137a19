from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core.printable import LOGGERS, json_lines, one_line

PACKAGE = Path(__file__).resolve().parents[3] / "dispatch"
#: Any text, lone surrogates too.
TEXTS = st.text(st.characters())


@given(TEXTS)
def test_a_line_holds_nothing_that_cannot_be_seen(text):
    assert one_line(text).isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Grüße → 日本 🚢", "Grüße → 日本 🚢"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[2J\x9b1m\x7f", r"\x1b[2J\x9b1m\x7f"),
        ("\u202eabc\u2028", r"\u202eabc\u2028"),
        ("\udc80", r"\udc80"),
    ],
    ids=range(5),
)
def test_what_can_be_seen_stays(text, expected):
    assert one_line(text) == expected


@given(st.recursive(TEXTS | st.integers(), lambda values: st.lists(values) | st.dictionaries(TEXTS, values)))
def test_json_means_the_same_and_holds_nothing_that_cannot_be_seen(value):
    text = json_lines(json.dumps(value, indent=2, ensure_ascii=False))
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == value


@pytest.mark.parametrize("name", LOGGERS)
@pytest.mark.parametrize("level", ["warning", "error"])
def test_no_record_breaks_its_line(name, level, caplog):
    log = getattr(logging.getLogger(f"dispatch.{name}"), level)
    hostile = "x\x1b[2J\ny"
    log("%s waits: %s", hostile, ValueError(hostile))
    log("%r, %d, %.1f, %s", hostile, 3, 0.5, None)
    log("%(what)s", {"what": hostile})
    assert caplog.messages == [
        r"x\x1b[2J\ny waits: x\x1b[2J\ny",
        r"'x\x1b[2J\ny', 3, 0.5, None",
        r"x\x1b[2J\ny",
    ]


def test_the_gate_stands_before_every_log_of_the_package():
    calls = [
        call
        for path in PACKAGE.rglob("*.py")
        if path.name != "printable.py"
        for call in re.findall(r"getLogger\((.*?)\)", path.read_text(encoding="utf-8"))
    ]
    assert sorted(set(calls)) == sorted(f'"dispatch.{name}"' for name in LOGGERS)
