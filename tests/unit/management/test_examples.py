"""``--help`` of each subcommand shows examples, and each of them is one that it takes."""

from __future__ import annotations

import shlex

import pytest

from dispatch.management.subcommands.examples import EXAMPLES
from tests.support.subcommands import PARSERS


def test_each_subcommand_has_examples_and_each_example_a_subcommand():
    assert EXAMPLES.keys() == PARSERS.keys()


@pytest.mark.parametrize("name", PARSERS)
def test_examples_stand_below_the_help_and_can_be_given(name):
    shown = PARSERS[name].format_help().partition("\nexamples:\n")[2].splitlines()
    assert len(shown) == len(EXAMPLES[name])
    for line in shown:
        assert line.startswith(f"  manage.py dispatch {name}")
        PARSERS[name].parse_args(shlex.split(line.partition(f"dispatch {name}")[2].partition("|")[0]))
