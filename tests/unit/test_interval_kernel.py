"""What an interval kernel accepts, returns and refuses."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from verify.errors import BackendError, InputError
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.interval import kernel as kernels
from verify_kernels.interval import on_arrays, transcendental
from verify_kernels.interval.kernel import apply, interval_kernel
from verify_kernels.interval.lowering import lower
from verify_kernels.interval.reference import exact_ball, outward
from verify_kernels.interval.vector_code import has_embedded_rounding

x, y, z = sp.symbols("x y z", real=True)
INF = math.inf


def values(expression, lo, hi, symbols=(x,), **options):
    found = interval_kernel(expression, symbols, **options)(np.array(lo), np.array(hi))
    return found.lo.tolist(), found.hi.tolist()


def operations(expression, symbols=(x,)):
    program, _ = lower(expression, symbols)
    return {node.operation for node in program.nodes}


def test_values_gradients_and_hessians_have_the_documented_shapes():
    kernel = interval_kernel(x**2 * y + sp.exp(x), [x, y], order=2)
    found = kernel(np.array([[1.0, 2, 3], [0, 1, 2]]), np.array([[1.0, 2, 4], [0, 1, 2]]))
    assert found.lo.shape == found.hi.shape == (3,)
    assert found.gradient.lo.shape == (2, 3)
    assert found.hessian.hi.shape == (2, 2, 3)
    assert (found.hessian.lo[0, 1] == found.hessian.lo[1, 0]).all()
    assert found.hessian.lo[0, 1].tolist() == [2, 4, 6]
    assert found.hessian.hi[1, 1].tolist() == [0, 0, 0]
    assert found.gradient.lo[1].tolist() == [1, 4, 9]


def test_one_symbol_takes_vectors_and_any_length():
    kernel = interval_kernel(x**2, [x])
    for n in (0, 1, 7, 8, 9, 100):
        points = np.arange(n, dtype=float)
        found = kernel(points, points)
        assert found.lo.tolist() == found.hi.tolist() == (points**2).tolist()
        assert kernel.at(points).hi.tolist() == (points**2).tolist()


def test_threads_and_given_memory_do_not_change_the_result():
    n = 20_001
    low = np.linspace(-3, 3, n)
    one = interval_kernel(sp.tanh(x) * x, [x])(low, low + 0.1)
    kernel = interval_kernel(sp.tanh(x) * x, [x], parallel=True)
    out = kernel.buffer(n)
    other = kernel(low, low + 0.1, out=out)
    assert np.array_equal(one.lo, other.lo)
    assert np.array_equal(one.hi, other.hi)
    assert other.lo.base is not None
    assert np.shares_memory(other.lo, out)


@pytest.mark.parametrize(
    ("lo", "hi"),
    [([math.nan], [1.0]), ([1.0], [math.nan]), ([2.0], [1.0]), ([INF], [INF]), ([-INF], [-INF]),
     ([INF], [-INF])],
)  # fmt: skip
@pytest.mark.parametrize("count", [1, 8, 9])
def test_what_is_no_box_is_refused(lo, hi, count):
    kernel = interval_kernel(sp.exp(x), [x])
    with pytest.raises(InputError, match=r"interval_kernel: expected boxes .*, but got 1 coord"):
        kernel(np.array([1.0] * (count - 1) + lo), np.array([1.0] * (count - 1) + hi))


def test_shapes_types_and_orders_are_checked():
    kernel = interval_kernel(x + y, [x, y])
    with pytest.raises(InputError, match=r"expected ends of shape \(2, n\), but got \(3,\)"):
        kernel(np.ones(3), np.ones(3))
    with pytest.raises(InputError, match="of one shape"):
        kernel(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(InputError, match="float64, but got int64"):
        kernel(np.ones((2, 3), dtype=np.int64), np.ones((2, 3), dtype=np.int64))
    with pytest.raises(InputError, match=r"expected out from buffer\(3\)"):
        kernel(np.ones((2, 3)), np.ones((2, 3)), out=np.empty((2, 4)))
    with pytest.raises(InputError, match="infinite points"):
        kernel.at(np.full((2, 1), INF))
    with pytest.raises(InputError, match="order 0, 1 or 2, but got 3"):
        interval_kernel(x, [x], order=3)
    with pytest.raises(InputError, match="distinct symbols"):
        interval_kernel(x, [x, x])


@pytest.mark.parametrize(
    "expression",
    [
        sp.gamma(x), sp.Heaviside(x), sp.Function("f")(x), x + y, sp.oo * x, sp.nan, sp.I * x,
        sp.zoo, sp.log(sp.Integer(-1), evaluate=False), sp.asin(x),
        sp.Pow(sp.Integer(0), -1, evaluate=False), x ** sp.Rational(1, 5000),
        sp.Piecewise((x, sp.Eq(x, 0)), (0, True)),
    ],
)  # fmt: skip
def test_what_has_no_operation_is_refused(expression):
    with pytest.raises(InputError, match=r"interval_kernel: expected .*, but got"):
        interval_kernel(expression, [x])


def test_an_expression_nested_too_deeply_is_refused():
    e = x
    for _ in range(3000):
        e = sp.sin(e, evaluate=False)
    with pytest.raises(InputError, match="nested deeply"):
        lower(e, [x])


def test_atoms_are_recognised_and_only_with_the_same_domain():
    assert "sigmoid" in operations(1 / (1 + sp.exp(-x)))
    assert "sigmoid" in operations(sp.exp(x) / (1 + sp.exp(x)))
    assert "softplus" in operations(sp.log(1 + sp.exp(2 * x)))
    assert "expm1" in operations(sp.exp(x) - 1)
    assert "expm1" in operations(1 - sp.exp(x))
    assert "log1p" in operations(sp.log(1 + x))
    assert "sech2" in operations(1 - sp.tanh(x) ** 2)
    assert operations(sp.log(2 + x)) >= {"log"}
    assert "expm1" not in operations(sp.exp(x) - 2)


def test_common_subexpressions_are_one_node():
    program, _ = lower(sp.exp(x) * sp.sin(sp.exp(x)) + sp.exp(x) ** 2, [x])
    assert [node.operation for node in program.nodes].count("exp") <= 2  # exp(x), exp(2 x)


def test_branches_of_a_piecewise():
    ramp = sp.Piecewise((0, x < 0), (x, x <= 1), (1, True))
    assert values(ramp, [-2.0, 0.25, 0.5, 3], [-1.0, 0.5, 2.0, 4]) == (
        [0, 0.25, 0.5, 1],
        [0, 0.5, 2, 1],
    )
    slope = interval_kernel(ramp, [x], order=1)(np.array([-1.0, -1, 0.2]), np.array([-0.5, 1, 0.3]))
    assert slope.gradient.lo.tolist() == [[0, 0, 1]]
    assert slope.gradient.hi.tolist() == [[0, 1, 1]]
    gap = sp.Piecewise((x, x < 0), (1, x > 1))
    assert values(gap, [-2.0, 0.5, 2], [-1.0, 0.7, 3]) == ([-2, -INF, 1], [-1, INF, 1])


def test_one_sided_derivatives_at_kinks():
    for expression, low, high in (
        (sp.Abs(x), -1, 1),
        (sp.Max(x, 0), 0, 1),
        (sp.Min(x, 2 * x), 1, 2),
    ):
        found = interval_kernel(expression, [x], order=2)(np.array([-1.0]), np.array([1.0]))
        assert (found.gradient.lo[0, 0], found.gradient.hi[0, 0]) == (low, high)
        assert found.hessian.lo[0, 0, 0] <= 0 <= found.hessian.hi[0, 0, 0]
    found = interval_kernel(sp.sign(x), [x], order=1)(np.array([-1.0, 1]), np.array([1.0, 2]))
    assert found.lo.tolist() == [-1, 1]
    assert found.gradient.lo.tolist() == [[-INF, 0]]


def test_a_fault_of_a_derivative_alone_leaves_the_value():
    found = interval_kernel(sp.sqrt(x), [x], order=1)(np.array([0.0, 4]), np.array([1.0, 4]))
    assert found.lo.tolist() == [0, 2]
    assert found.gradient.lo[0].tolist() == [-INF, 0.25]


def test_infinite_boxes():
    assert values(sp.tanh(x), [0.0], [INF]) == ([0], [1])
    assert values(sp.exp(-x), [0.0], [INF])[0] == [0]
    assert values(1 / (1 + x**2), [-INF], [INF]) == ([0], [1])
    assert values(x - x**3, [-INF], [INF]) == ([-INF], [INF])


def test_refinement_narrows_what_the_compiled_code_cannot():
    kernel = interval_kernel(sp.sin(x), [x])
    assert kernel.at(np.array([1e9])).hi.tolist() == [1]
    found = kernel.at(np.array([1e9]), refine=True)
    assert found.hi[0] - found.lo[0] < 1e-15
    low, high = kernel.reference([1e9], [1e9])[0]
    assert low <= math.sin(1e9) <= high
    tight = interval_kernel(sp.tan(x), [x])(np.array([2e5]), np.array([2e5]), refine=True)
    assert tight.hi[0] - tight.lo[0] < 1e-9


def test_refinement_keeps_lanes_that_are_undefined():
    kernel = interval_kernel(1 / x, [x])
    found = kernel(np.array([-1.0, 1]), np.array([1.0, 2]), refine=True)
    assert found.lo.tolist() == [-INF, 0.5]


def test_constants_are_the_tightest_pairs():
    for constant in (sp.pi, sp.E, sp.sqrt(2), sp.exp(sp.Rational(4, 49)), sp.Rational(1, 3)):
        lo, hi = values(constant + 0 * x, [0.0], [0.0])
        exact = sp.N(constant, 60)
        assert sp.Rational(lo[0]) < exact < sp.Rational(hi[0])
        assert hi[0] == np.nextafter(lo[0], INF)  # noqa: TID251


def test_widenings_cover_the_proved_bounds():
    u = Fraction(1, 2**53)
    for name, bound in BOUNDS.items():
        if name in ("sin", "cos"):
            assert bound.relative_u == 0
            widening, proved = transcendental.CIRCLE_A, bound.absolute_u
        else:
            assert bound.absolute_u == 0
            widening, proved = getattr(transcendental, f"{name.upper()}_K"), bound.relative_u
        assert Fraction(widening) >= (proved + 1) * u * (1 + Fraction(1, 2**41))


def test_domains_of_the_cores_are_those_that_are_used():
    t = transcendental
    for name in ("exp", "expm1"):
        assert (BOUNDS[name].lo, BOUNDS[name].hi) == (t.EXP_LEAST, t.EXP_LARGEST)
    for name in ("sigmoid", "softplus"):
        assert (BOUNDS[name].lo, BOUNDS[name].hi) == (t.EXP_LEAST, t.LARGEST)
    for name in ("sinh", "cosh"):
        assert (BOUNDS[name].lo, BOUNDS[name].hi) == (-t.SINH_LARGEST, t.SINH_LARGEST)
    for name in ("sin", "cos", "tan"):
        assert (BOUNDS[name].lo, BOUNDS[name].hi) == (-t.CIRCLE_LARGEST, t.CIRCLE_LARGEST)
    assert (BOUNDS["log"].lo, BOUNDS["log"].hi) == (t.OMEGA, t.LARGEST)
    assert (BOUNDS["log1p"].lo, BOUNDS["log1p"].hi) == (t.LOG1P_LEAST, t.LOG1P_LARGEST)
    assert BOUNDS["erfc"].hi == t.ERFC_LARGEST
    for name in ("tanh", "erf", "atan"):
        assert (BOUNDS[name].lo, BOUNDS[name].hi) == (-t.LARGEST, t.LARGEST)


def test_another_mode_of_the_processor_is_refused(monkeypatch):
    def check():
        raise BackendError("check_arithmetic: expected ..., but got otherwise")

    monkeypatch.setattr(kernels, "check_rounding", check)
    with pytest.raises(BackendError):
        interval_kernel(x + 1, [x])(np.ones(8), np.ones(8))


def test_apply_checks_its_operands():
    for wrong, match in (
        (("nothing", ([1.0], [2.0])), "expected an operation of"),
        (("add", ([1.0], [2.0])), "expected 2 intervals for add"),
        (("exp", ([2.0], [1.0])), "with lo <= hi"),
        (("exp", ([math.nan], [1.0])), "with lo <= hi"),
        (("exp", ([INF], [INF])), "with lo <= hi"),
        (("exp", 3.0), "expected pairs"),
        (("pown", ([1.0], [2.0]), 2.5), "exact exponent"),
        (("powr", ([1.0], [2.0]), 2), "exact exponent"),
        (("add", ([1.0], [2.0]), ([1.0, 2.0], [2.0, 3.0])), "one shape"),
    ):
        with pytest.raises(InputError, match=match):
            apply(*wrong)


@pytest.mark.parametrize(
    "embedded",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                not has_embedded_rounding(), reason="no instructions with their own rounding mode"
            ),
        ),
    ],
)
def test_the_empty_set_stays_empty(embedded):
    empty = ([INF], [-INF])
    for name in on_arrays.UNARY:
        lo, hi = apply(name, empty, embedded=embedded)
        assert (lo[0], hi[0]) == (INF, -INF), name
    for name in on_arrays.BINARY:
        for operands in ((empty, ([1.0], [2.0])), (([1.0], [2.0]), empty)):
            lo, hi = apply(name, *operands, embedded=embedded)
            assert (lo[0], hi[0]) == (INF, -INF), name


def test_balls_of_constants_round_outward():
    assert outward(exact_ball(Fraction(1, 2))) == (0.5, 0.5)
    low, high = outward(exact_ball(Fraction(1, 10)))
    assert Fraction(low) < Fraction(1, 10) < Fraction(high)
