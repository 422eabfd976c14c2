"""The implicit ReLU reproduction end to end, and what it does when something is off."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from verify.certificate import read_certificate
from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.verdict import Truth, Verdict
from verify_conditions.convergence import implicit_pages as pages
from verify_conditions.convergence import reproduce_implicit
from verify_conditions.convergence.implicit_estimates import enclosed_h, estimate
from verify_conditions.convergence.implicit_runs import END, at_the_start, follow, table_row
from verify_conditions.convergence.implicit_tasks import Task, gaussian, real
from verify_conditions.convergence.implicit_training import begin

GAMMA = Fraction(1, 4)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Run the quick reproduction once."""
    place, said, kept = tmp_path_factory.mktemp("implicit"), [], []
    build = reproduce_implicit._Found

    def keep(*parts):
        kept.append(build(*parts))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce_implicit, "_Found", keep)
        code = reproduce_implicit.run(
            quick=True, json_dir=place / "json", report=place / "page.html", echo=said.append
        )
    return code, said, place, kept[0]


@pytest.mark.slow
def test_the_quick_run_comes_out_as_expected(quick):
    code, said, place, _ = quick
    assert code == 0, "\n".join(said)
    folder = place / "json"
    certificates = sorted(path.name for path in folder.glob("*.*.json"))
    assert certificates == [
        "digits.converges-from-here.json",
        "digits.well-posedness.json",
        "sphere-5-5-20.converges-from-here.json",
        "sphere-5-5-50.converges-from-here.json",
        "wine.converges-from-here.json",
        "wine.well-posedness.json",
    ]
    for name in certificates:
        assert read_certificate(folder / name).verdict is Verdict.PASS
    stored = json.loads((folder / "implicit-relu.json").read_text())
    assert len(stored["tables"]) == 6
    assert all(stored["tables"].values())
    page = (place / "page.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<figure>") == 2 * 4 + 1


@pytest.mark.slow
def test_what_theorem_i_certifies_is_kept_by_the_flow(quick):
    *_, found = quick
    walks = [(run.certified, run.followed) for run in found.runs]
    walks += [(row.last, row.followed) for row in found.table]
    assert {certified.by for certified, _ in walks} <= {"norm", "monotone"}
    for certified, followed in walks:
        assert certified.fired
        assert certified.h < 0.5
        assert followed.unmet(certified) == []
        assert followed.path <= certified.path.lo_float
        assert followed.contraction <= certified.contraction.lo_float < 1.0
        assert followed.rate >= certified.rate.hi_float > 0.0


@pytest.mark.slow
def test_the_a_priori_argument_covers_every_step(quick):
    *_, found = quick
    for run in found.runs:
        assert run.a_priori.truth is Truth.PROVED
        assert run.a_priori.steps == run.flow[-1].step + run.descent[-1].step + 2
        seen = max(record.contraction for record in (*run.flow, *run.descent))
        assert seen < run.a_priori.bound < 1
        assert run.lambda_0.lo > 0


@pytest.mark.slow
def test_only_the_last_checkpoint_is_certified(quick):
    *_, found = quick
    for run in found.runs:
        assert [point.certified is not None for point in run.checkpoints[:-1]].count(True) == 0
        assert run.last.certified is run.certified
        assert run.last.estimate.fires


@pytest.mark.slow
def test_what_differs_is_named(quick):
    *_, found = quick
    run = found.runs[0]
    none = replace(run.certified, path=Enclosure(0, 0), contraction=Enclosure(0, 0))
    steep = replace(none, rate=Enclosure(100, 100))
    told = follow(run.case.task, steep, rate=0.02, most=50).unmet(steep)
    assert len(told) == 4
    assert told[0].startswith("a path of at most 0, but got")
    assert told[1].startswith("||gA|| <= 0 along it, but got")
    assert told[2].startswith("||r|| under its certified decay, but got")
    assert told[3].startswith(f"||r|| <= {END:g} at the end, but got")
    lost = replace(
        run,
        smallest=replace(run.smallest, value=Enclosure(0, 1)),
        a_priori=replace(run.a_priori, truth=Truth.UNDECIDED),
        checkpoints=run.checkpoints[:-1],
        followed=None,
    )
    told = lost.unmet()
    assert len(told) == 3
    assert all(sentence.startswith("wine: expected ") for sentence in told)
    assert pages.walked_rows([lost]) == []
    assert pages.firing_rows([lost])[0]["fires at t"] == "never"
    assert len(pages.figures_of(lost)) == 2


def test_training_that_is_given_up_is_told_with_its_h():
    row = table_row(5, 5, 20, 1.2e-3, every=1, most=2)
    assert row.last is None
    assert row.followed is None
    [told] = row.unmet()
    assert told.startswith("n = 5, d = 5, m = 20: expected Theorem I to fire in 2 steps, but got h")
    [shown] = pages.trained_rows([row])
    assert shown["fires"] == "not in 2 steps"
    assert shown["h <="] == f"({row.here.h:.3g})"
    assert shown["path"] == shown["l* <="] == shown["q <="] == "-"


def test_h_of_untrained_networks_is_enclosed():
    starts = [at_the_start(m) for m in (50, 100)]
    for start in starts:
        task = gaussian(5, 5, seed=0)
        walk = begin(task, width=start.width, gamma=GAMMA, rate=0.1, seed=0)
        measured = estimate(task, walk.parameters, GAMMA)
        assert not measured.fires
        assert start.h.hi_float > 0.5
    # Tightness: the estimate is the better of both versions, computed in binary64.
    assert measured.h <= start.h.hi_float * (1.0 + 1e-9)
    shown = pages.untrained_rows(starts)
    assert [row["h < 1/2"] for row in shown] == ["0 of 1", "0 of 1"]
    assert "<svg" in pages.start_figure(starts)


def test_fewer_units_than_samples_and_dead_units_have_no_h():
    task = gaussian(9, 3, seed=0)
    walk = begin(task, width=4, gamma=GAMMA, rate=0.1, seed=0)
    assert estimate(task, walk.parameters, GAMMA).h == math.inf
    dead = replace(walk.parameters, W=np.zeros_like(walk.parameters.W))
    assert estimate(task, dead, GAMMA).h == math.inf
    assert enclosed_h(task, dead, GAMMA).hi == math.inf


def test_the_displacement_of_every_step_is_enclosed():
    walk = begin(gaussian(4, 3, seed=1), width=6, gamma=GAMMA, rate=0.1, seed=1)
    largest = Fraction(0)
    for step in range(1, 20):
        walk.advance_to(step)
        moved = sum(
            (Fraction(float(a)) - Fraction(float(b))) ** 2
            for a, b in zip(walk.parameters.A.ravel(), walk.start.A.ravel(), strict=True)
        )
        largest = max(largest, moved)
        assert Fraction(walk.largest.lo) ** 2 <= largest <= Fraction(walk.largest.hi) ** 2


def test_descent_lowers_the_loss_as_the_gradient_says():
    walk = begin(gaussian(4, 3, seed=2), width=8, gamma=GAMMA, rate=1e-5, seed=2)
    before = walk.loss
    walk.advance_to(1)
    slope = (walk.path / walk.rate) ** 2
    # Tightness: the second-order term is of the relative size of the step.
    assert (before - walk.loss) / walk.rate == pytest.approx(slope, rel=1e-2)
    assert walk.residual == pytest.approx(math.sqrt(2.0 * walk.loss))
    assert walk.time == 1e-5


SETS = [("iris", 5, 4), ("wine", 10, 13), ("breast_cancer", 20, 30), ("digits", 20, 64)]


@pytest.mark.parametrize(("name", "n", "d"), SETS)
def test_real_samples_have_unit_norm_and_two_classes(name, n, d):
    task = real(name, n)
    assert task.X.shape == (n, d)
    assert np.abs(np.linalg.norm(task.X, axis=1) - 1.0).max() < 1e-12
    assert (task.y == -1.0).sum() == (n + 1) // 2
    assert task.data.y is task.y


def test_more_samples_than_there_are_and_malformed_tasks_are_refused():
    with pytest.raises(InputError, match=r"real: expected up to 50 samples of class 0 of iris, but "
                       "got 60"):  # fmt: skip
        real("iris", 120)
    with pytest.raises(InputError, match=r"Task: expected finite X .* and y .* of \+1 and -1"):
        Task("t", np.eye(2), np.array([1.0, 0.5]), "")
