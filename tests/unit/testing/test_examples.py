"""The examples of docs/howto/testing.md, run as they stand there."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.how_to import blocks

EXAMPLES = [(block.file, block.text) for block in blocks("testing") if block.language == "python"]
[SHOWN] = [block.text for block in blocks("testing") if block.language == "text"]
REGISTRY = {
    "configuration": 1,
    "queues": [{"name": "default", "is_default": True}, {"name": "announcements"}],
    "routes": [{"pattern": "*.announce", "kind": "glob", "queue": "announcements"}],
}


@pytest.fixture
def page(sample):
    for path, text in EXAMPLES:
        sample.write(path, text)
    sample.write("registry.json", json.dumps(REGISTRY))
    return sample


def number_of_tests(examples=EXAMPLES):
    return sum(len(re.findall(r"def test_", text)) for _, text in examples)


def test_they_pass_under_pytest(page):
    run = page.pytest()
    assert run.outcomes == {"passed": number_of_tests()}, run.output


@pytest.mark.slow
def test_they_pass_in_several_processes(page):
    run = page.pytest("-n", "2")
    assert "2 workers" in run.output
    assert run.outcomes == {"passed": number_of_tests()}, run.output


def test_those_for_unittest_pass_under_djangos_own_runner(page):
    expected = number_of_tests([example for example in EXAMPLES if example[0] == "test_cases.py"])
    run = page.unittest("test_cases")
    assert run.status == 0, run.output
    assert f"Ran {expected} tests" in run.output


def test_a_failure_reads_as_it_is_shown(page):
    page.write(
        "test_failing.py",
        """
        import pytest
        from notes.models import Note

        @pytest.mark.django_db
        def test_failing(dispatched):
            note = Note.objects.create(title="Hello", body="A text.")
            dispatched.assert_sent("worker.tasks.summarize", kwargs={"note_id": note.pk, "text": "Another."})
        """,
    )
    run = page.pytest("test_failing.py")
    printed = "\n".join(re.findall(r"^E {7}(.*)$", run.output, re.MULTILINE))
    assert printed == SHOWN.strip(), run.output
