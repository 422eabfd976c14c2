"""Traps of rounding and linear algebra: counterexamples that a careless proof passes.

Where a kernel has its own oracle file, its traps stand there under the name ``test_trap_...``.
"""

from __future__ import annotations

import math
import random
from fractions import Fraction

import flint
import numpy as np
import pytest
import sympy as sp
from flint import arb, fmpq, fmpq_mat, fmpz

from verify.condition import Effort
from verify.decide import evaluate
from verify.enclosure import Enclosure
from verify.engine import check
from verify.errors import BackendError, InputError
from verify.network import AffineInput, Equilibrium, MonotoneWeight, PlainWeight
from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels import (
    _numpy,
    _rounding,
    definiteness,
    diagonal_search,
    diagonal_stability,
    rational_systems,
    refutation,
    self_test,
    spectral_norm,
)
from verify_kernels._rounding import ETA, MAX, OMEGA, U
from verify_kernels.cayley import enclose_cayley_root
from verify_kernels.definiteness import enclose_smallest_eigenvalue, proves_definite
from verify_kernels.diagonal_stability import enclose_diagonal_margin
from verify_kernels.diagonal_witness import replay_diagonal
from verify_kernels.equilibrium import certify_samples
from verify_kernels.equilibrium_exact import enclose_active_set, signs_at
from verify_kernels.equilibrium_residual import _row_norms
from verify_kernels.interval_affine import enclose_activation, enclose_affine, slope_interval
from verify_kernels.krawczyk import find_box, holds_one_equilibrium
from verify_kernels.matrix import MatrixEnclosure, rational_matrix
from verify_kernels.matrix_measure import (
    enclose_symmetric_part,
    enclose_weighted_measure,
    measure_inf,
)
from verify_kernels.one_sign import decide_one_sign
from verify_kernels.p0_matrix import decide_p0_matrix
from verify_kernels.p_matrix import decide_p_matrix
from verify_kernels.perron import enclose_perron_root
from verify_kernels.r0_matrix import decide_r0_matrix
from verify_kernels.reduction import reduce_slopes
from verify_kernels.spectral_norm import enclose_spectral_norm, proves_norm_at_most
from verify_kernels.spectral_radius import enclose_spectral_radius
from verify_kernels.state_weight import enclose_state_weight

RELU, TANH = Activation("relu"), Activation("tanh")


def exact_rows(matrix):
    return [[Fraction(float(x)) for x in row] for row in matrix]


# Directed rounding ---------------------------------------------------------------------------


def test_outward_steps_at_the_ends_of_the_range():
    """MAX + MAX rounds to infinity: [inf, inf] has a false lower end; 1e200 1e200 gave NaN."""
    assert _rounding.up(math.inf) == math.inf
    assert _rounding.down(math.inf) == MAX
    assert _rounding.up(-math.inf) == -MAX
    assert _rounding.down(-math.inf) == -math.inf
    assert (_rounding.down(math.nan), _rounding.up(math.nan)) == (-math.inf, math.inf)
    for x in (math.inf, -math.inf, math.nan, MAX, -MAX, 0.0, ETA, -ETA):
        with np.errstate(over="ignore"):
            assert _rounding.up_array(np.array([x]))[0] == _rounding.up(x)
            assert _rounding.down_array(np.array([x]))[0] == _rounding.down(x)
    assert _rounding.add_up(MAX, MAX) == math.inf
    assert Fraction(_rounding.add_down(MAX, MAX)) <= 2 * Fraction(MAX)
    assert _rounding.mul_up(1e200, 1e200) == math.inf
    assert Fraction(_rounding.mul_down(1e200, 1e200)) <= Fraction(1e200) ** 2
    assert _rounding.mul_up(0.0, math.inf) == math.inf
    assert _rounding.div_up(1.0, 0.0) == math.inf
    assert _rounding.div_down(1.0, math.nan) == 0.0


def test_outward_operations_enclose_the_exact_ones_down_to_the_last_subnormal():
    chooser = random.Random(0)
    numbers = [0.0, ETA, 3 * ETA, OMEGA, 1.5 * OMEGA, 0.5, 1.0, 1 + 2.0**-52, 1e150, MAX]
    numbers += [chooser.random() * 2.0 ** chooser.randint(-1074, 1000) for _ in range(60)]
    for a in numbers:
        for b in numbers:
            x, y = Fraction(a), Fraction(b)
            assert _rounding.mul_up(a, b) >= x * y >= _rounding.mul_down(a, b)
            assert _rounding.add_up(a, -b) >= x - y >= _rounding.add_down(a, -b)
            if b > 0:
                assert _rounding.div_up(a, b) >= x / y >= _rounding.div_down(a, b)
        low, high = _rounding.sqrt_down(a), _rounding.sqrt_up(a)
        assert Fraction(low) ** 2 <= Fraction(a) <= Fraction(high) ** 2


def test_norms_whose_squares_underflow():
    """fl(||v||) = 0 for v = 1.1e-170: a factor alone, however generous, bounds nothing."""
    for v in ([1.1e-170], [1e-162] * 50, [ETA], [ETA, 1e-160, 3e-155], [1e154, 1.0], [2.0**-500]):
        values = np.array(v)
        square = sum(Fraction(x) ** 2 for x in v)
        assert Fraction(_rounding.norm_up(values)) ** 2 >= square
        assert Fraction(_rounding.norm_down(values)) ** 2 <= square
        assert Fraction(float(_row_norms(np.abs(values)[None, :])[0])) ** 2 >= square
    assert float(np.linalg.norm(np.array([1.1e-170])[:, None] * 1e-10)) == 0.0  # the trap is real


# Products ------------------------------------------------------------------------------------


def test_product_bounds_say_nothing_where_the_product_overflows():
    """W = (1e200, -1.5e200), x = (1e200, 1e200): NaN - NaN is no sign, and no sign is decided."""
    weight = MatrixEnclosure(np.array([[1e200, -1.5e200], [0.0, 0.0]]))
    x, b = np.array([1e200, 1e200]), np.array([0.0, 1e200])
    mid, rad = enclose_affine(x[None, :], weight, b)
    assert rad[0, 0] == math.inf
    assert mid[0, 0] == 0.0
    for activation, ends in ((RELU, (0.0, 1.0)), (Activation("abs"), (-1.0, 1.0))):
        for bad in (math.nan, math.inf):
            low, high = slope_interval(activation, np.array([-bad]), np.array([bad]))
            assert (low[0], high[0]) == ends
        _, error = enclose_activation(activation, mid[0, :1], rad[0, :1])
        assert error[0] == math.inf
    # (1e200, 1e200) is no equilibrium; (0, 1e200) is, and another has z_1 near 1.5e200
    cell = enclose_active_set(weight, RELU, b, signs_at(weight, b, x))
    assert cell is None or (cell.signs == (-1, 1) and cell.mid[0] - cell.rad[0] <= 0.0)
    box = find_box(weight, RELU, b, x)
    assert box is None or box.lower[0] <= 0.0 or box.upper[0] > 1.4e200
    (record,) = certify_samples(weight, RELU, b[None, :], solver_outputs=x[None, :])
    assert record.distance is None or record.distance.hi >= Fraction(1e200)


@pytest.mark.parametrize(("m", "w"), [(1.1e-170, 1.3e150), (1.1e-170, 1.3e-150), (3e-324, 0.4)])
def test_forward_radius_with_norms_that_underflow(m, w):
    """M = 1.1e-170, W = 1.3e150: a radius made of norms was 1e-290, the true error 1e-36."""
    Z, W = np.full((1, 3), m), np.full((1, 3), w)
    W[0, 1], Z[0, 2] = -w / 3, m * 7
    mid, rad = enclose_affine(Z, MatrixEnclosure(W), np.zeros(1))
    exact = sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(Z[0], W[0], strict=True))
    assert Fraction(float(mid[0, 0])) != exact
    assert abs(Fraction(float(mid[0, 0])) - exact) <= Fraction(float(rad[0, 0]))


@pytest.mark.parametrize("shape", [(300, 2), (2, 300), (9, 9), (40, 3)])
def test_gram_error_counts_the_summed_dimension(shape):
    """gamma_m with m the number of summed products, whichever side of the matrix that is."""
    draw = np.random.default_rng(3)
    for scale in (1.0, 2.0**-530, 2.0**480):
        scaled = spectral_norm._scale(draw.uniform(0.5, 1.0, shape) * scale, None)
        gram = spectral_norm._gram(scaled, _numpy)
        A = exact_rows(scaled.matrix)
        n, square = len(A[0]), Fraction(0)
        for i in range(n):
            for j in range(i, n):
                entry = -sum(row[i] * row[j] for row in A)
                gap = Fraction(float(gram.negative[i, j])) - entry
                square += gap * gap * (2 if i < j else 1)
        assert square <= Fraction(gram.error) ** 2
        assert scaled.matrix.shape[0] == max(shape)


# Factorisations ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, 100])
@pytest.mark.parametrize("root", [0.0, 2.0**-530, 2.0**-400, 1.0, 2.0**400])
def test_cholesky_term_has_its_own_underflow(n, root):
    """kappa tr(B) + n tau with tau = 4 n omega (2 + max B_ii + sqrt(max B_ii)), not another tau."""
    largest, trace = root * root, n * root * root
    g = Fraction(n + 4) / (2**53 - (n + 4))
    kappa = g / (1 - g)
    tau = 4 * n * Fraction(OMEGA) * (2 + Fraction(largest) + Fraction(root))
    bound = _numpy._defect_l3(n, trace, largest)
    assert Fraction(bound) >= kappa * Fraction(trace) + n * tau


@pytest.mark.parametrize("order", [3, 20])
def test_finite_matrix_with_an_infinite_factor(order, monkeypatch):
    """Finite and indefinite; OpenBLAS returns success with a factor that is not finite."""
    matrix = np.eye(order)
    matrix[:3, :3] = [[0.25, 0.0, 1.7e308], [0.0, 1.0, 0.0], [1.7e308, 0.0, 1.0]]
    assert _numpy.cholesky_defect(np.asfortranarray(matrix)) == math.inf
    for small in (definiteness.SMALL, 0):
        monkeypatch.setattr(definiteness, "SMALL", small)
        assert not proves_definite(matrix)
        assert not proves_definite(matrix, at_least=-1e308)
        assert enclose_smallest_eigenvalue(matrix).value.lo <= -(2**1023)
    assert _numpy.cholesky_defect(np.array([[math.nan]], order="F")) == math.inf


def test_one_by_one_and_negative_eigenvalues():
    """A bound that is right for positive values only: S = diag(1, -1) in a scaled basis."""
    for matrix, least in ((np.diag([1.0, -1.0]), -1), (np.diag([100.0, -0.01]), Fraction(-0.01))):
        value = enclose_smallest_eigenvalue(matrix).value
        assert value.lo <= least <= value.hi
        assert not proves_definite(matrix, at_least=least)
    assert not proves_definite([[0.0]])
    assert proves_definite([[ETA]])


def exact_inequality(W, level, alpha, beta):
    """(I - alpha W)^T l (I - beta W) + transpose, in Fractions."""
    m = range(len(level))
    left = [[(i == j) - alpha * W[i][j] for j in m] for i in m]
    right = [[(i == j) - beta * W[i][j] for j in m] for i in m]
    half = [[sum(left[k][i] * level[k] * right[k][j] for k in m) for j in m] for i in m]
    return [[half[i][j] + half[j][i] for j in m] for i in m]


SLOPES = [(0, 1), (Fraction(1, 3), 1), (Fraction(-1, 2), 1), (Fraction(0.01), 1),
          (0, Fraction(1, 7)), (Fraction(1, 3), 3), (Fraction(1, 9), Fraction(1, 8))]  # fmt: skip


def inequality_escapes(slopes):
    """Count matrices whose evaluated inequality is farther off than its error says."""
    draw, escapes, finite = np.random.default_rng(8), 0, 0
    for k in range(200):
        alpha, beta = slopes[k % len(slopes)]
        m = int(draw.integers(1, 6))
        level = draw.uniform(0.5, 2.0, m)
        with np.errstate(all="ignore"):
            powers = draw.choice([0, 0, 40, -30, -1060, 500], (m, m))
            mid = np.ldexp(draw.standard_normal((m, m)), powers)
            if k % 3 == 0:
                mid = np.round(draw.uniform(-9, 9, (m, m))) * draw.choice([ETA, 2.0**-537, 1.0])
            rad = np.abs(mid) * draw.choice([0.0, 1e-16, 1e-3])
            given = MatrixEnclosure(mid, rad if rad.any() else None)
            S, error = diagonal_stability._inequality(given, level, Fraction(alpha), Fraction(beta))
        if not (np.isfinite(S).all() and math.isfinite(error)):
            continue
        finite += 1
        signs = draw.choice([-1, 1], (m, m)).tolist()
        member = [
            [x + r * t for x, r, t in zip(*row, strict=True)]
            for row in zip(exact_rows(mid), exact_rows(rad), signs, strict=True)
        ]
        exact = exact_inequality(member, [Fraction(float(x)) for x in level], alpha, beta)
        n = range(m)
        square = sum((Fraction(float(S[i, j])) - exact[i][j]) ** 2 for i in n for j in n)
        escapes += square > Fraction(error) ** 2
    assert finite > 100
    return escapes


def test_diagonal_inequality_pays_for_its_rounding_and_underflow(monkeypatch):
    """Lambda W is exact for powers of two only; everything else rounds and may underflow."""
    assert inequality_escapes(SLOPES) == 0
    monkeypatch.setattr(diagonal_stability, "U", 0.0)
    assert inequality_escapes([(0, 1), (0, Fraction(1, 7))]) > 0


@pytest.mark.parametrize("back", [0.0, ETA, 1e-300, 1e-20])
def test_reducible_matrix_has_no_positive_perron_vectors(back):
    """[[1/2, 1], [0, 1/2]] has the Perron vectors e_1 and e_2: their quotient is no Lambda."""
    W = np.array([[0.5, 1.0], [back, 0.5]])
    for _, scaling in diagonal_search.conversions(W):
        assert np.isfinite(scaling).all()
        assert (scaling > 0.0).all()
    found = enclose_diagonal_margin(W)
    assert found.value.lo > 0
    assert replay_diagonal(W, found.witness)


# Activations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["tanh", "sigmoid", "softplus", "silu", "elu", "gelu", "softsign"])
def test_activations_outside_their_comfortable_domain(text):
    """Raw formulas give finite garbage beyond their domain and swallow NaN."""
    activation = Activation.parse(text)
    points = [ETA, -ETA, 709.8, 800.0, -800.0, -745.2, 1e300, -1e300, MAX, -MAX]
    value, error = enclose_activation(activation, np.array(points), np.zeros(len(points)))
    with flint.ctx.workprec(1200):
        for x, v, e in zip(points, value, error, strict=True):
            if math.isfinite(e):
                truth = Enclosure.from_arb(_truth(text, arb(x)))
                gap = max(truth.hi - Fraction(float(v)), Fraction(float(v)) - truth.lo)
                assert gap <= Fraction(float(e)) + truth.width, x
    with np.errstate(invalid="ignore"):
        _, error = enclose_activation(
            activation, np.array([math.nan, 1.0]), np.array([0.0, math.inf])
        )
    assert (error == math.inf).all()


def _truth(text, x):
    """The activations once more, written independently."""
    if text == "tanh":
        return x.tanh()
    if text == "sigmoid":
        return 1 / (1 + (-x).exp()) if x < 0 else 1 - 1 / (1 + x.exp())
    if text == "softplus":
        return (1 + x.exp()).log() if x < 1000 else x
    if text == "silu":
        return x * _truth("sigmoid", x)
    if text == "elu":
        return x if x > 0 else x.expm1()
    if text == "gelu":
        return x * (1 + (x / arb(2).sqrt()).erf()) / 2
    return x / (1 + abs(x))


def test_constants_are_enclosed_recursively():
    """exp(4/49) as text evaluates 4/49 in floats first, and is then off by more than its width."""
    found = evaluate(sp.exp(sp.Rational(4, 49)) - 1, {})
    with flint.ctx.workprec(300):
        truth = Enclosure.from_arb(arb(fmpq(4, 49)).expm1())
    assert found.lo <= truth.hi
    assert truth.lo <= found.hi
    assert found.width < Fraction(1, 2**60)
    assert not found.contains(Fraction(math.expm1(4 / 49)))


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "softplus"])
@pytest.mark.parametrize("a", [Fraction(10) ** 400, Fraction(1, 10**400)])
def test_parameters_beyond_binary64_give_a_verdict_or_one_sentence(name, a):
    """A slope of 10^400 is a number like any other, but not a float."""
    network = Equilibrium(PlainWeight(np.array([[0.0, 0.5], [0.25, 0.1]])), Activation(name, (a,)))
    effort = Effort(budget=1.0)
    if a > 1 and name != "softplus":
        with pytest.raises(InputError, match="in the range of binary64, but got"):
            check(network, conditions=["well-posedness"], effort=effort)
        return
    (certificate,) = check(network, conditions=["well-posedness"], effort=effort)
    assert certificate.claim["verdict"] == "pass"


# Exact algebra -------------------------------------------------------------------------------


def test_a_singular_minor_needs_an_exact_kernel_vector():
    """det = 0: a rounded kernel vector is no witness, nor is the zero vector."""
    p, q = [fmpq(1, 3), fmpq(-5, 7), fmpq(2, 11)], [fmpq(4, 13), fmpq(-1, 5), fmpq(9, 17)]
    dot = sum((a * b for a, b in zip(p, q, strict=True)), fmpq(0))
    weight = fmpq_mat(3, 3, [a * b / dot for a in p for b in q])  # W p = p
    assert refutation._from_direction(weight, Fraction(0), [fmpq(0)] * 3) is None
    assert refutation._from_direction(weight, Fraction(0), p) is not None
    rounded = [fmpq(*float(Fraction(int(x.p), int(x.q))).as_integer_ratio()) for x in p]
    assert refutation._from_direction(weight, Fraction(0), rounded) is None
    witness = refutation.two_equilibria(weight, index_set=[0, 1, 2])
    assert witness is not None
    for name in ("z1", "z2"):
        data = witness.data
        assert refutation.check_equilibrium(weight, Fraction(0), data["b"], data[name])
    assert witness.data["z1"] != witness.data["z2"]


def test_rank_modulo_a_number_decides_only_if_it_is_prime_and_the_rank_is_full():
    prime = rational_systems._PRIME
    assert fmpz(prime).is_prime()
    assert rational_systems.pivot_columns(fmpq_mat(1, 1, [prime])) == [0]  # 0 modulo the prime
    assert rational_systems.pivot_columns(fmpq_mat(1, 1, [fmpq(1, prime)])) == [0]
    assert rational_systems.pivot_columns(fmpq_mat(2, 2, [1, 1, 1, 1])) == [0]
    assert rational_systems.pivot_columns(fmpq_mat(2, 2, [1, 1, 1, 1 + prime])) == [0, 1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_trees_never_pass_weights_that_are_not_finite(bad):
    """A recursion over pivots returned True for NaN: every comparison with NaN is false."""
    matrix = np.eye(3)
    matrix[0, 2] = bad
    for decide in (decide_p_matrix, decide_p0_matrix, decide_r0_matrix):
        with pytest.raises(InputError, match="expected finite entries, but got"):
            decide(matrix)
    with pytest.raises(InputError, match="expected finite entries, but got"):
        decide_one_sign(matrix, Fraction(1, 2), Fraction(1))
    radius = np.zeros((3, 3))
    radius[0, 2] = radius[2, 0] = math.inf
    with pytest.raises(InputError, match="expected finite entries, but got inf"):
        decide_p_matrix(MatrixEnclosure(np.eye(3), radius))


def test_float_pivots_decide_wrongly_next_to_zero():
    """1 - b c in floats is 0 for b c on either side of 1; the decision is exact."""
    seen, draw = set(), np.random.default_rng(0)
    for _ in range(40):
        b = float(draw.uniform(1.0, 2.0))
        matrix = np.array([[1.0, b], [1.0 / b, 1.0]])
        truth = Fraction(b) * Fraction(1.0 / b) < 1
        seen.add((truth, 1.0 - b * (1.0 / b) > 0.0))
        found = decide_p_matrix(matrix).value
        assert found is (Truth.PROVED if truth else Truth.REFUTED)
    assert (True, False) in seen  # floats see no positive minor where there is one


# Machines ------------------------------------------------------------------------------------

W = np.random.default_rng(0).standard_normal((20, 20)) / 10
KERNELS = {
    "norm": lambda: enclose_spectral_norm(W),
    "norm claim": lambda: proves_norm_at_most(W, 3.0),
    "norm of one": lambda: enclose_spectral_norm([[0.5]]),
    "eigenvalue": lambda: enclose_smallest_eigenvalue(W + W.T),
    "definite": lambda: proves_definite(W + W.T),
    "perron": lambda: enclose_perron_root(W),
    "measure": lambda: enclose_weighted_measure(W),
    "plain measure": lambda: measure_inf(W),
    "symmetric part": lambda: enclose_symmetric_part(W),
    "spectral radius": lambda: enclose_spectral_radius(W),
    "diagonal": lambda: enclose_diagonal_margin(W),
    "diagonal, slopes": lambda: enclose_diagonal_margin(W, alpha=Fraction(1, 3)),
    "cayley": lambda: enclose_cayley_root(W),
    "reduction": lambda: reduce_slopes(MatrixEnclosure(W), Fraction(1, 3), Fraction(1)),
    "P": lambda: decide_p_matrix(np.eye(20) - W),
    "P0": lambda: decide_p0_matrix(np.eye(20) - W),
    "R0": lambda: decide_r0_matrix(np.eye(20) - W),
    "one sign": lambda: decide_one_sign(W, Fraction(1, 2), Fraction(1)),
    "state weight": lambda: enclose_state_weight(MonotoneWeight(W, W, Fraction(1, 2))),
    "samples": lambda: certify_samples(MatrixEnclosure(W), TANH, np.ones((1, 20))),
    "box": lambda: find_box(MatrixEnclosure(W), TANH, np.ones(20), np.zeros(20)),
    "given box": lambda: holds_one_equilibrium(
        MatrixEnclosure(W), TANH, np.ones(20), np.zeros(20), np.full(20, -1.0), np.ones(20)
    ),
}


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_refuses_a_machine_that_fails_its_self_test(name, monkeypatch):
    """With subnormals read as zero a singular matrix was proved to be nonsingular."""
    KERNELS[name]()
    broken = self_test._PRODUCTS.copy()
    broken[0, 2] = 0.0  # what flush to zero would give
    monkeypatch.setattr(self_test, "_PRODUCTS", broken)
    with pytest.raises(BackendError, match="flush-to-zero or another rounding mode"):
        KERNELS[name]()


@pytest.mark.parametrize("given", [None, AffineInput(np.ones((3, 1)), np.zeros(3))])
def test_nothing_is_certified_on_a_machine_that_fails_its_self_test(given, monkeypatch):
    monkeypatch.setattr(self_test, "_PRODUCTS", self_test._PRODUCTS * np.array([1.0, 1.0, 0.0]))
    network = Equilibrium(PlainWeight(np.eye(3) / 4), RELU, given)
    with pytest.raises(BackendError):
        check(network, conditions=["well-posedness"], effort=Effort(budget=1.0))


def test_rounding_of_square_and_difference_in_a_norm_claim(monkeypatch):
    """c^2 and c^2 - G_ii round too: c one ulp below the norm of a diagonal-like matrix."""
    monkeypatch.setattr(spectral_norm, "SMALL", 0)
    draw = np.random.default_rng(1)
    for _ in range(40):
        n = int(draw.integers(2, 8))
        norm = float(draw.uniform(0.5, 2.0))
        matrix = np.diag(np.full(n, norm))
        matrix[0, 0], matrix[0, 1] = norm / 2, ETA  # not a permutation pattern, norm attained
        exact = rational_matrix(matrix)
        assert not proves_norm_at_most(matrix, _rounding.down(norm))
        assert exact[n - 1, n - 1] == fmpq(*norm.as_integer_ratio())
        assert U * norm > 0
