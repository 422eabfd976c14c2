"""Terminal, HTML and JUnit renderings of hand-made certificates."""

import json
import re
import subprocess
import sys
from copy import deepcopy
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from verify_reports import html, junit, terminal

VECTORS = Path(__file__).parents[1] / "vectors" / "report_certificates.json"
KINDS = ["pass", "fail", "undecided", "not applicable", "hostile"]
VILLANI = ["villani pass", "villani pair", "villani kink", "villani rays"]


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    stored = json.loads(VECTORS.read_text(encoding="utf-8"))
    known = stored["certificates"] | stored["villani"]
    return {kind: SimpleNamespace(**parts) for kind, parts in known.items()}


def by_hand(made: Any) -> list[Any]:
    return [made[kind] for kind in KINDS]


# --- terminal ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, *VILLANI])
def test_terminal_fits_80_columns_without_escape_sequences(made: Any, kind: str) -> None:
    text = terminal.render([made[kind]])
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_terminal_tells_the_verdict_in_words_and_the_sentence(made: Any) -> None:
    text = terminal.render([made["pass"]])
    assert "✓ pass" in text
    assert "Spectral norm" in text.splitlines()[2]
    assert "room 0.0599999" in text
    assert "Proved: z = relu(W z + b) has exactly one solution z for every b" in text
    assert "guidance: the proof holds until" in text


def test_terminal_says_that_nothing_follows_from_a_refuted_sufficient_route(made: Any) -> None:
    text = terminal.render([made["fail"]])
    part = text.split("Spectral norm  [")[1].split("Perron")[0]
    assert "hypothesis false; nothing follows from this" in part
    assert "missed by 2" in part


@pytest.mark.parametrize("render", [terminal.render, html.render])
def test_a_route_refuted_for_another_goal_decides_nothing(made: Any, render: Any) -> None:
    certificate = deepcopy(made["undecided"])
    route = deepcopy(made["fail"].claim["routes"][0])
    certificate.claim["routes"] = [route]
    certificate.claim["goal"]["name"] = "every-input"
    text = " ".join(render([certificate]).split())
    assert "so the goal is false" not in text
    assert "refuted for the goal every-bias only; nothing follows for the goal here" in text


def test_terminal_shows_two_equilibria(made: Any) -> None:
    text = terminal.render([made["fail"]])
    rows = [line.split() for line in text.splitlines()]
    assert ["i", "b", "z", "z′"] in rows
    assert ["0", "1", "1", "1/4"] in rows
    assert ["1", "1", "0", "1/4"] in rows


def test_terminal_shows_samples_consequences_and_what_was_not_tried(made: Any) -> None:
    text = " ".join(terminal.render([made["pass"]]).split())
    assert "5 of 5 samples certified" in text
    assert "Lipschitz constant b -> z (spectral-norm): [0, 16.6667]" in text
    assert "about 0.4712 (measured, not proved)" in text
    assert "Not tried" in text
    assert "--all-routes tries it nevertheless" in text


def test_terminal_says_why_it_is_undecided(made: Any) -> None:
    text = terminal.render([made["undecided"]])
    assert "? undecided" in text
    assert "undecided (node budget of 20000 spent)" in text
    assert "next step: a larger --budget" in text


def test_terminal_table_of_several_files(made: Any) -> None:
    problem = ("broken.pt", "broken.pt: expected a zip file, but got 3 bytes")
    text = terminal.render(by_hand(made), problems=[problem], details=False)
    assert "well-posedness, 6 files" in text
    assert "! not checked" in text
    assert "What follows" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_table_names_files_without_folders_unless_they_would_look_the_same(made: Any) -> None:
    certificates = [deepcopy(made["pass"]), deepcopy(made["pass"])]
    for certificate, file in zip(certificates, ("runs/a/one.pt", "runs/b/two.pt"), strict=True):
        certificate.provenance["file"] = file
    table = terminal.render(certificates, details=False).split("\n\n")[0]
    assert "one.pt " in table
    assert "runs/" not in table
    certificates[1].provenance["file"] = "runs/b/one.pt"
    table = terminal.render(certificates, details=False).split("\n\n")[0]
    assert "runs/a/one.pt" in table


def test_colour_only_when_asked_for_and_never_the_only_sign(made: Any) -> None:
    plain = terminal.render([made["fail"]])
    coloured = terminal.render([made["fail"]], colour=True)
    assert "\x1b[" in coloured
    without = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in without.splitlines()] == plain.splitlines()


def test_nothing_to_show() -> None:
    assert terminal.render([]).strip() == ""


# --- HTML ----------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects tags, attributes and headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[int] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))


ALLOWED_TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section",
    "article", "p", "span", "strong", "small", "h1", "h2", "h3", "h4", "h5", "ul", "li", "dl",
    "div", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "a", "figure", "figcaption",
    "svg", "rect", "line", "polyline", "pre", "code", "details", "summary", "math", "mrow", "mi",
    "mn", "mo", "mtext", "ms", "mspace", "msub", "msup", "msubsup", "mfrac", "msqrt", "mroot",
    "mover", "munder", "munderover", "mtable", "mtr", "mtd", "mstyle", "mpadded",
}  # fmt: skip


@pytest.mark.parametrize("kind", [*KINDS, *VILLANI, "all"])
def test_page_has_known_tags_no_script_and_no_outside_address(made: Any, kind: str) -> None:
    chosen = list(made.values()) if kind == "all" else [made[kind]]
    text = html.render(chosen, problems=[("<script>.pt", "<script>alert(5)</script>")])
    page = Page(text)
    assert set(page.tags) <= ALLOWED_TAGS
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "style", "action", "formaction", "srcset", "data", "background")
        if name == "href":
            assert tag == "a"
            assert re.fullmatch(r"#certificate-\d+", value)
    css = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert css is not None
    assert not re.search(r"url\(|@import|http", css[1])
    assert "default-src 'none'" in text
    assert "unsafe-inline" not in text


def test_style_hash_matches_the_style(made: Any) -> None:
    import base64
    import hashlib

    text = html.render([made["pass"]])
    css = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = re.search(r"style-src 'sha256-([^']+)'", text)
    assert css is not None
    assert digest is not None
    assert base64.b64encode(hashlib.sha256(css[1].encode()).digest()).decode() == digest[1]


@pytest.mark.parametrize("kind", [*KINDS, *VILLANI, "all"])
def test_headings_never_skip_a_level(made: Any, kind: str) -> None:
    chosen = list(made.values()) if kind == "all" else [made[kind]]
    levels = Page(html.render(chosen)).headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_hostile_text_is_shown_and_never_markup(made: Any) -> None:
    text = html.render([made["hostile"]])
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_page_tells_what_a_reader_needs(made: Any) -> None:
    text = html.render([made["pass"]])
    assert "Proved: z = relu(W z + b) has exactly one solution" in text
    assert "hypothesis false; nothing follows from this" in text
    assert "5 of 5 samples certified" in text
    assert "about 0.4712 (measured, not proved)" in text
    assert "sha256:" in text
    assert "verify check digits.pt --condition well-posedness" in text
    assert text.index("Proved: z") < text.index("Routes to the answer")


def test_page_shows_the_witness_as_a_table(made: Any) -> None:
    text = html.render([made["fail"]])
    cells = re.findall(r"<td>([^<]*)</td>", text)
    assert {"1", "1/4", "0"} <= set(cells)
    assert "both return themselves, and they differ" in text


def test_small_matrices_are_shown_so_that_a_witness_can_be_checked(made: Any) -> None:
    certificate = deepcopy(made["fail"])
    certificate.network = {"weight.W": SimpleNamespace(tolist=lambda: [[0.0, -3.0], [-3.0, 0.1]])}
    text = html.render([certificate])
    assert "<tr><td>0.0</td><td>-3.0</td></tr><tr><td>-3.0</td><td>0.1</td></tr>" in text


def test_margin_is_drawn_with_its_text_equivalent(made: Any) -> None:
    text = html.render([made["pass"]])
    figure = re.search(r'<figure class="margin">(.*?)</figure>', text, re.DOTALL)
    assert figure is not None
    assert "Room 0.0599999" in figure[1]
    assert 'aria-hidden="true"' in figure[1]
    hi = re.search(r'class="end" x1="([\d.]+)"', figure[1])
    assert hi is not None
    assert float(hi[1]) == pytest.approx(470, abs=0.01)  # 0.94 on an axis from 0 to 2


def test_many_samples_are_cut_and_counted(made: Any) -> None:
    certificate = deepcopy(made["pass"])
    row = certificate.claim["samples"]["rows"][0]
    certificate.claim["samples"]["rows"] = [row] * 1000
    text = html.render([certificate])
    assert "800 more rows in the certificate" in text
    assert "995 more" in terminal.render([certificate])


def test_long_witnesses_show_where_the_equilibria_differ(made: Any) -> None:
    certificate = deepcopy(made["fail"])
    fact = certificate.claim["routes"][0]["facts"]["is_P"]
    count = 300
    data = {
        name: {"rationals": [["1", "3"]] * count} for name in ("b", "z1", "z2")
    }  # fmt: skip
    data["z2"]["rationals"] = [["1", "3"]] * 290 + [["2", "3"]] * 10
    fact["witness"] = {"kind": "two-equilibria", "data": data}
    text = terminal.render([certificate])
    rows = [line.split() for line in text.splitlines()]
    assert ["299", "1/3", "1/3", "2/3"] in rows
    assert "… 288 more coordinates, stored with the certificate" in text


# --- JUnit ---------------------------------------------------------------------------------------


def test_junit_counts(made: Any) -> None:
    text = junit.render(by_hand(made), problems=[("a<b>.pt", "bad \x00 file")])
    suite = ElementTree.fromstring(text.split("\n", 1)[1])
    assert suite.attrib["tests"] == "6"
    assert suite.attrib["failures"] == "2"
    assert suite.attrib["skipped"] == "1"
    assert suite.attrib["errors"] == "1"
    assert {failure.attrib["type"] for failure in suite.iter("failure")} == {"fail", "undecided"}


def test_junit_fails_a_requested_condition_that_does_not_apply(made: Any) -> None:
    text = junit.render([made["not applicable"]], requested=True)
    suite = ElementTree.fromstring(text.split("\n", 1)[1])
    assert suite.attrib["failures"] == "1"


# --- imports -------------------------------------------------------------------------------------


def test_reports_load_no_numeric_library(tmp_path: Path) -> None:
    code = (
        "import json, sys; from types import SimpleNamespace;"
        "from verify_reports import html, junit, terminal;"
        f"made = json.load(open({str(VECTORS)!r}, encoding='utf-8'))['certificates'].values();"
        "made = [SimpleNamespace(**m) for m in made];"
        "html.render(made), junit.render(made), terminal.render(made);"
        "bad = {'numpy', 'sympy', 'flint', 'torch', 'verify_kernels', 'verify_conditions'};"
        "sys.exit(' '.join(bad & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
