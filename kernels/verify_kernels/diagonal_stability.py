"""Diagonal Lyapunov inequality: (I - alpha W)^T Lambda (I - beta W) + transpose > 0."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.enclosure import INF, Enclosure, round_down
from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify_kernels import definiteness, small_spectrum
from verify_kernels._rounding import Array, U, add_up, gamma, mul_up, norm_up, tau
from verify_kernels.components import diagonal_block, strong_components, zero_pattern
from verify_kernels.definiteness import PRODUCTS
from verify_kernels.diagonal_search import conversions, least_eigenvalue, searches
from verify_kernels.diagonal_witness import (
    EXACT_WIDTH,
    FACTOR_BITS,
    KIND,
    integer_factor,
    scaled_inequality,
    scaling_exponents,
)
from verify_kernels.enclosed_products import Balls, scale
from verify_kernels.matrix import MatrixEnclosure, rational_matrix
from verify_kernels.perron import as_enclosure
from verify_kernels.positive_vector import integer_vector, power_of_two

FACTOR_WIDTH = 512  # up to here the witness holds an integer factor of each block
LEAST = Fraction(1, 2**200)  # the least margin that counts as found
LARGEST_SLOPE = 2**400  # beyond it the floats of the search would overflow
RANKED = 256  # up to here candidates are compared before one is verified
HOW = "diagonal Lambda, verified factorisation of S on each strongly connected block"


def enclose_diagonal_margin(
    weight: ArrayLike | MatrixEnclosure,
    *,
    alpha: Fraction = Fraction(0),
    beta: Fraction = Fraction(1),
    deadline: float = math.inf,
    backend: str = "auto",
    search: str = "conversions",
) -> Evidence:
    """Bound the largest margin of S = (I - alpha W)^T Lambda (I - beta W) + transpose from below.

    The margin of Lambda is the smallest eigenvalue of Lambda^-1/2 S Lambda^-1/2; the quantity is
    its supremum over all diagonal Lambda > 0. For a reducible W it is the least of the strongly
    connected blocks' suprema: scaling the blocks of Lambda apart makes the rest of S vanish.
    Candidates come from `verify_kernels.diagonal_search` and need no proof; S is then evaluated
    with an error bound and proved definite.

    Args:
        weight: W, shape (m, m), finite floats (exact) or an enclosure: Lambda holds for all of it.
        alpha: least slope; 0 and ``beta`` = 1 give Lambda M + M^T Lambda, M = I - W.
        beta: largest slope.
        deadline: value of `time.monotonic` after which no further candidate is tried.
        backend: handed on to the factorisation; every backend is rigorous.
        search: ``conversions`` or ``full`` (with the optimisers).

    Returns:
        Evidence with [margin, +inf), margin > 0, and the witness "diagonal-lyapunov": for each
        block its indices, Lambda in integers and, from 17 to 512 rows, an integer factor; or an
        unbounded enclosure with the reason.

    Error bound:
        with D a power-of-two scaling, l = D Lambda D in [1/2, 2), W for D^-1 W D with radius r
        in Frobenius norm, X = l W, K = W^T X, p = alpha + beta, q = alpha beta:
        ||fl(S) - D S D||_2 <= 9u|p| ||X|| + 1.01u (||T|| + ||S||) + 4.1|p| r
        + 2|q| (gamma_{m+4} ||W|| ||X|| + 2m tau_m + 2.1 r (||X|| + r)) + 4u|q| ||K + K^T||
        + underflow, T the sum without K: p and q are rounded once (u), X once, each sum and
        product once, K by the lemma for products in any order.

    Raises:
        InputError: W is not square or not finite; an unknown search.

    Source:
        A. Berman and R. J. Plemmons, Nonnegative matrices in the mathematical sciences, on
        diagonal stability; the Schur test for the conversions.
    """
    given = as_enclosure(weight, where="enclose_diagonal_margin")
    if search not in ("conversions", "full"):
        raise InputError(
            f"enclose_diagonal_margin: expected search to be 'conversions' or 'full', "
            f"but got {search!r}"
        )
    margin: Fraction | None = None
    parts: list[dict[str, Any]] = []
    blocks = sorted(strong_components(zero_pattern(given)), key=len)
    for index in blocks:
        task = _Task(diagonal_block(given, index), alpha, beta, deadline, backend, search == "full")
        found = _block_margin(task)
        if found is None:
            late = time.monotonic() >= deadline
            why = "the time is used up" if late else "no diagonal Lambda was found"
            return Evidence(
                Enclosure.unbounded(), how=HOW, why_open=f"{why} for a block of {len(index)}"
            )
        margin = found.margin if margin is None else min(margin, found.margin)
        parts.append({"index": [int(i) for i in index], **found.data()})
    if margin is None:
        return Evidence(Enclosure(Fraction(2), INF), Witness(KIND, {"blocks": []}), how=HOW)
    witness = Witness(KIND, {"alpha": alpha, "beta": beta, "blocks": parts})
    assumes = (PRODUCTS,) if len(blocks[-1]) > EXACT_WIDTH else ()
    return Evidence(Enclosure(round_down(margin), INF), witness, assumes, how=HOW)


@dataclass(frozen=True, eq=False)
class _Task:
    weight: MatrixEnclosure
    alpha: Fraction
    beta: Fraction
    deadline: float
    backend: str
    full: bool


@dataclass(frozen=True, eq=False)
class _Found:
    """A margin, Lambda in integers, what proposed it, and a factor for exact checking."""

    margin: Fraction
    scaling: Array
    by: str
    factor: Array | None = None

    def data(self) -> dict[str, Any]:
        """Return what the witness stores."""
        integers = integer_vector(self.scaling)
        stored: dict[str, Any] = {"diagonal": integers, "margin": self.margin, "by": self.by}
        if self.factor is not None:
            stored |= {
                "factor": self.factor,
                "bits": FACTOR_BITS,
                "exponents": [int(e) for e in scaling_exponents(self.scaling)],
                "unit": Fraction(float(self.scaling[0])) / integers[0],
            }
        return stored


def _block_margin(task: _Task) -> _Found | None:
    if task.weight.shape[0] == 1:
        return _scalar_margin(task)
    with np.errstate(all="ignore"):
        reduced = _reduced(task)
        if reduced is None:
            return None
        best: Array | None = None
        for by, scaling in _candidates(task, reduced):
            found = _verified(task, scaling, by)
            if found is not None:
                return found
            best = scaling if best is None else best
            if time.monotonic() >= task.deadline:
                return None
        if not task.full:
            return None
        start = best if best is not None else np.ones(len(reduced))
        for by, scaling in searches(reduced, start, task.deadline):
            found = _verified(task, scaling, by)
            if found is not None:
                return found
    return None


def _scalar_margin(task: _Task) -> _Found | None:
    """Return 2 (1 - alpha w)(1 - beta w), least over the enclosure, if it is positive."""
    if task.weight.exact is not None:
        entry = task.weight.exact[0, 0]
        ends = [Fraction(int(entry.p), int(entry.q))]
    else:
        mid = Fraction(float(task.weight.mid[0, 0]))
        rad = task.weight.rad
        spread = Fraction(0) if rad is None else Fraction(float(rad[0, 0]))
        ends = [mid - spread, mid + spread]
    one = [1 - task.alpha * w for w in ends]
    other = [1 - task.beta * w for w in ends]
    least = min(2 * a * b for a in one for b in other)
    return _Found(least, np.ones(1), "the only entry") if least > 0 else None


def _reduced(task: _Task) -> Array | None:
    """Return floats near (beta - alpha)(I - alpha W)^-1 W, for the search only."""
    if max(abs(task.alpha), abs(task.beta)) > LARGEST_SLOPE:
        return None
    mid, alpha, beta = task.weight.mid, float(task.alpha), float(task.beta)
    moved = (beta - alpha) * mid
    if alpha != 0.0:
        try:
            moved = np.asarray(np.linalg.solve(np.eye(len(mid)) - alpha * mid, moved))
        except np.linalg.LinAlgError:
            return None
    return np.asarray(moved, dtype=np.float64) if np.isfinite(moved).all() else None


def _candidates(task: _Task, reduced: Array) -> Iterator[tuple[str, Array]]:
    """Yield candidates, for small blocks the most promising first."""
    if len(reduced) > RANKED:
        yield from conversions(reduced)
        return
    ranked = [(-_promise(reduced, s), by, s) for by, s in conversions(reduced)]
    for _, by, scaling in sorted(ranked, key=lambda item: item[0]):
        yield by, scaling


def _promise(reduced: Array, scaling: Array) -> float:
    root = np.sqrt(scaling)
    normal = root[:, None] * reduced / root[None, :]
    symmetric = 2.0 * np.eye(len(reduced)) - (normal + normal.T)
    return least_eigenvalue(symmetric)


# ---------------------------------------------------------------- verification


def _verified(task: _Task, scaling: Array, by: str) -> _Found | None:
    """Return the proof for this Lambda, rounded to powers of two, to 20 bits or not at all."""
    powers = np.ldexp(1.0, np.rint(np.log2(scaling)).astype(np.int64))
    mantissa, exponent = np.frexp(scaling)
    rounded = np.ldexp(np.rint(mantissa * 2.0**20), exponent - 20)
    tried: list[Array] = []
    for candidate in (powers, rounded, scaling):
        if any(np.array_equal(candidate, old) for old in tried):
            continue
        if tried and time.monotonic() >= task.deadline:
            return None
        found = _margin_of(task, candidate, by)
        if found is not None:
            return found
        tried.append(candidate)
    return None


def _margin_of(task: _Task, scaling: Array, by: str) -> _Found | None:
    exponents = scaling_exponents(scaling)
    level = np.ldexp(scaling, 2 * exponents)  # l = D Lambda D in [1/2, 2), exact
    evaluated = _evaluate(task, level, exponents)
    if evaluated is None:
        return None
    S, error = evaluated
    proof = _Proof(S, error, _exact_inequality(task, level, exponents), task.backend)
    least = proof.least()
    if least is None:
        return None
    factor = integer_factor(S, float(least)) if EXACT_WIDTH < len(S) <= FACTOR_WIDTH else None
    return _Found(least / Fraction(float(np.max(level))), scaling, by, factor)


@dataclass(frozen=True, eq=False)
class _Proof:
    """Proves lambda_min(S) > c for the floats S with an error, or for the exact S."""

    S: Array
    error: float
    exact: Any
    backend: str

    def exceeds(self, c: Fraction) -> bool:
        """Return whether lambda_min > c is proved."""
        if self.exact is not None:
            return small_spectrum.is_definite(self.exact, c)
        return math.isfinite(self.error) and definiteness.proves_definite(
            self.S, at_least=c, error=self.error, backend=self.backend
        )

    def least(self) -> Fraction | None:
        """Return some c > 0 with lambda_min > c, near the largest provable one, or None."""
        if not self.exceeds(LEAST):
            return None
        top = float(np.min(np.diagonal(self.S)))  # lambda_min is at most this
        if len(self.S) <= RANKED:
            near = least_eigenvalue(self.S)
            if math.isfinite(near) and near > 0.0:
                c = Fraction(near) * (1 - Fraction(1, 2**20))
                if self.exceeds(c):
                    return c
        low, high = -40, 0  # powers of two times top
        while high - low > 1:
            middle = (low + high) // 2
            if self.exceeds(Fraction(top) * power_of_two(middle)):
                low = middle
            else:
                high = middle
        c = Fraction(top) * power_of_two(low)
        return c if low > -40 or self.exceeds(c) else LEAST


def _evaluate(
    task: _Task, level: Array, exponents: NDArray[np.int64]
) -> tuple[Array, float] | None:
    """Return floats S and a bound of ||S - D S D||_2 for all W of the enclosure."""
    size = len(level)
    zero = np.zeros(size)
    left = Balls(np.ldexp(1.0, -exponents), zero)
    right = Balls(np.ldexp(1.0, exponents), zero)
    try:
        scaled = scale(MatrixEnclosure(task.weight.mid, task.weight.rad), left, right)
    except InputError:
        return None
    S, error = _inequality(scaled, level, task.alpha, task.beta)
    return (S, error) if np.isfinite(S).all() else None


def _inequality(
    scaled: MatrixEnclosure, level: Array, alpha: Fraction, beta: Fraction
) -> tuple[Array, float]:
    """Evaluate S = 2 l - p (X + X^T) + q (K + K^T) and bound its error in norm.

    X = l W, K = W^T X, p = alpha + beta, q = alpha beta; see `enclose_diagonal_margin`.
    """
    W, m = scaled.mid, len(level)
    p, q = float(alpha + beta), float(alpha * beta)
    if any(0.0 < abs(c) < 2.0**-1000 or (c == 0.0) != (e == 0) for c, e in
           ((p, alpha + beta), (q, alpha * beta))):  # fmt: skip
        return np.zeros((m, m)), math.inf
    X = level[:, None] * W
    r = 0.0 if scaled.rad is None else norm_up(scaled.rad)
    x = norm_up(X)
    S = -p * (X + X.T)
    S[np.diag_indices(m)] += 2.0 * level
    error = add_up(mul_up(9.0 * U, abs(p), x), mul_up(1.01 * U, norm_up(S)), mul_up(4.1, abs(p), r))
    if q != 0.0:
        K = W.T @ X
        H = K + K.T
        largest = tau(m, float(np.max(np.abs(W))), float(np.max(np.abs(X))))
        lost = add_up(mul_up(gamma(m + 4), norm_up(W), x), mul_up(2.0 * m, largest))
        spread = mul_up(2.1, r, add_up(x, r))
        S += q * H
        error = add_up(
            error,
            mul_up(2.0 * abs(q), add_up(lost, spread)),
            mul_up(4.0 * U, abs(q), norm_up(H)),
            mul_up(1.01 * U, norm_up(S)),
        )
    scale_of = add_up(1.0, abs(p), abs(q), norm_up(level))
    return S, add_up(error, mul_up(32.0 * m, scale_of, 2.0**-1074))


def _exact_inequality(task: _Task, level: Array, exponents: NDArray[np.int64]) -> Any:
    """Return D S D as ``fmpq_mat`` for small exact W, else None."""
    size = len(level)
    if size > EXACT_WIDTH or not task.weight.is_exact:
        return None
    weight = task.weight
    exact = weight.exact if weight.exact is not None else rational_matrix(weight.mid)
    lam = [
        Fraction(float(v)) * power_of_two(-2 * int(e))
        for v, e in zip(level, exponents, strict=True)
    ]
    unit = [power_of_two(int(e)) for e in exponents]
    return scaled_inequality(exact, lam, unit, task.alpha, task.beta)
