"""Random small networks against enumeration of all principal minors in rational arithmetic."""

import itertools
import os
import time
from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from verify.certificate import decode_value
from verify.condition import Effort
from verify.engine import check
from verify.network import Activation, Equilibrium, PlainWeight

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
COUNT = 2000 if FULL else 200
SEED = 41
ACTIVATIONS = [
    Activation("relu"),
    Activation("tanh"),
    Activation("sigmoid"),
    Activation("leaky_relu", (Fraction(1, 2),)),
    Activation("leaky_relu", (Fraction(1, 100),)),
]


def determinants(weight, slopes):
    """det(I - D W) for every diagonal D with entries among the two slopes."""
    m = len(weight)
    entries = [[fmpq(*float(x).as_integer_ratio()) for x in row] for row in weight]
    exact = [fmpq(s.numerator, s.denominator) for s in slopes]
    for choice in itertools.product(exact, repeat=m):
        yield fmpq_mat(
            m,
            m,
            [fmpq(int(i == j)) - choice[i] * entries[i][j] for i in range(m) for j in range(m)],
        ).det()


def truth(weight, activation):
    if activation.name == "leaky_relu":
        found = list(determinants(weight, (activation.parameters[0], Fraction(1))))
        return all(d > 0 for d in found) or all(d < 0 for d in found)
    top = Fraction(1, 4) if activation.name == "sigmoid" else Fraction(1)
    found = determinants(weight, (Fraction(0), top))
    if activation.name == "relu":
        return all(d > 0 for d in found)
    return all(d >= 0 for d in found)


def draw(rng):
    m = int(rng.integers(1, 7))
    kind = int(rng.integers(5))
    if kind == 0:
        return rng.integers(-3, 4, size=(m, m)) / 2.0
    if kind == 1:
        return rng.standard_normal((m, m)) * rng.choice([0.3, 0.7, 1.0, 2.0])
    if kind == 2:
        return rng.standard_normal((m, m)) * (rng.random((m, m)) < 0.4) * 2
    if kind == 3:
        scale = 2.0 ** rng.integers(-40, 40, size=m)
        return rng.standard_normal((m, m)) * scale[:, None] / scale[None, :]
    skew = rng.standard_normal((m, m))
    return skew - skew.T + np.diag(rng.uniform(-1, 1.2, size=m))


def substituted(weight, activation, b, z):
    alpha = activation.parameters[0] if activation.parameters else Fraction(0)
    for row, shift, own in zip(weight, b, z, strict=True):
        v = sum(Fraction(float(w)) * Fraction(x) for w, x in zip(row, z, strict=True))
        v += Fraction(shift)
        if (v if v >= 0 else alpha * v) != own:
            return False
    return True


@pytest.mark.soundness
@pytest.mark.parametrize("part", range(4))
def test_verdicts_agree_with_enumeration(part):
    rng = np.random.default_rng(SEED + part)
    started, wrong, failed, decided = time.perf_counter(), [], 0, 0
    for _ in range(COUNT // 4):
        weight, activation = draw(rng), ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]
        (certificate,) = check(
            Equilibrium(PlainWeight(weight), activation),
            conditions=["well-posedness"],
            effort=Effort(budget=5),
        )
        claim = certificate.claim
        expected = "pass" if truth(weight, activation) else "fail"
        decided += claim["verdict"] == expected
        if claim["verdict"] not in (expected, "undecided"):
            wrong.append((weight.tolist(), str(activation), claim["verdict"]))
        if claim["verdict"] == "fail" and activation.name in ("relu", "leaky_relu"):
            failed += 1
            route = next(r for r in claim["routes"] if r["name"] == claim["decided_by"])
            (fact,) = route["facts"].values()
            data = {
                k: decode_value(v, certificate.arrays) for k, v in fact["witness"]["data"].items()
            }
            states = data["z1"], data["z2"]
            if states[0] == states[1] or not all(
                substituted(weight, activation, data["b"], z) for z in states
            ):
                wrong.append((weight.tolist(), str(activation), "witness"))
    seconds = time.perf_counter() - started
    print(f"\ncampaign random networks[{part}]: {COUNT // 4} cases, seed {SEED + part}, "
          f"{seconds:.1f} s, {decided} decided, {failed} refutations substituted, "
          f"{len(wrong)} wrong")  # fmt: skip
    assert not wrong
