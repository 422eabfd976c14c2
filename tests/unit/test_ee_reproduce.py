"""The reproduction end to end on a small case, and what it says when something is off."""

import json
import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from verify.certificate import read_certificate
from verify.cli import main
from verify.verdict import Verdict
from verify_conditions.expressivity import reproduce
from verify_conditions.expressivity.ee_certificate import Recorded
from verify_conditions.expressivity.experiment_figures import loss_figure
from verify_conditions.expressivity.experiment_models import mlp, residual_network
from verify_conditions.expressivity.experiment_runs import Case, run_base, run_wrapped
from verify_conditions.expressivity.experiment_tasks import (
    digits,
    sine_wave,
    two_moons,
)
from verify_conditions.figures import html_table, with_figures


def small(**changed):
    case = Case(
        "two moons, small", two_moons(20), mlp((2, 8, 26, 2), "tanh", gain=4.0, double=True),
        reproduce._adam(1e-2), 60, 30, 10, theorem_d=True,
    )  # fmt: skip
    return replace(case, **changed)


@pytest.fixture(scope="module")
def pair():
    return run_base(small(), 0), run_wrapped(small(), 0)


def test_the_command_writes_certificates_curves_and_a_page(tmp_path, monkeypatch, capsys):
    cases = [small(), small(name="sine", task=sine_wave(12),
                            build=mlp((1, 8, 16, 1), "tanh", gain=8.0, double=True))]  # fmt: skip
    monkeypatch.setattr(reproduce, "cases_of", lambda quick: cases)
    page = tmp_path / "page.html"
    code = main(["reproduce", "ee-wrapper", "--quick", "--json", str(tmp_path), "--report",
                 str(page)])  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0, said
    assert "Rank proofs at the switch" in said
    assert "guarantee for the loss cross-entropy: holds" in said
    found = read_certificate(tmp_path / "two-moons-small.expressivity.json")
    assert found.verdict is Verdict.PASS
    stored = json.loads((tmp_path / "ee-wrapper.json").read_text())
    assert [len(runs) for runs in stored["curves"].values()] == [2, 2]
    assert all(r["high"] <= r["bound"] for runs in stored["curves"].values()
               for records in runs for r in records)  # fmt: skip
    text = page.read_text()
    assert text.count('<svg viewBox="0 0 680') == 2
    assert text.rstrip().endswith("</html>")


def test_what_is_expected_is_what_happened(pair):
    assert reproduce.unmet_of(small(), [pair]) == []
    [row] = reproduce.proof_rows(small(), [pair])
    assert row["Theorem D"] == "proved"
    assert float(row["sigma_n >="]) <= pair[1].proof.sigma_n.lo_float
    assert float(row["sigma_max <="]) >= pair[1].proof.sigma_max.hi_float
    row = reproduce.error_row(small(), [pair, pair])
    assert row["unit"] == "% wrong"
    count = 2 * len(pair[1].records)
    assert row["under the bound"] == f"{count} of {count}"


def test_every_expectation_that_fails_is_told(pair):
    base, wrapped = pair
    high = [replace(wrapped.records[-1], bound=0.0)]
    for changed, told in (
        (replace(wrapped, records=tuple(high)), "under the certified bound at every recorded step"),
        (replace(wrapped, records=()), "of 0 recorded"),
        (replace(wrapped, guarantee=replace(wrapped.guarantee, holds=False)), "a guarantee"),
        (replace(wrapped, proof=replace(wrapped.proof, structural=False)), "Theorem D"),
        (replace(wrapped, proof=replace(wrapped.proof, proved=False, why="no")), "got none: no"),
    ):
        [sentence] = reproduce.unmet_of(small(), [(base, changed)])
        assert told in sentence
        assert sentence.startswith("two moons, small, seed 0: expected ")


def test_a_bound_that_is_not_finite_is_stored_as_none(pair, tmp_path):
    base, wrapped = pair
    open_bound = replace(wrapped, records=(replace(wrapped.records[-1], bound=math.inf),))
    reproduce._write(tmp_path, [small()], {small().name: [(base, open_bound)]},
                     [wrapped.proof.certificate], {})  # fmt: skip
    stored = json.loads((tmp_path / "ee-wrapper.json").read_text())
    assert stored["curves"][small().name][0][0]["bound"] is None


def test_runs_of_one_seed_explore_alike(pair):
    again = run_wrapped(small(), 0)
    assert [r.high for r in again.records] == [r.high for r in pair[1].records]
    assert again.test == pair[1].test
    assert run_base(small(), 0).train == pair[0].train


def test_a_figure_is_well_formed():
    records = [Recorded(t, 1.0 / (t + 2), 1.0 / (t + 1), 0.0, 2.0 / (t + 1), 0.0)
               for t in (0, 10, 100)]  # fmt: skip
    figure = ElementTree.fromstring(loss_figure("loss < bound", records))
    assert len(figure.findall(".//polyline")) == 2
    lines = [[tuple(map(float, p.split(","))) for p in line.get("points").split()]
             for line in figure.findall(".//polyline")]  # fmt: skip
    assert all(above[1] < below[1] for below, above in zip(*lines, strict=True))
    assert loss_figure("nothing", [Recorded(0, 0.0, math.inf)]) == ""
    table = html_table("a < b", [{"x": "1 < 2"}])
    assert "1 &lt; 2" in ElementTree.tostring(ElementTree.fromstring(f"<p>{table}</p>")).decode()
    assert with_figures("<main>y</main>x", "h", [], []).endswith("</section>\ny</main>x")


def test_the_cases_are_what_they_are_said_to_be():
    import torch

    for quick in (True, False):
        for case in reproduce.cases_of(quick):
            model = case.build(0)
            n, width = len(case.task.X), model[-1].weight.shape[1]
            assert 1.1 * n <= width <= 1.35 * n
            assert case.switch < case.steps
            out = model(torch.as_tensor(case.task.X[:2]))
            assert out.shape == (2, case.task.outputs)
    kinds = {type(module).__name__ for module in residual_network(20)(0).modules()}
    assert {"Conv2d", "BatchNorm2d", "Softplus"} <= kinds
    assert digits(100, images=True).X.shape == (100, 1, 8, 8)
    assert len(digits(100, images=False).X_test) == 1697
