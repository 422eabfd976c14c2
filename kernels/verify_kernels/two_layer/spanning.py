"""No penalty at all, and still a Villani function: one-signed outer weights and spanning data.

Squared loss, frozen outer layer, only W trained without a penalty. s is C^infinity with S1, S2 and
kappa0 = sup |s - z s'| finite, so that m+ = lim s(z)/z at +inf, m- at -inf exist and |s(z) - m z|
<= kappa0 on each half line. All a_j are nonzero of one sign.

* m- = 0 (s bounded at -inf), m+ != 0, or the mirror image; the data positively span R^d: no v !=
  0 has v . x_i <= 0 for all i. By compactness mean_i sum_j (w_j . x_i)_+^2 >= c |W|^2.
* m+ and m- are nonzero of opposite signs (s grows to the same side at both ends) and rank X = d:
  mean_i sum_j (w_j . x_i)^2 >= c |W|^2.

In both cases the main terms of u_i have one sign, so |u_i| is at least a multiple of the sum of
their moduli less C, and mean r_i^2 >= c |W|^2 - C. With frozen biases b and
e_i = sum_j a_j (s(z_ij) - s'(z_ij) (z_ij - b_j)), |e_i| <= sum_j |a_j| (kappa0 + S1 |b_j|),

    <grad f, W> = c' mean r_i (r_i + y_i - e_i) >= (c'/2) mean r_i^2 - C >= c |W|^2 - C,

while Lap f <= C (1 + |W|), since |r_i| <= C (1 + |W|). So V_s -> inf for every s, and f >= c |W|^2
- C. With trained inner biases the extended data (x_i, 1) never positively span (v = -e_{d+1}),
but have full rank where [X 1] has: then the second case holds for (W, b) without a penalty.

Source: own derivation.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels._rounding import Array
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.balls import Ball, ball, precision
from verify_kernels.two_layer.positive_span import (
    has_full_rank,
    is_positive_combination,
    positive_combination,
)

if TYPE_CHECKING:
    from verify_kernels.activation_analysis import ActivationFacts

_FAR = 2**60


def end_slopes(problem: Problem, facts: ActivationFacts) -> tuple[Ball, Ball] | None:
    """Enclose (m-, m+), the limits of s(z)/z, or None where kappa0 is not proved finite.

    A side where s is bounded has m = 0; elsewhere |m - s(Z)/Z| <= kappa0/|Z|.
    """
    if facts.kappa0.finite is not Truth.PROVED:
        return None
    slopes = []
    for place, growth in zip((-_FAR, _FAR), facts.growth, strict=True):
        if growth == "bounded":
            slopes.append(ball(0))
            continue
        high = abs(facts.kappa0.value.arb()).upper()
        slack = high * ball(-1).union(ball(1))
        slopes.append((jet(problem.activation, ball(place), 0)[0] + slack) / place)
    return slopes[0], slopes[1]


def decide_without_penalty(
    problem: Problem, point: Point, facts: ActivationFacts, *, bits: int = 256
) -> Evidence:
    """Decide whether f without any penalty is a Villani function, by one sign and spanning data.

    Args:
        problem: data, loss, penalties (all zero, roles W and perhaps b).
        point: the network's weights; a and frozen biases are used.
        facts: of the activation.
        bits: working precision.

    Returns:
        PROVED with the witness ``"spanning-data"`` (a positive combination of the data that is 0,
        or none where full rank is enough), else UNDECIDED. Never REFUTED: see `rays`.
    """
    roles = set(problem.penalties)
    if problem.loss != "squared" or roles - {"W", "b"} or any(problem.penalties.values()):
        return _open("a penalty, a trained outer parameter or another loss")
    known = (facts.sup_abs(1).finite, facts.sup_abs(2).finite, facts.smooth)
    if any(truth is not Truth.PROVED for truth in known):
        return _open("the activation is not known to be smooth with bounded s' and s''")
    a = exact.outer(point)
    if not (all(w > 0 for w in a) or all(w < 0 for w in a)):
        return _open("the outer weights are not all nonzero of one sign")
    with precision(bits):
        slopes = end_slopes(problem, facts)
    if slopes is None:
        return _open("sup |s - z s'| is not known to be finite")
    if slopes[0] * slopes[1] < 0 and has_full_rank(_extended(problem)):
        how = "one-signed outer weights, growth to one side at both ends, data of full rank"
        return Evidence(Truth.PROVED, Witness("spanning-data", {"weights": None}), how=how)
    one_end = any(m == 0 and other != 0 for m, other in (slopes, slopes[::-1]))
    weights = positive_combination(exact.inputs(problem)) if one_end and "b" not in roles else None
    if weights is None:
        return _open("the data are not proved to span as the activation needs")
    how = "one-signed outer weights and data that positively span: coercive without a penalty"
    return Evidence(Truth.PROVED, Witness("spanning-data", {"weights": weights}), how=how)


def replay_spanning(
    witness: Witness, problem: Problem, point: Point, facts: ActivationFacts
) -> bool:
    """Return whether the hypotheses hold, and the stored combination is positive and 0, exactly.

    Where full rank is enough no combination is stored, and none is asked for.
    """
    again = decide_without_penalty(problem, point, facts)
    if again.witness is None:
        return False
    weights: list[Fraction] | None = witness.data["weights"]
    if weights is None:
        return again.witness.data["weights"] is None and has_full_rank(_extended(problem))
    return is_positive_combination(exact.inputs(problem), weights)


def _extended(problem: Problem) -> Array:
    X = exact.inputs(problem)
    if not exact.is_trained(problem, "b"):
        return X
    return np.hstack([X, np.ones((len(X), 1))])


def _open(why: str) -> Evidence:
    return Evidence(Truth.UNDECIDED, why_open=why)
