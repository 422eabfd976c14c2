"""Alignment of targets with the Jacobian, against exact ranks of explicit Jacobians."""

from __future__ import annotations

import os
import time
from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from verify.errors import InputError
from verify.network import Activation, Feedforward, Graph, GraphBuilder
from verify.verdict import Truth
from verify_kernels import small_spectrum
from verify_kernels.definiteness import enclose_smallest_eigenvalue, proves_definite
from verify_kernels.forward.inputs import Inputs
from verify_kernels.tangent_kernel import alignment, enclose_tangent_gram, exact, rational_gram
from verify_kernels.tangent_kernel.gram import FloatGram
from verify_kernels.tangent_kernel.walk import OpenError
from verify_kernels.tangent_kernel.wide_balls import prove_nonsingular
from verify_kernels.two_layer.midrad import MidRad

SLOPES = {"relu": Fraction(0), "leaky_relu(1/4)": Fraction(1, 4), "identity": Fraction(1)}


def network(W, b, V, c, name: str) -> Graph:
    return Feedforward((W, V), (b, c), (Activation.parse(name),)).graph()


def explicit_jacobian(W, b, V, c, name: str, X) -> list[list[Fraction]] | None:
    """Return the rows of J for V sigma(W x + b) + c by hand, or None at a kink."""
    rows = []
    for x in [[Fraction(v) for v in row] for row in X.tolist()]:
        h, slopes = [], []
        for j in range(len(W)):
            z = sum((Fraction(w) * v for w, v in zip(W[j].tolist(), x, strict=True)), Fraction(0))
            z += Fraction(b[j]) if b is not None else 0
            if name == "square":
                h.append(z * z)
                slopes.append(2 * z)
                continue
            if z == 0 and name != "identity":
                return None
            left = SLOPES[name]
            h.append(z if z > 0 else left * z)
            slopes.append(Fraction(1) if z > 0 else left)
        for o in range(len(V)):
            back = [Fraction(v) * s for v, s in zip(V[o].tolist(), slopes, strict=True)]
            row = [s * v for s in back for v in x] + (back if b is not None else [])
            row += [v if p == o else Fraction(0) for p in range(len(V)) for v in h]
            row += [Fraction(int(p == o)) for p in range(len(V))] if c is not None else []
            rows.append(row)
    return rows


def matrix(rows: list[list[Fraction]]) -> fmpq_mat:
    flat = [fmpq(v.numerator, v.denominator) for row in rows for v in row]
    return fmpq_mat(len(rows), len(rows[0]), flat)


def is_aligned(rows: list[list[Fraction]], y) -> bool:
    column = [[Fraction(v)] for v in np.asarray(y, dtype=float).ravel().tolist()]
    joined = [row + extra for row, extra in zip(rows, column, strict=True)]
    return bool(matrix(joined).rank() == matrix(rows).rank())


def check_witness(found, rows, y, outputs: int) -> None:
    entries = found.witness.data["entries"]
    v = [Fraction(0)] * len(rows)
    for sample, output, value in entries:
        v[sample * outputs + output] = Fraction(value)
    for column in range(len(rows[0])):
        assert sum((a * row[column] for a, row in zip(v, rows, strict=True)), Fraction(0)) == 0
    flat = [Fraction(t) for t in np.asarray(y, dtype=float).ravel().tolist()]
    assert sum((a * t for a, t in zip(v, flat, strict=True)), Fraction(0)) != 0


def _random(rng: np.random.Generator):
    d, p, m, n = (int(rng.integers(1, k)) for k in (4, 4, 3, 8))
    name = str(rng.choice([*SLOPES, "square"]))
    W, V = rng.integers(-3, 4, size=(p, d)) / 4, rng.integers(-3, 4, size=(m, p)) / 2
    b = rng.integers(-3, 4, size=p) / 8 if rng.random() < 0.7 else None
    c = rng.integers(-3, 4, size=m) / 2 if rng.random() < 0.7 else None
    X = rng.integers(-4, 5, size=(n, d)) / 2
    if n > 1 and rng.random() < 0.3:
        X[-1] = X[0]
    return W, b, V, c, name, X + 0.0


def _targets(rng: np.random.Generator, rows, n: int, m: int):
    kind = int(rng.integers(3))
    y = rng.integers(-3, 4, size=(n, m)) * 1.0
    if rows is not None and kind < 2:
        t = [Fraction(int(v)) for v in rng.integers(-2, 3, size=len(rows[0]))]
        inside = [sum((a * s for a, s in zip(row, t, strict=True)), Fraction(0)) for row in rows]
        y = np.array([float(v) for v in inside]).reshape(n, m)  # short dyadic numbers: exact
        if kind == 1:
            y[int(rng.integers(n)), int(rng.integers(m))] += 2.0**-30
    return y


@pytest.mark.soundness
def test_alignment_is_never_wrong() -> None:
    count, seed = (500 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 50), 11
    rng, start = np.random.default_rng(seed), time.perf_counter()
    told = dict.fromkeys(Truth, 0)
    for _ in range(count):
        W, b, V, c, name, X = _random(rng)
        rows, inputs = explicit_jacobian(W, b, V, c, name, X), Inputs.of(X, X.shape[1:])
        y = _targets(rng, rows, len(X), len(V))
        found = alignment(network(W, b, V, c, name), inputs, y)
        told[found.value] += 1
        if found.value is Truth.UNDECIDED:
            assert rows is None
            assert "where the Jacobian does not exist" in found.why_open
            continue
        assert rows is not None
        assert (found.value is Truth.PROVED) == is_aligned(rows, y)
        if found.value is Truth.REFUTED:
            check_witness(found, rows, y, len(V))
    print(f"campaign alignment: {count} cases, seed {seed}, {time.perf_counter() - start:.0f} s, "
          f"{told[Truth.PROVED]} proved, {told[Truth.REFUTED]} refuted, "
          f"{told[Truth.UNDECIDED]} at kinks, 0 wrong")  # fmt: skip
    assert min(told.values()) > 0


def test_the_rational_kernel_is_that_of_the_explicit_jacobian() -> None:
    rng, checked = np.random.default_rng(5), 0
    while checked < 20:
        W, b, V, c, name, X = _random(rng)
        rows = explicit_jacobian(W, b, V, c, name, X)
        if rows is None:
            continue
        checked += 1
        graph, inputs = network(W, b, V, c, name), Inputs.of(X, X.shape[1:])
        J = matrix(rows)
        K = rational_gram(graph, inputs)
        assert J * J.transpose() == K
        found = enclose_tangent_gram(graph, inputs)
        assert found.parameters == len(rows[0])
        near = enclose_smallest_eigenvalue(found.mid, error=found.error).enclosure()
        true = small_spectrum.enclose_smallest_eigenvalue(K)
        assert not near.hi < true.lo
        assert not true.hi < near.lo
        if J.rank() < len(rows):
            assert not proves_definite(found.mid, error=found.error)


def test_both_sides_and_close() -> None:
    """One unit with 2 + 1 parameters on four samples of a line: the range of J is explicit."""
    W, V = np.array([[1.0]]), np.array([[1.0]])
    graph = network(W, None, V, None, "identity")  # f = v w x: J rows (x, x)
    inputs = Inputs.of([[1.0], [2.0], [3.0]], (1,))
    assert alignment(graph, inputs, [1.0, 2.0, 3.0]).value is Truth.PROVED
    off = np.nextafter(3.0, 4.0)  # noqa: TID251
    assert alignment(graph, inputs, [1.0, 2.0, off]).value is Truth.REFUTED
    tiny = alignment(graph, inputs, [2.0**-1074, 0.0, 0.0])
    assert tiny.value is Truth.REFUTED
    exact_off = [Fraction(1), Fraction(2), Fraction(3) + Fraction(1, 10**400)]
    assert alignment(graph, inputs, exact_off).value is Truth.REFUTED


def test_the_divisor_is_exact() -> None:
    graph = network(np.array([[1.0]]), np.array([1.0]), np.array([[1.0]]), None, "identity")
    third = Inputs.of([[1.0], [2.0], [5.0]], (1,), 3)
    rows = [Fraction(1, 3), Fraction(2, 3), Fraction(5, 3)]
    assert alignment(graph, third, rows).value is Truth.PROVED
    assert alignment(graph, third, [float(v) for v in rows]).value is Truth.REFUTED


def test_equal_samples_with_different_targets_refute_smooth_networks() -> None:
    rng = np.random.default_rng(0)
    graph = network(
        rng.normal(size=(3, 2)), rng.normal(size=3), rng.normal(size=(2, 3)), None, "tanh"
    )
    X = rng.normal(size=(4, 2))
    X[0, 0], X[3] = 0.0, X[0]
    X[3, 0] = -0.0  # equal as a number, not as bytes
    y = rng.normal(size=(4, 2))
    inputs = Inputs(X)  # as stored, without the canonical zero
    found = alignment(graph, inputs, y)
    assert found.value is Truth.REFUTED
    assert found.witness.data["entries"] == [[0, 0, 1], [3, 0, -1]]
    y[3] = y[0]
    assert alignment(graph, inputs, y).value is Truth.PROVED  # on the three distinct samples
    y[3, 1] = np.nextafter(y[3, 1], 9.0)  # noqa: TID251
    assert alignment(graph, inputs, y).witness.data["entries"] == [[0, 1, 1], [3, 1, -1]]


def test_samples_that_a_fixed_map_merges_refute_smooth_networks() -> None:
    rng = np.random.default_rng(1)
    b = GraphBuilder()
    x = b.add("slice", (b.input((3,)),), {"axis": 0, "start": 1, "stop": 3, "step": 1})
    x = b.add("linear", (x,), {}, {"weight": ("W", rng.normal(size=(4, 2)))})
    x = b.add("activation", (x,), {"activation": Activation.parse("gelu")})
    graph = b.build(b.add("linear", (x,), {}, {"weight": ("V", rng.normal(size=(1, 4)))}))
    X = rng.normal(size=(3, 3))
    X[2, 1:] = X[0, 1:]
    found = alignment(graph, Inputs.of(X, (3,)), [1.0, 2.0, 3.0])
    assert found.value is Truth.REFUTED
    assert found.witness.data["entries"] == [[0, 0, 1], [2, 0, -1]]
    assert alignment(graph, Inputs.of(X, (3,)), [1.0, 2.0, 1.0]).value is Truth.PROVED
    X[2, 2] = np.nextafter(X[0, 2], 9.0)  # noqa: TID251
    assert alignment(graph, Inputs.of(X, (3,)), [1.0, 2.0, 3.0]).value is not Truth.REFUTED


def test_a_smooth_kernel_that_is_nearly_singular_is_proved_by_balls() -> None:
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(8, 3)), rng.normal(size=8) - 4.0
    graph = network(W, b, rng.normal(size=(2, 8)), rng.normal(size=2), "softplus(50)")
    X = rng.normal(size=(9, 3))
    X[1] = X[0] + 2.0**-40
    inputs = Inputs.of(X, (3,))
    found = enclose_tangent_gram(graph, inputs)
    assert not proves_definite(found.mid, error=found.error)
    proved = alignment(graph, inputs, rng.normal(size=(9, 2)))
    assert proved.value is Truth.PROVED
    assert "ball arithmetic of" in proved.how


def test_a_smooth_kernel_that_is_singular_is_never_proved() -> None:
    """9 rows, 16 columns, rank 8: 6 of V kron h, 2 more through the columns of V."""
    rng = np.random.default_rng(4)
    shapes = ((2, 4), (2,), (3, 2))
    W, b, V = (rng.normal(size=shape) for shape in shapes)
    for name in ("tanh", "gelu", "softplus(9)"):
        graph, inputs = network(W, b, V, None, name), Inputs.of(rng.normal(size=(3, 4)), (4,))
        assert enclose_tangent_gram(graph, inputs).parameters == 16
        found = alignment(graph, inputs, rng.normal(size=(3, 3)))
        assert found.value is Truth.UNDECIDED
        assert "not told apart from 0" in found.why_open


def test_balls_at_a_kink_prove_nothing() -> None:
    graph = network(np.array([[1.0]]), None, np.array([[1.0]]), None, "relu")
    with pytest.raises(OpenError, match="not told apart from a kink of relu"):
        prove_nonsingular(graph, Inputs.of([[0.0]], (1,)))
    # Weights that overflow any ball of finite radius prove nothing either.
    square = network(np.array([[1e300]]), None, np.array([[1e300]]), None, "square")
    assert prove_nonsingular(square, Inputs.of([[1e300]], (1,))) == 256
    steep = network(np.array([[1e300]]), None, np.array([[0.0]]), None, "exp(exp(z))")
    with pytest.raises(OpenError):
        prove_nonsingular(steep, Inputs.of([[1e300]], (1,)))


def test_equal_samples_at_a_kink_are_left_open() -> None:
    W, V = np.array([[1.0]]), np.array([[1.0]])
    inputs = Inputs.of([[0.0], [0.0]], (1,))
    found = alignment(network(W, None, V, None, "relu"), inputs, [0.0, 1.0])
    assert found.value is Truth.UNDECIDED
    assert "exactly at the kink 0 of relu" in found.why_open
    assert alignment(network(W, None, V, None, "elu"), inputs, [0.0, 1.0]).value is Truth.REFUTED
    steep = alignment(network(W, None, V, None, "elu(2)"), inputs, [0.0, 1.0])
    assert steep.value is Truth.UNDECIDED


def test_an_overflow_decides_no_sign() -> None:
    W, V = np.array([[1e200, -1.5e200]]), np.array([[1.0]])
    graph, inputs = network(W, None, V, None, "relu"), Inputs.of([[1e200, 1e200]], (2,))
    found = enclose_tangent_gram(graph, inputs)
    assert found.error == np.inf
    assert "range of binary64" in found.why_open
    # The exact feature is 0, the slope 0, so only y = 0 is in the range.
    assert alignment(graph, inputs, [1.0]).value is Truth.REFUTED
    assert alignment(graph, inputs, [0.0]).value is Truth.PROVED


def test_alignment_without_expressivity() -> None:
    """n = 7 > m_H + 1 = 3: rank Z < n for all weights, the hidden columns still align."""
    rng = np.random.default_rng(3)
    W, b, V, c = (rng.normal(size=s) for s in ((2, 3), (2,), (1, 2), (1,)))
    X = rng.normal(size=(7, 3))
    graph, inputs = network(W, b, V, c, "tanh"), Inputs.of(X, (3,))
    assert alignment(graph, inputs, rng.normal(size=7)).value is Truth.PROVED
    frozen = {"linear1.weight", "linear1.bias"}
    last = alignment(graph, inputs, rng.normal(size=7), frozen=frozen)
    assert last.value is Truth.UNDECIDED
    assert "J has 3 columns for 7 targets" in last.why_open


def test_frozen_tied_and_constant_tensors() -> None:
    W, V = np.array([[1.0], [2.0]]), np.array([[1.0, 3.0]])
    graph = network(W, None, V, None, "identity")
    inputs = Inputs.of([[1.0], [2.0]], (1,))
    every = {"linear1.weight", "linear2.weight"}
    assert alignment(graph, inputs, [1.0, 2.0], frozen=every).value is Truth.REFUTED
    assert alignment(graph, inputs, [0.0, 0.0], frozen=every).value is Truth.PROVED
    with pytest.raises(InputError, match=r"frozen: expected .* but got .linear9\.weight"):
        alignment(graph, inputs, [1.0, 2.0], frozen={"linear9.weight"})

    b = GraphBuilder()
    x = b.input((1,))
    shared = {"weight": ("W", np.array([[2.0]]))}
    x = b.add("linear", (b.add("linear", (x,), {}, shared),), {}, shared)
    tied = b.build(x)  # f = w^2 x: J = 4 x, while the sum of the two squares would be 8 x^2
    found = alignment(tied, inputs, [1.0, 3.0])
    assert found.value is Truth.UNDECIDED
    assert "linear1.weight = linear2.weight is used more than once" in found.why_open
    assert alignment(tied, inputs, [1.0, 3.0], frozen={"linear1.weight"}).value is Truth.REFUTED

    b = GraphBuilder()
    fixed = b.add("constant", (), {}, {"value": ("k", np.array([2.0]))})
    x = b.add("add", (b.input((1,)), fixed))
    graph = b.build(b.add("linear", (x,), {}, {"weight": ("W", np.array([[1.0]]))}))
    assert "not declared whether constant1" in alignment(graph, inputs, [3.0, 4.0]).why_open
    declared = alignment(graph, inputs, [3.0, 4.0], frozen={"constant1.value"})
    assert declared.value is Truth.PROVED


def test_operations_without_a_derivative_are_left_open() -> None:
    b = GraphBuilder()
    x = b.add("softmax", (b.input((2,)),), {"axis": 0})
    x = b.add("linear", (x,), {}, {"weight": ("W", np.ones((1, 2)))})
    found = alignment(b.build(x), Inputs.of([[1.0, 2.0]], (2,)), [1.0])
    assert found.value is Truth.UNDECIDED
    assert "derivative of softmax" in found.why_open


def test_what_does_not_fit_in_memory_is_not_tried() -> None:
    graph = network(np.ones((1, 1)), None, np.ones((1, 1)), None, "tanh")
    found = enclose_tangent_gram(graph, Inputs.of(np.ones((500, 1)), (1,)), memory=10**6)
    assert found.error == np.inf
    assert "GiB allowed" in found.why_open
    assert not proves_definite(found.mid, error=found.error)
    tiny = enclose_tangent_gram(graph, Inputs.of(np.ones((500, 1)), (1,)), memory=10)
    assert not proves_definite(tiny.mid, error=tiny.error)


def test_targets_of_another_shape_are_refused() -> None:
    graph, inputs = network(np.ones((1, 1)), None, np.ones((2, 1)), None, "tanh"), None
    inputs = Inputs.of([[1.0], [2.0]], (1,))
    with pytest.raises(InputError, match=r"expected targets of shape \(2, 2\), but got \(2,\)"):
        alignment(graph, inputs, [1.0, 2.0])
    with pytest.raises(InputError, match="expected finite targets"):
        alignment(graph, inputs, [[1.0, 2.0], [np.nan, 0.0]])


def test_mutation_a_kernel_vector_that_is_not_checked_against_y_refutes_wrongly(
    monkeypatch,
) -> None:
    graph = network(np.array([[1.0]]), None, np.array([[1.0]]), None, "identity")
    inputs = Inputs.of([[1.0], [2.0]], (1,))
    assert alignment(graph, inputs, [1.0, 2.0]).value is Truth.PROVED
    plain = exact.separating_vector
    monkeypatch.setattr(
        "verify_kernels.tangent_kernel.aligned_targets.separating_vector",
        lambda K, y: plain(K, [Fraction(1), Fraction(0)]),
    )
    assert alignment(graph, inputs, [1.0, 2.0]).value is Truth.REFUTED


def test_mutation_without_the_error_a_singular_kernel_is_called_definite() -> None:
    wrong = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        W, V, X = (rng.normal(size=shape) for shape in ((6, 6), (1, 6), (7, 6)))
        graph = network(W, None, V, None, "identity")  # J has rank 6 of 7
        found = enclose_tangent_gram(graph, Inputs.of(X, (6,)))
        assert not proves_definite(found.mid, error=found.error)
        wrong += proves_definite(found.mid)
    assert wrong > 0


@pytest.mark.parametrize("wide", ["derivatives", "values", "rows"])
def test_radii_alone_bound_the_kernel_where_every_midpoint_is_zero(wide: str) -> None:
    """The first-order terms vanish there: what remains is the square of the radii."""
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    total = FloatGram(1, 1)
    if wide == "rows":
        total.add_rows(MidRad(zero, one))
    elif wide == "values":
        total.add_outer(MidRad(one, zero), MidRad(zero, one), ones=False)
    else:
        total.add_outer(MidRad(zero, one), MidRad(one, zero), ones=False)
    mid, error = total.finish()
    assert mid[0, 0] == 0.0
    assert error >= 1.0  # J = 1 is one of those that are enclosed
