"""Foreign text and formulas cannot become escape sequences or markup."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify_reports._mathml import mathml
from verify_reports._text import capitalised, clean, counted, shorten


@given(st.text())
def test_clean_text_is_one_line_without_control_characters(text: str) -> None:
    cleaned = clean(text + "\x1b[31m\x9b2J\u202e\r\n\0")
    assert all(letter.isprintable() or letter.isspace() for letter in cleaned)
    assert not set(cleaned) & set("\x1b\x9b\u202e\r\n\0\x07\u2028\u2029")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07name", "name"),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\nb\tc", "a b c"),
        ("\u202egnp.exe", "�gnp.exe"),
        ("λ ≤ ½", "λ ≤ ½"),
    ],
)
def test_clean(raw: str, text: str) -> None:
    assert clean(raw) == text


def test_shorten_keeps_both_ends() -> None:
    assert shorten("abcdefghij", 5) == "ab…ij"
    assert shorten("abc", 5) == "abc"


def test_words() -> None:
    assert counted(1, "file") == "1 file"
    assert counted(3, "file") == "3 files"
    assert capitalised("proved: W") == "Proved: W"
    assert capitalised("") == ""


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, [name for name, _ in attrs]))


HOSTILE = [
    r"\text{<script>alert(1)</script>} < 1",
    r"\text{&lt;script&gt;alert(1)&lt;/script&gt;}",
    r"\text{&#60;img src=x onerror=alert(1)&#62;}",
    r"\href{javascript:alert(1)}{x}",
    r"\style{background:url(http://example.org)}{x}",
    r"<script>alert(1)</script>",
    r"\frac{a}{",
    r"\begin{matrix} 1 & 2",
    "\x1b[31m",
    "",
]


@pytest.mark.parametrize("latex", HOSTILE)
def test_a_formula_is_mathml_or_its_escaped_source(latex: str) -> None:
    parser = Tags()
    parser.feed(mathml(latex))
    for tag, attributes in parser.seen:
        assert tag.startswith("m") or tag == "code"
        assert tag not in ("marquee", "meta")
        assert not {"href", "style", "src"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)


@given(st.text(alphabet=r"<>&;#\{}_^|ax1 scriptmfn", max_size=30))
def test_any_text_gives_known_elements_only(latex: str) -> None:
    parser = Tags()
    parser.feed(mathml(latex))
    assert all(tag.startswith("m") or tag == "code" for tag, _ in parser.seen)


def test_norms_and_comparisons_are_mathml() -> None:
    made = mathml(r"\|W\|_2 < 1")
    assert made.startswith("<math")
    assert "<mo>&lt;</mo>" in made
    assert "‖" in made
