"""Every term of the certified pass is needed: true values that lie where a bound says they may."""

from fractions import Fraction

import flint
import numpy as np
import pytest
from flint import arb, fmpq

from verify.network.graph import GraphBuilder
from verify_kernels.forward import Inputs, arithmetic, enclose_features, pooling, radii
from verify_kernels.forward.dense import scaled_rows
from verify_kernels.forward.normalisation import normalise_layer
from verify_kernels.forward.state import State


def _exact(value):
    """Return a float or a Fraction as a ball without a radius that matters."""
    value = Fraction(value)
    with flint.ctx.workprec(400):
        return arb(fmpq(value.numerator, value.denominator))


def _holds(after, true):
    """Whether true samples are not certainly outside, in norm and entry by entry."""
    rho = after.rho if isinstance(after, State) else after.row_radius
    with flint.ctx.workprec(400):
        for i, row in enumerate(true):
            middle = after.mid.reshape(len(true), -1)[i]
            moves = [t - arb(float(m)) for t, m in zip(row, middle, strict=True)]
            radius = arb(float(rho[i]))
            if sum((move * move for move in moves), arb(0)) > radius * radius:
                return False
            each = getattr(after, "radius", None)
            if each is not None and any(
                abs(move) > arb(float(r)) for move, r in zip(moves, each[i], strict=True)
            ):
                return False
        return True


def _moved(values, rho):
    """Return one sample that may move by rho."""
    return State(np.asarray([values], dtype=float), np.array([rho]), True)


def _contains(found, values):
    return _holds(found, [[_exact(v) for v in values]])


def test_products_quotients_and_sums_move_as_far_as_they_may():
    # 4 * 7 = 28 is 13 = 5 * 1 + 3 * 2 + 1 * 2 away from 15, and 7/2 is (1 + 2 * 1)/(3 - 1) from 2
    found = arithmetic.multiply(_moved([3.0], 1.0), _moved([5.0], 2.0), (1,), np)
    assert _contains(found, [28])
    assert found.rho[0] < 13.0 + 1e-12
    found = arithmetic.divide(_moved([6.0], 1.0), _moved([3.0], 1.0), (1,), np)
    assert _contains(found, [Fraction(7, 2)])
    assert found.rho[0] < 1.5 + 1e-12
    assert _contains(arithmetic.add(_moved([3.0], 1.0), _moved([5.0], 2.0), 1.0, (1,), np), [11])
    assert _contains(arithmetic.add(_moved([3.0], 1.0), _moved([5.0], 2.0), -1.0, (1,), np), [-3])
    spread = arithmetic.add(_moved([1.0], 1.0), _moved([0.0] * 4, 0.0), 1.0, (4,), np)
    assert _contains(spread, [2] * 4)
    joined = arithmetic.concatenate([_moved([0.0], 3.0), _moved([0.0], 4.0)], 0, np)
    assert _contains(joined, [3, 4])
    near = _moved([1.0], 1.0)
    assert _contains(arithmetic.affine(near, Fraction(-3), Fraction(1, 2), np), [-5.5])
    assert _contains(arithmetic.affine(near, Fraction(-4), Fraction(0), np), [-8])


def test_values_that_are_no_floats():
    third = Fraction(1, 3)
    assert _contains(arithmetic.pad(_moved([1.0], 0.0), [(50, 50)], third, np),
                     [third] * 50 + [1] + [third] * 50)  # fmt: skip
    ones = _moved([1.0, 1.0, 0.0], 0.0)
    assert _contains(pooling.mean(ones, (0,), np), [2 * third])
    assert _contains(pooling.average(ones, [[(range(3), 3)]], np), [2 * third])
    assert _contains(arithmetic.divide(ones, _moved([3.0] * 3, 0.0), (3,), np), [third, third, 0])
    values = [0.1, 0.3, 0.7]
    tenths = [Fraction(v) for v in values]
    given = _moved(values, 0.0)
    products = arithmetic.multiply(given, given, (3,), np)
    assert _contains(products, [v * v for v in tenths])
    b = GraphBuilder()
    graph = b.build(b.add("reshape", (b.input((3,)),), {"shape": (3,)}))
    assert _contains(enclose_features(graph, 1, Inputs.of([values], (3,), 3)),
                     [v / 3 for v in tenths])  # fmt: skip


@pytest.mark.parametrize("how", ["floor", "ceil", "nearest"])
def test_roundings_near_a_step(how):
    for middle in (1.4, 1.5, 1.6, 2.0, 2.4, 2.6):
        found = arithmetic.round_entries(_moved([middle, middle], 0.7), how, np)
        for move in (-0.7, 0.0, 0.7):
            at = {"floor": np.floor, "ceil": np.ceil, "nearest": np.rint}[how](middle + move)
            still = {"floor": np.floor, "ceil": np.ceil, "nearest": np.rint}[how](middle)
            assert _contains(found, [float(at), float(still)])


def test_pooling_moves_as_far_as_it_may():
    # all entries move together; and the largest entry of four windows moves alone
    nine = State(np.zeros((1, 1, 3, 3)), np.array([3.0]), True)
    assert _contains(pooling.mean(nine, (1, 2), np), [1])
    assert _contains(pooling.average(nine, [[(range(3), 3)]] * 2, np), [1])
    halves = [(range(0, 1), 1), (range(0, 3), 3), (range(2, 3), 1)]
    moved = pooling.average(State(np.zeros((1, 1, 3)), np.array([1.0]), True), [halves], np)
    assert _contains(moved, [1, Fraction(1, 3), 0])
    top = np.zeros((1, 1, 3, 3))
    top[0, 0, 1, 1] = 1.0
    given = State(top, np.array([1.0]), True)
    square = ((0, 0), (0, 0))
    found = pooling.maximum(given, (2, 2), (1, 1), square, (1, 1), np)
    assert _contains(found, [2] * 4)
    bins = [pooling.adaptive_windows(3, 2)] * 2
    assert _contains(pooling.adaptive_maximum(given, bins, np), [2] * 4)


def _normalised(values, weight, bias, epsilon):
    c = [v - sum(values, arb(0)) / len(values) for v in values]
    s = (sum((x * x for x in c), arb(0)) / len(c) + _exact(epsilon)).sqrt()
    return [_exact(w) * x / s + _exact(b) for w, x, b in zip(weight, c, bias, strict=True)]


@pytest.mark.parametrize("turn", [0.01, 0.9, 0.99])
def test_layer_norm_turns_as_far_as_it_may(turn):
    # c = (1, -1, 0) to c + turn sqrt(2) v, v orthogonal to where it arrives
    epsilon, first, second = Fraction(1, 10**12), np.array([1, -1, 0]), np.array([1, 1, -2])
    unit, other = first / np.sqrt(2.0), second / np.sqrt(6.0)
    true = first - turn * np.sqrt(2.0) * (turn * unit - np.sqrt(1.0 - turn**2) * other)
    rho = 1.0000001 * float(np.linalg.norm(true - first))
    weight = np.array([2.0, 2.0, 2.0])
    for groups in (1, 2):
        mid = np.stack([first] * groups).astype(float)[None]
        state = State(mid, np.array([rho * np.sqrt(groups)]), True)
        found = normalise_layer(state, 1, epsilon, weight, None, np)
        with flint.ctx.workprec(200):
            row = _normalised([_exact(x) for x in true.tolist()], weight.tolist(), [0] * 3, epsilon)
        assert _holds(found, [row * groups])


@pytest.mark.parametrize(
    ("values", "bias"),
    [
        ([1e10 + 1, 1e10 + 2, 1e10 + 4], 0.0),  # the mean is rounded
        ([1.0, 2.0, 4.0], 1e10),  # the sum with the bias is rounded
    ],
)
def test_layer_norm_of_exact_samples(values, bias):
    epsilon, ones, constant = Fraction(1, 10**5), [1.0] * 3, [bias] * 3
    b = GraphBuilder()
    tensors = {"weight": ("g", np.array(ones)), "bias": ("b", np.array(constant))}
    x = b.add("layer_norm", (b.input((3,)),), {"axes": 1, "epsilon": epsilon}, tensors)
    found = enclose_features(b.build(x), 1, Inputs.of([values], (3,)))
    with flint.ctx.workprec(200):
        row = _normalised([_exact(v) for v in values], ones, constant, epsilon)
    assert _holds(found, [row])


def test_batch_norm_near_its_mean():
    # the product and the offset cancel, so that neither is small beside the result
    mean = 1.0 + 2.0**-30
    b = GraphBuilder()
    tensors = {"mean": ("m", np.array([mean])), "variance": ("v", np.array([2.0]))}
    x = b.add("batch_norm", (b.input((1,)),), {"epsilon": Fraction(0), "training": False}, tensors)
    found = enclose_features(b.build(x), 1, Inputs.of([[1.0]], (1,)))
    with flint.ctx.workprec(200):
        row = [_exact(1 - Fraction(mean)) / arb(2).sqrt()]
    assert _holds(found, [row])


@pytest.mark.parametrize("positions", [1, 64])
def test_a_bias_that_swallows_the_product(positions):
    b = GraphBuilder()
    x = b.input((1,) if positions == 1 else (positions, 1))
    tensors = {"weight": ("w", np.array([[2.0**-53]])), "bias": ("b", np.array([1.0]))}
    graph = b.build(b.add("linear", (x,), {}, tensors))
    found = enclose_features(graph, 1, Inputs.of(np.ones((1, positions)), graph.sample_shape))
    assert _contains(found, [1 + Fraction(1, 2**53)] * positions)


def _squares_exceed(rows, norms):
    return [
        sum(Fraction(v) ** 2 for v in row) > Fraction(float(norm)) ** 2
        for row, norm in zip(rows.tolist(), norms, strict=True)
    ]


def test_norms_are_bounds_and_need_both_terms(monkeypatch):
    draw = np.random.default_rng(0)
    equal = np.repeat(draw.uniform(1.0, 2.0, (40, 1)), 3000, axis=1)
    tiny = np.full((2, 64), 1.5e-162)  # every square underflows
    assert not any(_squares_exceed(equal, radii.row_norms(equal)))
    assert not any(_squares_exceed(tiny, radii.row_norms(tiny)))
    monkeypatch.setattr(radii, "U", 0.0)
    assert any(_squares_exceed(equal, radii.row_norms(equal)))
    monkeypatch.undo()
    monkeypatch.setattr(radii, "OMEGA", 0.0)
    assert all(_squares_exceed(tiny, radii.row_norms(tiny)))


@pytest.mark.parametrize("exponent", [0, -1050])
def test_what_the_scaling_of_rows_loses(exponent):
    draw = np.random.default_rng(1)
    matrix = np.ldexp(draw.standard_normal((4, 5)), exponent)
    scale = draw.uniform(0.1, 3.0, 4)
    product, lost = scaled_rows(matrix, scale)
    gaps = [
        Fraction(s) * Fraction(w) - Fraction(p)
        for s, line, row in zip(scale.tolist(), matrix.tolist(), product.tolist(), strict=True)
        for w, p in zip(line, row, strict=True)
    ]
    assert 0 < sum(gap * gap for gap in gaps) <= Fraction(lost) ** 2
