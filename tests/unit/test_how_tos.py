"""Each page of docs/howto that shows code or commands has a test that follows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.how_to import PAGES, blocks

TESTS = Path(__file__).resolve().parents[1]
FOLLOWED = {
    page
    for path in TESTS.rglob("test_*.py")
    for page in re.findall(r'blocks\("([\w-]+)"\)', path.read_text())
}


@pytest.mark.parametrize("page", sorted(path.stem for path in PAGES.glob("*.md")))
def test_a_page_that_shows_code_is_followed(page: str) -> None:
    assert not blocks(page) or page in FOLLOWED
