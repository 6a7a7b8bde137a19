from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.links import find_links, html_title, title


def test_links_come_in_order_and_once():
    text = "https://b.example/x, then http://a.example and again https://b.example/x."
    assert find_links(text) == ["https://b.example/x", "http://a.example"]


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("(see https://example.org/a)", "https://example.org/a"),
        (
            "https://en.wikipedia.org/wiki/Celery_(software).",
            "https://en.wikipedia.org/wiki/Celery_(software)",
        ),
        ('<a href="https://example.org/?q=1&r=2">', "https://example.org/?q=1&r=2"),
        ("really, https://example.org/?!", "https://example.org/"),
        ("**https://example.org/**", "https://example.org/"),
        ("HTTPS://Example.org", "HTTPS://Example.org"),
    ],
)
def test_punctuation_of_the_sentence_is_not_part_of_the_link(text, link):
    assert find_links(text) == [link]


@pytest.mark.parametrize(
    "text", ["", "no link", "ftp://example.org", "https:// and https://...", "xhttps://a.example"]
)
def test_other_text_holds_no_link(text):
    assert find_links(text) == []


@given(st.text(alphabet="htps:/file.)(]?!, a\0%[", max_size=80))
def test_every_link_stands_in_the_text_and_has_a_title(text):
    for link in find_links(f"https://{text} file://{text}"):
        assert link in f"https://{text} file://{text}"
        assert title(link)
        assert "\0" not in title(link)


def test_a_web_page_is_named_by_its_host_without_user_or_port():
    assert title("https://user:secret@Docs.Example.org:8443/page") == "docs.example.org"


def test_a_malformed_host_leaves_the_url_as_title():
    assert title("https://[broken/x") == "https://[broken/x"


def page(tmp_path, content, name="page.html"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path.as_uri()


def test_a_local_page_is_named_by_its_title(tmp_path):
    url = page(tmp_path, "<html><head><TITLE>\n Caf&eacute; &amp;\n Bar &lt;3 </TITLE></head>", "a b.html")
    assert title(url) == "Café & Bar <3"


def test_only_the_first_title_counts(tmp_path):
    html = "<!-- <title>no</title> --><title>Page</title><svg><title>Icon</title></svg>"
    assert title(page(tmp_path, html)) == "Page"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_umlauts_are_read_in_common_encodings(tmp_path, encoding):
    assert title(page(tmp_path, "<title>Grüße</title>".encode(encoding))) == "Grüße"


def test_a_long_page_cut_inside_a_character_is_still_utf8(tmp_path):
    html = "<title>Grüße</title>".encode() + b" " + "ü".encode() * 100_000
    assert title(page(tmp_path, html)) == "Grüße"


@pytest.mark.parametrize("content", ["", "<p>no title</p>", "<title> </title>"])
def test_a_page_without_title_is_named_by_its_file(tmp_path, content):
    assert title(page(tmp_path, content)) == "page.html"


def test_a_missing_page_and_other_files_are_named_but_not_opened(tmp_path):
    assert title((tmp_path / "gone.html").as_uri()) == "gone.html"
    assert title(page(tmp_path, "<title>Secret</title>", "notes.txt")) == "notes.txt"


def test_a_file_on_another_host_is_not_opened():
    assert title("file://server/share/page.html") == "server"


@given(st.text(max_size=60))
def test_any_html_has_a_title_or_none_but_never_an_error(html):
    assert isinstance(html_title(f"<title>{html}"), str)
