from __future__ import annotations

import ast

import pytest

from dispatch.core.python_source.layout import docstring


@pytest.mark.parametrize("text", ["half \ud800 pair", 'a "quote"', "a \\ at the end\\", "é and \x00"])
def test_a_docstring_is_ascii_where_it_must_be_and_holds_no_half_of_a_pair(text):
    """Python 3.13 compiles no docstring with a lone surrogate, not even an escaped one."""
    [function] = ast.parse(f"def f():\n{docstring(text)}").body
    read = ast.get_docstring(function)
    assert read == text.replace("\ud800", "?")
