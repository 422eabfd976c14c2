"""Matrices just inside and just outside each threshold: no false proof, no false refutation.

The truth of every hypothesis is decided in exact rational arithmetic by leading or principal
minors, independently of the kernels.
"""

import itertools
import os
import time
from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from verify.condition import Effort
from verify.engine import check
from verify.network import Activation, Equilibrium, PlainWeight

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
COUNT = 1000 if FULL else 100
SEED = 20261120


def rational(matrix):
    entries = [fmpq(*float(x).as_integer_ratio()) for x in np.ravel(matrix)]
    return fmpq_mat(*matrix.shape, entries)


def identity(m):
    return fmpq_mat(m, m, [fmpq(int(i == j)) for i in range(m) for j in range(m)])


def sub(matrix, index):
    k = len(index)
    return fmpq_mat(k, k, [matrix[i, j] for i in index for j in index])


def minors(matrix):
    m = matrix.nrows()
    for size in range(1, m + 1):
        for index in itertools.combinations(range(m), size):
            yield sub(matrix, index).det()


def leading_positive(matrix):
    """Sylvester for symmetric matrices; for Z-matrices: nonsingular M-matrix."""
    return all(sub(matrix, range(k)).det() > 0 for k in range(1, matrix.nrows() + 1))


def absolute(matrix, keep_diagonal=False):
    m = matrix.nrows()
    return fmpq_mat(m, m, [
        matrix[i, j] if keep_diagonal and i == j else abs(matrix[i, j])
        for i in range(m) for j in range(m)
    ])  # fmt: skip


def holds_norm(W):
    return leading_positive(identity(W.nrows()) - W.transpose() * W)


def holds_perron(W):
    return leading_positive(identity(W.nrows()) - absolute(W))


def holds_monotone(W):
    return leading_positive(2 * identity(W.nrows()) - W - W.transpose())


def holds_measure(W):
    return leading_positive(identity(W.nrows()) - absolute(W, keep_diagonal=True))


def well_posed(W, activation):
    m = W.nrows()
    name = activation.name
    if name == "relu":
        return all(d > 0 for d in minors(identity(m) - W))
    if name == "tanh":
        return all(d >= 0 for d in minors(identity(m) - W))
    if name == "sigmoid":
        return all(d >= 0 for d in minors(identity(m) - W * fmpq(1, 4)))
    alpha = activation.parameters[0]
    slopes = [fmpq(alpha.numerator, alpha.denominator), fmpq(1)]
    found = []
    for choice in itertools.product(slopes, repeat=m):
        D = fmpq_mat(m, m, [choice[i] if i == j else fmpq(0) for i in range(m) for j in range(m)])
        found.append((identity(m) - D * W).det())
    return all(d > 0 for d in found) or all(d < 0 for d in found)


ROUTES = {
    "spectral-norm": holds_norm,
    "perron": holds_perron,
    "monotone": holds_monotone,
    "matrix-measure": holds_measure,
}


def scales(W, activation):
    """Factors at which some threshold is crossed, in plain floats: only a place to look."""
    with np.errstate(all="ignore"):
        yield 1 / np.linalg.norm(W, 2)
        yield 1 / max(abs(np.linalg.eigvals(np.abs(W))))
        top = np.linalg.eigvalsh((W + W.T) / 2)[-1]
        yield 1 / top if top > 0 else 1.0
        quarter = 0.25 if activation.name == "sigmoid" else 1.0
        for root in np.linalg.eigvals(quarter * W):
            if abs(root.imag) < 1e-12 and root.real > 0:
                yield 1 / root.real


ACTIVATIONS = [
    Activation("relu"),
    Activation("tanh"),
    Activation("sigmoid"),
    Activation("leaky_relu", (Fraction(1, 2),)),
    Activation("leaky_relu", (Fraction(1, 100),)),
]


@pytest.mark.soundness
@pytest.mark.parametrize("part", range(4))
def test_no_false_verdict_next_to_a_threshold(part):
    rng = np.random.default_rng(SEED + part)
    started, wrong, cases, decided = time.perf_counter(), [], 0, 0
    while cases < COUNT // 4:
        m = int(rng.integers(1, 6))
        W = rng.standard_normal((m, m)) * rng.choice([1.0, 0.25, 4.0], size=(m, m))
        activation = ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]
        for scale in scales(W, activation):
            distance = 10.0 ** -rng.uniform(3, 15.5) * rng.choice([-1, 0, 1])
            near = W * (scale * (1 + distance))
            network = Equilibrium(PlainWeight(near), activation)
            (certificate,) = check(network, conditions=["well-posedness"], effort=Effort(budget=5))
            exact, claim = rational(near), certificate.claim
            truth = "pass" if well_posed(exact, activation) else "fail"
            if claim["verdict"] not in (truth, "undecided"):
                wrong.append((near.tolist(), str(activation), claim["verdict"]))
            decided += claim["verdict"] != "undecided"
            for route in claim["routes"]:
                if route["name"] in ROUTES and activation.name != "sigmoid":
                    said = {"proved": True, "refuted": False}.get(route["truth"])
                    if said not in (None, ROUTES[route["name"]](exact)):
                        wrong.append((near.tolist(), route["name"], route["truth"]))
            cases += 1
    seconds = time.perf_counter() - started
    print(f"\ncampaign thresholds[{part}]: {cases} cases, seed {SEED + part}, {seconds:.1f} s, "
          f"{decided} decided, {len(wrong)} wrong")  # fmt: skip
    assert not wrong
