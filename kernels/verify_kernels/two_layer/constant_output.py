"""Networks whose output does not depend on the trained inner parameters.

Frozen outer layer: with a = 0, or with X = 0 and no trained inner bias, f is a constant plus the
penalties. It is a quadratic polynomial of the trained parameters, whatever the activation (which
must only be defined where it is used), and

    grad f = (penalty_r theta_r)_r,   Lap f constant,

so V_s -> inf for every s, f -> inf and exp(-2 f/s) is integrable if every trained role has a
positive penalty; if one has none, f is constant along it.

Trained outer layer, X = 0, no trained inner bias: f = c' (1/n) sum l_i(u) + penalties, where
u = sum_j a_j s(b_j) is linear in a. With positive penalties the squared loss gives a positive
definite quadratic; for the logistic loss the gradient and the Laplacian of the data part are
bounded, so |grad f| >= lambda |theta| - C and Lap f <= C', with the least penalty lambda > 0.

Source: own derivation.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.balls import ball, precision

if TYPE_CHECKING:
    from verify_kernels.activation_analysis import ActivationFacts


def decide_constant_output(
    problem: Problem, point: Point, facts: ActivationFacts, *, bits: int = 128
) -> Evidence:
    """Decide whether f is a Villani function where the output is constant in W.

    Args:
        problem: data, loss, penalties.
        point: the network's weights; only frozen roles matter.
        facts: of the activation, which must be defined on all of R where a = 0.
        bits: working precision.

    Returns:
        PROVED or REFUTED with the witness ``"constant-output"`` (which of a and X is zero, and
        for REFUTED the role without penalty), UNDECIDED if the output is not constant in W or
        an outer bias is trained.
    """
    trained = exact.is_trained(problem, "a")
    zero_a = not trained and not any(exact.outer(point))
    zero_x = not exact.inputs(problem).any() and not exact.is_trained(problem, "b")
    if not (zero_a or zero_x):
        return _open("the output depends on the trained inner weights")
    if exact.is_trained(problem, "c"):
        return _open("an outer bias is trained")
    if zero_a and facts.defined is not Truth.PROVED:
        return _open("the activation is not known to be defined everywhere")
    with precision(bits):
        places = set() if zero_a else set(exact.biases(point))
        values = [jet(problem.activation, ball(place), 0)[0] for place in places]
    if not all(value.is_finite() for value in values):
        return _open("the activation is not known to be defined at the biases")
    free = [role for role in "Wba" if role in problem.penalties and not problem.penalties[role]]
    what = "a = 0" if zero_a else "X = 0"
    data = {"zero": "a" if zero_a else "X", "free": free[0] if free else None}
    witness = Witness("constant-output", data)
    if not free:
        how = f"{what}: the risk is a quadratic (or its data part has bounded derivatives)"
        return Evidence(Truth.PROVED, witness, how=f"{how} and every penalty is positive")
    if trained and free == ["a"]:
        return _open("X = 0 and the trained outer layer has no penalty")
    how = f"{what}: the risk does not depend on {free[0]}, which has no penalty"
    return Evidence(Truth.REFUTED, witness, how=how)


def replay_constant_output(witness: Witness, problem: Problem, point: Point) -> bool:
    """Return whether the stored zero is there and the stored role has no penalty."""
    data = witness.data
    if data["zero"] == "a":
        zero = not exact.is_trained(problem, "a") and not any(exact.outer(point))
    else:
        zero = not exact.inputs(problem).any() and not exact.is_trained(problem, "b")
    penalties = {role: Fraction(value) for role, value in problem.penalties.items()}
    if data["free"] is None:
        return zero and all(value > 0 for value in penalties.values())
    return zero and penalties.get(data["free"]) == 0


def _open(why: str) -> Evidence:
    return Evidence(Truth.UNDECIDED, why_open=why)
