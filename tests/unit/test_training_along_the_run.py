"""Claims along a run: each stored step, and every step by the a-priori argument."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.verdict import Truth
from verify_conditions.implicit_relu_a_priori import a_priori_statement
from verify_conditions.implicit_relu_training import Parameters
from verify_conditions.well_posedness.along_the_run import certify_run, rows
from verify_conditions.well_posedness.training import train_implicit_relu


@pytest.fixture(scope="module")
def run():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 5))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return train_implicit_relu(X, np.arange(30) % 3, width=16, steps=6, every=4)


def with_state_weight(point, A):
    p = point.parameters
    return replace(point, parameters=Parameters(A, p.W, p.u, p.v))


def test_a_short_run_is_proved_at_every_step(run):
    certified = certify_run(run)
    assert [step.step for step in certified.steps] == [0, 4, 6]
    assert certified.at_stored_steps is Truth.PROVED
    assert certified.at_every_step is Truth.PROVED
    assert certified.total_steps == 7
    assert certified.bound.contains(9)  # 9/4 times the root of 16
    for step, point in zip(certified.steps, run.checkpoints, strict=True):
        exact_enough = 0.2 / 4 * np.linalg.norm(point.parameters.A, 2)
        assert abs(step.contraction.hi_float - exact_enough) < 1e-6  # tightness
        assert step.displacement.hi <= certified.displacement.hi


def test_a_step_beyond_the_threshold_is_not_proved(run):
    # ||A|| = 20 exactly at width 16: gamma ||A|| / sqrt(m) = 1, and the hypothesis is strict.
    last = with_state_weight(run.checkpoints[-1], 20.0 * np.eye(16))
    broken = replace(run, checkpoints=(run.checkpoints[0], last))
    certified = certify_run(broken)
    assert certified.steps[0].well_posed is Truth.PROVED
    assert certified.steps[1].well_posed is not Truth.PROVED
    assert certified.at_stored_steps is not Truth.PROVED


def test_a_step_just_inside_the_threshold_is_not_refuted(run):
    last = with_state_weight(
        run.checkpoints[-1], float.fromhex("0x1.3ffffffffffffp+4") * np.eye(16)
    )
    certified = certify_run(replace(run, checkpoints=(run.checkpoints[0], last)))
    assert certified.steps[1].well_posed is not Truth.REFUTED


def test_one_far_step_ends_the_a_priori_argument(run):
    far = replace(run.history[3], displacement=Enclosure.exact(10))
    history = (*run.history[:3], far, *run.history[4:])
    certified = certify_run(replace(run, history=history))
    assert certified.at_every_step is Truth.REFUTED
    assert certified.at_stored_steps is Truth.PROVED


def test_an_unbounded_displacement_leaves_the_argument_undecided(run):
    far = replace(run.history[3], displacement=Enclosure(0, float("inf")))
    certified = certify_run(replace(run, history=(*run.history[:3], far)))
    assert certified.at_every_step is Truth.UNDECIDED


def test_constants_that_do_not_fit_are_refused(run):
    with pytest.raises(InputError, match=r"2 c gamma <= gamma_0 < 1, but got gamma = 1/5, c = 3"):
        certify_run(run, bound=Fraction(3))
    with pytest.raises(InputError, match=r"gamma_0 = 1$"):
        a_priori_statement(gamma=Fraction(1, 5), width=4, limit=Fraction(1))
    with pytest.raises(InputError, match=r"first checkpoint is step 0, but got steps \[4, 6\]"):
        certify_run(replace(run, checkpoints=run.checkpoints[1:]))


def test_the_statement_holds_its_constants_exactly():
    statement = a_priori_statement(gamma=Fraction(1, 5), width=256)
    assert statement.text() == "(displacement <= 36) & (norm_A0 <= 36)"
    assert "2 c gamma = 9/10 < 1" in statement.conclusion


def test_rows_are_rounded_outward(run):
    certified = certify_run(run)
    for row, step in zip(rows(certified), certified.steps, strict=True):
        assert Fraction(row["gamma ||A|| / sqrt(m) <="]) >= step.contraction.hi
        assert Fraction(row["||A - A(0)||_F <="]) >= step.displacement.hi
        assert row["test accuracy"] == "-"
    assert rows(certified)[0]["||A - A(0)||_F <="] == "0.000000"
