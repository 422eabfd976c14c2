"""``verify reproduce teacher-student --quick``: output, files, page, exit code."""

import json

import pytest

from verify.certificate import read_certificate
from verify.cli import main
from verify.verdict import Verdict
from verify_conditions.gradient_inequality import experiment_cases, reproduce
from verify_conditions.gradient_inequality.experiment_teachers import orthogonal_teachers


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher-student")
    page, lines = folder / "page.html", []
    code = reproduce.run(True, folder / "json", page, lines.append)
    return code, folder / "json", page.read_text(), "\n".join(lines)


def test_what_is_expected_comes_true(done):
    code, _, _, said = done
    assert code == 0, said
    for title in (reproduce.RATES, reproduce.DIRECTIONS, reproduce.RATIOS, reproduce.SPECIAL):
        assert title in said
    assert reproduce.RECALLED in said


def test_certificates_and_runs_are_written_and_can_be_checked_again(done, capsys):
    _, folder, _, _ = done
    stored = sorted(folder.glob("*.gradient-inequality.json"))
    found = [read_certificate(path) for path in stored]
    assert len(found) >= 10
    assert all(certificate.verdict is Verdict.PASS for certificate in found)
    words = found[0].provenance["command"].split()
    assert main(words[1:]) == 0
    assert "pass" in capsys.readouterr().out
    numbers = json.loads((folder / "teacher-student.json").read_text())
    assert len(numbers["curves"]) == 14
    assert all(record["loss_low"] <= record["loss"] for case in numbers["curves"]
               for run in case["runs"] for record in run)  # fmt: skip


def test_the_page_has_the_curves_and_the_tables(done):
    _, _, page, _ = done
    assert page.count('<svg viewBox="0 0 680') == 10
    assert "Gradient against loss" in page
    assert reproduce.DIRECTIONS in page
    assert page.rstrip().endswith("</html>")


def test_what_is_unexpected_is_told_and_fails(monkeypatch):
    few = experiment_cases._comparison("1, orthogonal", orthogonal_teachers(1), 2, "abs", 1, 50)
    monkeypatch.setattr(reproduce, "comparisons", lambda quick, say: [few])
    monkeypatch.setattr(reproduce, "steps_of", lambda quick: 50)
    lines: list[str] = []
    assert reproduce.run(True, None, None, lines.append) == 1
    assert "abs, r = 1, orthogonal, m = 2: expected L ~ t^-3" in "\n".join(lines)
