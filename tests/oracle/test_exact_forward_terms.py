"""Every term of the float enclosures beside residues, and every condition of what they decide."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from verify.network import Activation, Graph, GraphBuilder
from verify_kernels.exact_forward import signs
from verify_kernels.exact_forward.dead_units import dead_units
from verify_kernels.exact_forward.deficiency import deficiency_at_these_weights
from verify_kernels.exact_forward.rational import rational_features
from verify_kernels.exact_forward.residues import float_near, residue_features
from verify_kernels.exact_forward.signs import Enclosed
from verify_kernels.forward.inputs import Inputs
from verify_kernels.full_rank.primes import choose_prime

NUMBERS = [0.0, 1.0, -3.0, 0.1, 1 / 3, -1e16 / 3, 2.0**-1074, -3e-310, 1.1e-160, 7e150]
RADII = [0.0, 2.0**-1074, 1e-20, 0.5, 2.0]


def ends(x: Enclosed) -> list[list[Fraction]]:
    """Return the two ends of every entry."""
    return [
        [Fraction(mid) - Fraction(radius), Fraction(mid) + Fraction(radius)]
        for mid, radius in zip(x.mid.ravel().tolist(), x.radius.ravel().tolist(), strict=True)
    ]


def require_inside(found: Enclosed, values: list[list[Fraction]]) -> None:
    """Require that every exact value of every entry is enclosed."""
    told = zip(found.mid.ravel().tolist(), found.radius.ravel().tolist(), strict=True)
    for (mid, radius), exact in zip(told, values, strict=True):
        if not (np.isfinite(mid) and np.isfinite(radius)):
            continue
        for value in exact:
            assert abs(value - Fraction(mid)) <= Fraction(radius), (mid, radius, float(value))


def pairs() -> tuple[Enclosed, Enclosed]:
    """Return all pairs of numbers with radii."""
    one = [(m, r) for m in NUMBERS for r in RADII]
    all_pairs = list(itertools.product(one, one))
    sides = [np.array([pair[k] for pair in all_pairs]) for k in (0, 1)]
    left, right = (Enclosed(side[:, 0].copy(), side[:, 1].copy()) for side in sides)
    return left, right


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_operations_enclose_what_the_ends_give(name: str) -> None:
    a, b = pairs()
    with np.errstate(all="ignore"):
        found = {
            "add": lambda: signs.add(a, b),
            "sub": lambda: signs.add(a, b, -1.0),
            "mul": lambda: signs.mul(a, b),
            "div": lambda: signs.div(a, b),
        }[name]()
    rule = {
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "div": lambda x, y: x / y,
    }[name]
    known = np.isfinite(found.mid) & np.isfinite(found.radius)
    assert known.any()
    values = []
    for left, right, given in zip(ends(a), ends(b), known.tolist(), strict=True):
        if name == "div" and right[0] <= 0 <= right[1]:
            assert not given  # a divisor that may be zero
        values.append([rule(x, y) for x in left for y in right] if given else [])
    require_inside(found, values)


def test_sums_and_products_of_rows_enclose_what_the_ends_give() -> None:
    rng = np.random.default_rng(8)
    for _ in range(60):
        k = int(rng.integers(1, 7))
        mid = rng.choice(NUMBERS, size=(2, k))
        x = Enclosed(mid, rng.choice(RADII, size=(2, k)))
        weight = rng.choice(NUMBERS, size=(3, k))
        with np.errstate(all="ignore"):
            sums, products = signs.total(x), signs.product(x, weight)
        told = np.array(ends(x), dtype=object).reshape(2, k, 2)
        require_inside(sums, [[sum(row[:, e], Fraction(0)) for e in (0, 1)] for row in told])
        values = []
        for row in told:
            for w in weight.tolist():
                terms = [[Fraction(v) * end for end in row[i]] for i, v in enumerate(w)]
                values.append([sum(map(each, terms), Fraction(0)) for each in (min, max)])
        require_inside(products, values)


def test_ends_that_round_onto_a_bound_decide_nothing() -> None:
    above = Enclosed(np.array([1.0]), np.array([2.0**-60]))
    below = Enclosed(np.array([-1.0]), np.array([2.0**-60]))
    assert not above.above(1.0)[0]  # 1 - 2^-60 is enclosed
    assert not below.below(-1.0)[0]
    assert signs.exactly([1.0]).above(1.0)[0]
    assert signs.exactly([-1.0]).below(-1.0)[0]


def single_layer(weight: np.ndarray, name: str) -> tuple[Graph, int]:
    """Return one hidden layer without biases, and the place of the features."""
    b = GraphBuilder()
    place = b.input((weight.shape[1],))
    place = b.add("linear", (place,), {}, {"weight": ("W", weight)})
    place = b.add("activation", (place,), {"activation": Activation.parse(name)})
    head = {"weight": ("V", np.zeros((1, len(weight))))}
    return b.build(b.add("linear", (place,), {}, head)), place


def test_smooth_units_that_cancel_to_zero_may_be_zero() -> None:
    rows = sorted(set(itertools.permutations([1.0, 2.0**-60, -1.0, -(2.0**-60)])))
    graph, place = single_layer(np.array(rows), "tanh")
    found = dead_units(graph, place, Inputs.of(np.array([[1.0] * 4, [3.0] * 4]), (4,)))
    assert found.possible == len(rows)  # all are zero, whatever the midpoints say
    assert found.maybe_constant.all()


def test_a_ball_that_contains_zero_is_no_zero() -> None:
    b, tanh = GraphBuilder(), {"activation": Activation.parse("tanh")}
    first, second = np.array([[1.0, 2.0**-300], [1.0, 0.0]]), np.array([[1.0, -1.0], [1.0, 0.0]])
    place = b.add("linear", (b.input((2,)),), {}, {"weight": ("W", first)})
    place = b.add("activation", (place,), tanh)
    place = b.add("linear", (place,), {}, {"weight": ("U", second)})
    place = b.add("activation", (place,), tanh)
    head = {"weight": ("V", np.zeros((1, 2)))}
    graph = b.build(b.add("linear", (place,), {}, head))
    found = dead_units(graph, place, Inputs.of(np.array([[1.0, 1.0], [2.0, 1.0]]), (2,)))
    assert found.certain == 0  # about 2^-300, which balls of 128 bits do not tell from 0
    assert not found.constant.any()
    assert found.maybe_zero.tolist() == [True, False]


def test_squares_that_cancel_to_zero_may_be_zero() -> None:
    """An entry without a kink keeps the radius of its float enclosure."""
    rows = sorted(set(itertools.permutations([1.0, 2.0**-60, -1.0, -(2.0**-60)])))
    graph, place = single_layer(np.array(rows), "square")
    found = dead_units(graph, place, Inputs.of(np.ones((1, 4)), (4,)))
    assert found.possible == found.certain == len(rows)


def test_fractions_lie_near_their_floats() -> None:
    tiny, large = Fraction(1, 3 * 10**320), Fraction(10) ** 400
    for value in (Fraction(1, 3), -Fraction(10**30, 7), tiny, -large, large, Fraction(0)):
        mid, radius = float_near(value)
        if radius < math.inf:
            assert abs(value - Fraction(mid)) <= Fraction(radius)
    assert float_near(large)[1] == math.inf


def test_signs_inside_the_radius_are_open() -> None:
    x = Enclosed(np.array([1e-20, -1e-20, 1.0, -1.0]), np.array([1e-10, 1e-10, 1.0, 1.0]))
    assert x.above().tolist() == [False, False, True, False]
    assert x.below().tolist() == [False, False, False, True]


def test_one_constant_unit_without_a_column_of_ones_is_a_column() -> None:
    """On one sample every unit is constant, and the row is not zero."""
    graph, place = single_layer(np.array([[1.0], [2.0]]), "tanh")
    inputs = Inputs.of(np.array([[1.0]]), (1,))
    assert deficiency_at_these_weights(graph, place, inputs, ones=False).enclosure().hi == 1


def test_units_that_agree_modulo_the_prime_are_not_constant() -> None:
    p = float(choose_prime(1024))
    graph, place = single_layer(np.array([[1.0]]), "relu")
    found = dead_units(graph, place, Inputs.of(np.array([[1.0], [1.0 + p]]), (1,)))
    assert not found.constant.any()
    assert found.possible == 0
    found = dead_units(graph, place, Inputs.of(np.array([[p], [2 * p]]), (1,)))
    assert found.certain == found.possible == 0


def test_what_overflowed_has_no_ends() -> None:
    x = Enclosed(np.array([np.inf, -np.inf, np.nan]), np.zeros(3))
    assert (x.low == -np.inf).all()
    assert (x.high == np.inf).all()


@pytest.mark.parametrize(
    "name", ["relu", "abs(z)", "z + abs(z)", "max(z, z**2)", "min(z, 3*z)", "leaky_relu(1/3)"]
)
def test_pieces_that_floats_do_not_tell_are_those_of_fractions(name: str) -> None:
    """Sums of +-2^-60 and 0 beside terms that cancel, in every order."""
    prime, terms = choose_prime(1024), [1.0, -1.0, 2.0**-60]
    rows = sorted(set(itertools.permutations(terms)) | set(itertools.permutations([1.0, -1.0, 0])))
    rows += [[-v for v in row] for row in rows]
    graph, place = single_layer(np.array(rows), name)
    inputs = Inputs.of(np.array([[1.0] * 3, [3.0] * 3]), (3,))
    found = residue_features(graph, place, inputs, prime)
    exact = rational_features(graph, place, inputs).matrix.entries()
    true = [int(v.p) * pow(int(v.q), -1, prime) % prime for v in exact]
    assert found.residues is not None
    assert [int(v) % prime for v in found.residues.ravel().tolist()] == true


def test_the_largest_entry_is_certain_beyond_the_radii_only() -> None:
    mid = np.array([[1.0, 0.999], [1.0, 0.5], [1.0, 1.0], [1.0, 7.0]])
    radius = np.array([[0.0, 0.01], [0.0, 0.01], [0.0, 0.0], [0.0, np.inf]])
    _, sure = signs.largest_place(Enclosed(mid, radius), np.ones((4, 2), dtype=bool))
    assert sure.tolist() == [False, True, True, False]
