"""The pages of docs/howto by their blocks of code, for the tests that follow them to the letter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGES = Path(__file__).resolve().parents[2] / "docs" / "howto"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def file(self) -> str:
        """The name of the file that the first line, a comment, says this is."""
        return re.match(r"# ([\w./-]+)", self.text)[1]

    def commands(self, prompt: str = "()") -> Iterator[tuple[str, str, str]]:
        """Yield what stands before each ``$``, the command, and the output that is shown for it, "" where none is."""
        starts = re.split(rf"^{prompt}\$ (.*)\n", self.text, flags=re.MULTILINE)[1:]
        yield from zip(starts[::3], starts[1::3], starts[2::3], strict=True)


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page, in their order; a test unpacks them, so that none is added without it."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    return [Block(*found) for found in BLOCK.findall(text)]
