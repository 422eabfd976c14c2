"""What the documents and `verify explain` name exists, and the other way round."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from verify import registry
from verify_conditions.expressivity.losses import LOSSES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def headings(document: str) -> list[str]:
    """Return the headings of the sections of a document."""
    text = (DOCS / document).read_text(encoding="utf-8")
    return [line.removeprefix("## ").strip() for line in text.splitlines() if line[:3] == "## "]


def quoted(condition: str) -> set[tuple[str, str]]:
    """Return the sources of a condition's statements that are sections of a document here."""
    found = {
        (statement.source.key, statement.source.where)
        for route in registry.conditions()[condition].routes
        for statement in route.statements
    }
    return {(key, where) for key, where in found if key.endswith(".md")}


@pytest.mark.parametrize("condition", sorted(registry.conditions()))
def test_every_source_in_a_document_is_a_heading_there(condition: str) -> None:
    for document, where in quoted(condition):
        assert (DOCS / document).exists(), document
        assert headings(document).count(where) == 1, f"{document}: {where}"


def test_the_headings_of_the_villani_proofs_are_quoted_or_explain_others() -> None:
    used = {where for _, where in quoted("villani")}
    assert len(used) > 15
    others = {"Setting", "rates of the Langevin diffusion", "the trained outer layer",
              "witnesses against the defining conditions"}  # fmt: skip
    assert set(headings("villani.md")) == used | others


def test_the_headings_of_the_expressivity_proofs_are_quoted_or_explain_others() -> None:
    used = {where for _, where in quoted("expressivity")}
    others = {"Structural failures", "Weights other than the stored ones", "The last layer"}
    assert set(headings("expressivity.md")) == used | others


def test_the_table_of_losses_is_that_of_the_code() -> None:
    text = (DOCS / "expressivity.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `([a-z-]+)` \| .* \| ([^|]+) \| ([^|]+) \| [^|]+ \| [^|]+ \|$", text, re.M
    )
    told = {name: (smoothness, convexity) for name, smoothness, convexity in rows}
    assert told == {
        loss.name: (str(loss.smoothness), str(loss.strong_convexity or "none"))
        for loss in LOSSES.values()
    }


def paths_of(text: str) -> list[str]:
    """Return what stands in backticks and looks like a path without placeholders."""
    found = re.findall(r"`([^`\s]+/[^`\s]*)`", text)
    return [path for path in found if "<" not in path and "..." not in path]


def test_files_of_the_contributing_guide_exist() -> None:
    paths = paths_of(CONTRIBUTING)
    assert len(paths) > 5
    homes = [ROOT, ROOT / "kernels", ROOT / "conditions", ROOT / "reports"]
    for path in paths:
        assert any((home / path).exists() for home in homes), path


def test_the_contributing_guide_names_every_package_of_kernels() -> None:
    kernels = ROOT / "kernels" / "verify_kernels"
    for init in kernels.glob("*/__init__.py"):
        assert f"`kernels/verify_kernels/{init.parent.name}/`" in CONTRIBUTING, init.parent.name


def test_every_condition_is_in_the_readme_and_has_its_document() -> None:
    for name in registry.conditions():
        assert f"| `{name}` |" in README, name
        document = f"docs/{name.replace('-', '_')}.md"
        assert f"({document})" in README
        assert (ROOT / document).exists()


def test_settings_of_the_documents_are_accepted() -> None:
    """Every ``--set condition.key=...`` that is shown has a setting of that name."""
    texts = [README, *(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))]
    shown = {pair for text in texts for pair in re.findall(r"--set\s+'?([a-z-]+)\.([a-z_]+)", text)}
    assert shown
    for condition, key in shown:
        assert key in registry.conditions()[condition].settings, f"{condition}.{key}"
