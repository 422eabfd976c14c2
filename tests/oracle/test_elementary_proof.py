"""The proofs of the elementary functions' error bounds, their mutation checks and a campaign."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from fractions import Fraction

import flint
import numpy as np
import pytest
from flint import arb, fmpq

from verify_kernels.elementary import arrays, functions
from verify_kernels.elementary.abstract_number import Number, Tail, Undecided
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.elementary.proof import ProofError, Proofs, prove
from verify_kernels.elementary.proof_setting import exact

U = Fraction(1, 2**53)
SEED = 20
COUNT = 20_000 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 2_000
PROMISED = dict.fromkeys(("exp", "expm1", "log", "tanh", "sigmoid", "softplus", "erf"), 8)
PROMISED |= dict.fromkeys(("erfc", "tan", "atan", "sinh", "cosh", "log1p"), 16)


@pytest.fixture(scope="module")
def proofs():
    return Proofs()


@pytest.mark.parametrize("name", BOUNDS)
def test_the_claimed_bound_is_proved(name, proofs):
    proved = prove(name, proofs)
    assert proved.within_claim(), proved
    print(
        f"{name}: {float(proved.relative_u):.2f} u relative, {float(proved.absolute_u):.2f} u "
        f"absolute, {proved.pieces} pieces"
    )


def test_the_claims_are_those_promised():
    for name, bound in BOUNDS.items():
        if name in ("sin", "cos"):
            assert (bound.relative_u, bound.lo, bound.hi) == (0, -1e5, 1e5)
            assert bound.absolute_u <= 4
        else:
            assert bound.absolute_u == 0
            assert bound.relative_u <= PROMISED[name]


LEADING = {
    "exp": "EXP_0",
    "expm1": "EXP_1",
    "tanh": "EXP_0",
    "sigmoid": "EXP_0",
    "softplus": "ATANH_0",
    "log": "LOG_0",
    "log1p": "LOG_0",
    "erf": "ERF_0",
    "erfc": "ERFCX_0",
    "sin": "SIN_0",
    "cos": "COS_0",
    "tan": "SIN_0",
    "atan": "ATAN_0",
    "sinh": "EXP_0",
    "cosh": "EXP_0",
}
CHANGES = [(name, {c: getattr(functions, c) * (1 + 2.0**-45)}) for name, c in LEADING.items()]
CHANGES += [(name, {"LN2_LOW": 0.0}) for name in ("exp", "expm1", "tanh", "cosh")]
CHANGES += [(name, {"LN2": math.log(2.0) * (1 + 2.0**-50)}) for name in ("log", "log1p")]
CHANGES += [(name, {"HALF_PI_3": 0.0}) for name in ("sin", "cos", "tan")]
CHANGES += [("atan", {"HALF_PI_HIGH": math.pi / 2 * (1 + 2.0**-51)})]
CHANGES += [("exp", {"LN2_HIGH": math.log(2.0)}), ("sin", {"HALF_PI_1": math.pi / 2})]


@pytest.mark.parametrize(
    ("name", "changes"), CHANGES, ids=[f"{n}-{next(iter(c))}" for n, c in CHANGES]
)
def test_a_changed_constant_is_not_proved(name, changes):
    with pytest.raises(ProofError, match="expected"):
        prove(name, Proofs(changes))


STRUCTURAL = [
    ("exp", "reduce_ln2", "x, k", "fma(-k, LN2_HIGH, x)"),
    ("exp", "scaled_up", "y, shifted", "from_bits(bits(y) + (bits(shifted) << 51))"),
    ("log", "binary_exponent", "x", "(bits(x) - 0x3FE6A09E667F3BCD) >> 52"),
    ("exp", "exp_reduced", "r", "1.0 + (r + r * (r * exp_sum(r)) + r * 1e-14)"),
    ("expm1", "expm1_core", "x", "exp_core(x) - 1.0"),
    ("tanh", "tanh_core", "x", "with_sign_of(1.0 - 2.0 / (exp_core(2.0 * abs(x)) + 1.0), x)"),
    ("sigmoid", "sigmoid_core", "x", "1.0 / (1.0 + exp_core(x))"),
    ("softplus", "softplus_core", "x", "log1p_unit(exp_core(-abs(x)))"),
    ("log", "log_of_ratio", "f, k", "k * LN2 + log1p_reduced(f)[2]"),
    ("log1p", "log1p_core", "x", "log_core(1.0 + x)"),
    ("erf", "erf_core", "x", "with_sign_of(1.0 - erfc_tail(abs(x)), x)"),
    ("erfc", "exp_of_minus_square", "x", "exp_core(-(x * x))"),
    ("sin", "reduce_half_pi", "x, k", "fma(-k, HALF_PI_2, fma(-k, HALF_PI_1, x))"),
    ("cos", "cos_core", "x", "sin_core(x)"),
    ("tan", "reduce_half_pi_closely", "x, k", "fma(-k, HALF_PI_2, fma(-k, HALF_PI_1, x))"),
    ("atan", "atan_sum", "z", "fma(ATAN_1, z, ATAN_0)"),
    ("sinh", "sinh_core", "x", "0.5 * (exp_core(x) - exp_core(-x))"),
    ("cosh", "cosh_core", "x", "exp_core(abs(x)) - 0.5"),
]


@pytest.mark.parametrize(
    ("name", "function", "arguments", "body"),
    STRUCTURAL,
    ids=[f"{n}-{f}" for n, f, *_ in STRUCTURAL],
)
def test_a_worse_program_is_not_proved(name, function, arguments, body, monkeypatch):
    space = dict(vars(functions))
    exec(f"def {function}({arguments}):\n    return {body}\n", space)
    space[function].__module__ = functions.__name__
    monkeypatch.setattr(functions, function, space[function])
    with pytest.raises((ProofError, Undecided)):
        prove(name, Proofs())


@pytest.mark.parametrize("name", ["tan", "log1p", "cos"])
def test_a_larger_domain_is_not_within_the_proof(name, monkeypatch):
    wider = dataclasses.replace(BOUNDS[name], hi=BOUNDS[name].hi * 2)
    proved = prove(name, Proofs())
    assert proved.within_claim()
    monkeypatch.setitem(BOUNDS, name, wider)
    assert not proved.within_claim()


# the abstract arithmetic against exact rational arithmetic


def _encloses(number, value, ideal):
    error = abs(value - ideal)
    assert not fmpq(error.numerator, error.denominator) > number.error
    if number.relative is not None:
        assert not fmpq(error.numerator, error.denominator) > number.relative * abs(
            fmpq(ideal.numerator, ideal.denominator)
        )
    assert number.ideal.overlaps(arb(fmpq(ideal.numerator, ideal.denominator)))


def test_abstract_operations_enclose_random_programs():
    rng = np.random.default_rng(7)
    for _ in range(1500):
        scale = 2.0 ** int(rng.integers(-540, 500))
        places = []
        for _ in range(3):
            lo, hi = sorted((rng.uniform(0.3, 3, 2) * scale * rng.choice([-1, 1])).tolist())
            places.append((lo, hi, float(rng.choice([lo, hi, rng.uniform(lo, hi)]))))
        numbers = [exact(lo, hi) for lo, hi, _ in places]
        floats = [x for _, _, x in places]
        ideals = [Fraction(x) for x in floats]
        for _ in range(4):
            i, j, k = rng.integers(0, len(numbers), 3)
            a, b, c = numbers[i], numbers[j], numbers[k]
            match rng.integers(0, 4):
                case 0:
                    new = a + b, floats[i] + floats[j], ideals[i] + ideals[j]
                case 1:
                    new = a * b, floats[i] * floats[j], ideals[i] * ideals[j]
                case 2:
                    if not floats[j] or not ideals[j]:
                        continue
                    new = a / b, floats[i] / floats[j], ideals[i] / ideals[j]
                case _:
                    value = functions.fma(floats[i], floats[j], floats[k])
                    new = functions.fma(a, b, c), value, ideals[i] * ideals[j] + ideals[k]
            if not isinstance(new[0], Number) or not math.isfinite(new[1]):
                continue
            _encloses(new[0], Fraction(new[1]), new[2])
            numbers.append(new[0])
            floats.append(new[1])
            ideals.append(new[2])


def test_exact_operations_are_seen_and_others_are_not():
    x = exact(0.75, 1.25)
    assert (x - 1.0).error == 0
    assert (x - 1.25).error == 0
    assert (x - 0.1).error > 0
    assert (exact(2.0, 4.0) - 1.0).error > 0
    assert (exact(1.0, 2.0) * 0.5).error == 0
    assert (exact(2.0**-1022, 2.0**-1021) * 0.5).error > 0


def test_half_a_unit_at_the_edges_of_a_binade():
    u = arb(2) ** -53
    for top, unit in ((1.0, u / 2), (1.0 + 2.0**-52, u), (2.0, u), (4.0, 2 * u)):
        assert (exact(top / 2, top / 2) + exact(0.0, top / 2)).error <= unit * 2
        assert (exact(top * 0.75, top) * 0.3).error > 0
    product = exact(1.0, 1.5) * exact(1.0, 1.25)
    assert product.error == u
    assert (exact(1.0, 1.5) * exact(1.0, 1.5)).error == 2 * u


def test_products_that_underflow_lose_their_relative_bound():
    product = exact(2.0**-600, 2.0**-599) * exact(2.0**-475, 2.0**-474)
    assert product.error >= arb(2) ** -1075
    assert not product.relative < arb(2) ** -3
    tail = Number(arb(1), relative=arb(0), tail=Tail(arb(0), arb(2) ** -500), order=1)
    assert (tail * 0.7).eta > 0
    assert (tail * tail).relative >= 1


def test_a_select_in_the_middle_of_a_piece_is_undecided():
    with pytest.raises(Undecided):
        bool(exact(0.5, 1.5) < 1.0)
    with pytest.raises(Undecided):
        bool(exact(0.5, 1.0) < 1.0)
    assert exact(0.5, 1.0) <= 1.0
    assert not exact(1.0, 2.0) < 1.0


# counted campaigns


def _true(name, x):
    if name == "sigmoid":
        return 1 / (1 + (-x).exp())
    if name == "softplus":
        return x.exp().log1p()
    return getattr(x, name)()


EDGES = [0.34657359, math.log(2), 1.0, 6.0, 22.0, 26.5, 708.0, 709.0, 2.0**0.5 - 1, 2.0**0.5 + 1]
EDGES += [0.5**0.5, 2.0**0.5, 0.25, 0.5, 2.0, 1e5, 2.0**-30, 2.0**-500, 2.0**-1022, 2.0**-511]
EDGES += [math.pi / 4 * k for k in (1, 2, 3, 4, 6, 8, 10, 63660, 127320)]
EDGES += [math.log(2) * (k + 0.5) for k in range(-3, 4)]


def _inputs(name, rng):
    bound = BOUNDS[name]
    lo, hi = max(bound.lo, -750.0), min(bound.hi, 750.0)
    if name in ("sin", "cos", "tan"):
        lo, hi = bound.lo, bound.hi
    near = []
    for edge in [*EDGES, lo, hi, bound.lo, bound.hi]:
        for sign in (1.0, -1.0):
            x = sign * edge
            for _ in range(3):
                near += [x]
                x = float(math.nextafter(x, math.inf))  # noqa: TID251
            near += [float(math.nextafter(sign * edge, -math.inf))]  # noqa: TID251
    count = COUNT - len(near)
    signs = rng.choice([-1.0, 1.0], count)
    parts = [
        rng.uniform(lo, hi, count // 4),
        rng.standard_normal(count // 4) * 2,
        signs[: count // 4] * np.exp2(rng.uniform(-70, 17, count // 4)),
        signs[: count // 8] * np.exp2(rng.uniform(-1074, 1024, count // 8)),
        -1 + np.exp2(rng.uniform(-53, 0, count // 16)),
        1 + signs[: count // 16] * np.exp2(rng.uniform(-53, -1, count // 16)),
    ]
    if name == "tan":
        k = rng.integers(1, 63660, count // 8)
        parts.append(np.array([float(arb.pi() / 2 * int(i)) for i in k]))
    x = np.concatenate([np.array(near), *parts])
    return x[(x >= bound.lo) & (x <= bound.hi)]


@pytest.mark.soundness
@pytest.mark.parametrize("name", BOUNDS)
def test_campaign_no_value_is_further_than_claimed(name):
    start = time.perf_counter()
    bound, rng = BOUNDS[name], np.random.default_rng(SEED)
    x = _inputs(name, rng)
    y = arrays.evaluate(name, x)
    relative = bound.relative_u * U
    absolute = bound.absolute_u * U
    wrong = []
    for value, computed in zip(x.tolist(), y.tolist(), strict=True):
        if not _within(name, value, computed, relative, absolute):
            wrong.append((value, computed))
    print(
        f"campaign elementary {name}: {x.size} cases, seed {SEED}, "
        f"{time.perf_counter() - start:.1f} s, {len(wrong)} wrong"
    )
    assert wrong == []


def _within(name, x, computed, relative, absolute):
    """Tell whether the claim holds, certainly: by balls fine enough to decide."""
    for bits in (256, 1400, 3000):
        with flint.ctx.workprec(bits):
            truth = _true(name, arb(x))
            error = abs(arb(computed) - truth)
            limit = abs(truth) * fmpq(relative.numerator, relative.denominator)
            limit += fmpq(absolute.numerator, absolute.denominator)
            if abs(truth) < arb(2) ** -1021:
                limit += arb(2) ** -1074
            if error <= limit:
                return True
            if error > limit:
                return False
    return False


@pytest.mark.soundness
@pytest.mark.parametrize("name", BOUNDS)
def test_campaign_arrays_beyond_the_domain(name):
    start = time.perf_counter()
    rng, bound = np.random.default_rng(SEED + 1), BOUNDS[name]
    count = COUNT // 10
    x = np.concatenate(
        [
            rng.uniform(-746, -708, count),
            rng.uniform(708, 711, count),
            rng.uniform(26.4, 27.4, count),
            np.exp2(rng.uniform(-1074, -1000, count)),
            rng.choice([-1, 1], count) * np.exp2(rng.uniform(0, 1024, count)),
        ]
    )
    y = getattr(arrays, name)(x)
    wrong = []
    for value, computed in zip(x.tolist(), y.tolist(), strict=True):
        if name in ("log", "log1p") and value < (0.0 if name == "log" else -1.0):
            good = math.isnan(computed)
        elif math.isinf(computed):
            with flint.ctx.workprec(256):
                good = not abs(_true(name, arb(value))) < arb(2) ** 1024 * (1 - arb(2) ** -52)
        else:
            floor = (bound.absolute_u + (1 if bound.absolute_u else 0)) * U
            good = _within(name, value, computed, bound.relative_u * U, floor)
        if not good:
            wrong.append((value, computed))
    print(
        f"campaign elementary arrays {name}: {x.size} cases, seed {SEED + 1}, "
        f"{time.perf_counter() - start:.1f} s, {len(wrong)} wrong"
    )
    assert wrong == []


@pytest.mark.soundness
def test_every_logarithmic_seam_of_the_exponent():
    powers = np.exp2(np.arange(-1022, 1024).astype(float))
    x = np.concatenate([powers, powers * 2.0**0.5 / 2, powers * (1 - 2.0**-53)])
    x = x[x >= 2.0**-1022]
    relative = BOUNDS["log"].relative_u * U
    assert [
        v
        for v, g in zip(x.tolist(), arrays.log(x).tolist(), strict=True)
        if not _within("log", v, g, relative, Fraction(0))
    ] == []
