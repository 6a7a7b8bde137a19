"""The links of a text, each with a title that needs no network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

URL = re.compile(r"""\b(?:https?|file)://[^\s<>"'`]+""", re.IGNORECASE)
TRAILING = ".,;:!?…*_"
BRACKETS = {")": "(", "]": "[", "}": "{"}
# The title stands in the head: no reason to read a whole page.
HEAD_BYTES = 1 << 16


def find_links(text: str) -> list[str]:
    """Return the URLs of a text in order, each once, without the punctuation of the sentence around them."""
    urls = (_trimmed(match) for match in URL.findall(text))
    return list(dict.fromkeys(url for url in urls if not url.endswith("://")))


def title(url: str) -> str:
    """Return the title of a local HTML file, else the host, else the URL itself."""
    try:
        parts = urlsplit(url)
        local = parts.scheme == "file" and parts.netloc in ("", "localhost")
        found = _file_title(Path(url2pathname(parts.path))) if local else parts.hostname
    except ValueError:  # a malformed host
        found = None
    # PostgreSQL stores no NUL, and the title ends in a web service's database.
    return (found or url).replace("\0", "\N{REPLACEMENT CHARACTER}")


def html_title(html: str) -> str:
    """Return the text of the first title element, entities resolved and white space evened out."""
    parser = _TitleParser()
    parser.feed(html)
    parser.close()
    return " ".join("".join(parser.found).split())


def _trimmed(url: str) -> str:
    while url[-1] in TRAILING or _unopened(url):
        url = url[:-1]
    return url


def _unopened(url: str) -> bool:
    opening = BRACKETS.get(url[-1])
    return opening is not None and url.count(opening) < url.count(url[-1])


def _file_title(path: Path) -> str:
    if path.suffix.lower() not in (".html", ".htm") or not path.is_file():
        return path.name
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return path.name
    return html_title(_decoded(head)) or path.name


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Cut inside a character at the end of what was read: still UTF-8.
        cut = error.start > HEAD_BYTES - 4
        return data.decode("utf-8-sig", "ignore") if cut else data.decode("cp1252", "replace")


class _TitleParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.inside = False
        self.done = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = self.inside or (tag == "title" and not self.done)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title" and self.inside:
            self.inside, self.done = False, True

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found.append(data)
