"""The HTML report in a real browser: offline, silent, and never wider than the window."""

import itertools
import json
import os
import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify_reports import html

VECTORS = Path(__file__).parents[1] / "vectors" / "report_certificates.json"
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
]  # fmt: skip

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")

# The page under test has no script; this frame around it measures it.
PROBE = """<!DOCTYPE html><meta charset="utf-8"><body><script>
const out = {};
let left = WIDTHS.length;
for (const width of WIDTHS) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.onload = () => {
    const page = frame.contentDocument;
    const wide = [...page.querySelectorAll("body *")].filter(
      (e) => !e.closest(".scroll, .formula.display, math, svg, pre, thead")
        && e.getBoundingClientRect().right > width + 0.5);
    out[width] = {
      scroll: page.documentElement.scrollWidth,
      wide: wide.slice(0, 5).map((e) => e.outerHTML.slice(0, 120)),
      headings: [...page.querySelectorAll("h1,h2,h3,h4,h5,h6")].map((e) => Number(e.tagName[1])),
      styled: frame.contentWindow.getComputedStyle(page.body).maxWidth,
      scripts: page.scripts.length,
      asked: frame.contentWindow.performance.getEntriesByType("resource").map((e) => e.name),
    };
    if (--left === 0) {
      document.title = "done";
      document.body.textContent = "RESULT" + JSON.stringify(out) + "END";
    }
  };
  frame.src = "report.html";
  document.body.append(frame);
}
</script>"""
WIDTHS = [390, 768, 1280, 1600]


def browse(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    profile = folder / "profile"
    profile.mkdir(exist_ok=True)
    return subprocess.run(
        [BROWSER, *FLAGS, f"--user-data-dir={profile}", *more],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report about every kind of certificate and the page that measures it."""
    place = tmp_path_factory.mktemp("browser")
    stored = json.loads(VECTORS.read_text(encoding="utf-8"))
    known = stored["certificates"] | stored["villani"]
    made = [SimpleNamespace(**parts) for parts in known.values()]
    step = "conv{0} = conv(batch_norm{0}, weight=conv{0}.weight, padding=((1,1),(1,1)))"
    long = deepcopy(stored["certificates"]["pass"])
    long["claim"]["network"]["equation"] = "; ".join(step.format(k) for k in range(70))
    made.append(SimpleNamespace(**long))
    page = html.render(made, problems=[("broken.pt", "broken.pt: expected a zip file")])
    page = page.replace('<details class="steps">', '<details class="steps" open>')
    (place / "report.html").write_text(page, encoding="utf-8")
    probe = PROBE.replace("WIDTHS", json.dumps(WIDTHS))
    (place / "probe.html").write_text(probe, encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def measured(folder: Path) -> dict[str, Any]:
    done = browse(
        folder, "--allow-file-access-from-files", "--virtual-time-budget=10000",
        "--window-size=1700,1000", "--dump-dom", (folder / "probe.html").as_uri(),
    )  # fmt: skip
    found = re.search(r"RESULT(.*)END", done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    from html import unescape

    result: dict[str, Any] = json.loads(unescape(found[1]))
    return result


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(measured: dict[str, Any], width: int) -> None:
    seen = measured[str(width)]
    assert seen["wide"] == []
    assert seen["scroll"] <= width


def test_style_is_applied_and_no_script_is_there(measured: dict[str, Any]) -> None:
    assert measured["1280"]["styled"] != "none"
    assert measured["1280"]["scripts"] == 0


def test_headings_descend_one_level_at_a_time(measured: dict[str, Any]) -> None:
    levels = measured["1280"]["headings"]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_page_asks_for_nothing(measured: dict[str, Any]) -> None:
    assert measured["1280"]["asked"] == []


def test_page_loads_offline_without_a_console_message(folder: Path) -> None:
    # What the content security policy had to block would be told on the console.
    done = browse(
        folder, "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom",
        (folder / "report.html").as_uri(),
    )  # fmt: skip
    assert "What this rests on" in done.stdout
    assert "CONSOLE" not in done.stderr


def test_a_page_that_asks_for_something_would_be_noticed(folder: Path) -> None:
    asking = (folder / "report.html").read_text(encoding="utf-8").replace(
        "</head>", '<link rel="stylesheet" href="http://outside.invalid/x.css"></head>'
    )  # fmt: skip
    (folder / "asking.html").write_text(asking, encoding="utf-8")
    done = browse(
        folder, "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom",
        (folder / "asking.html").as_uri(),
    )  # fmt: skip
    assert "CONSOLE" in done.stderr
