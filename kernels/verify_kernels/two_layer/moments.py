"""Row norms and the largest eigenvalue of weighted second moments of a data matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence
from verify_kernels._rounding import (
    OMEGA,
    Array,
    U,
    add_up,
    div_up,
    down,
    down_array,
    gamma,
    mul_up,
    sum_squares_up,
    tau,
    up,
    up_array,
)
from verify_kernels.backend import get_backend
from verify_kernels.definiteness import PRODUCTS, enclose_smallest_eigenvalue
from verify_kernels.self_test import check_arithmetic
from verify_kernels.two_layer import exact_moments
from verify_kernels.two_layer.intervals import Intervals, exact_vector
from verify_kernels.two_layer.samples import BLOCK, Samples

WeightBounds = tuple[Any, Any]

CHUNK = 256

# Beyond this relative width of the weights the two ends are treated apart, one product each.
NARROW = 2.0**-40
_FAINT = 2.0**-200  # weights below it, relative to the largest, are bounded and left out


def row_norms(X: ArrayLike, *, augmented: bool = False) -> tuple[Array, Array]:
    """Enclose ||x_i||_2 for every row.

    Args:
        X: shape (n, d), n >= 1; any dtype that embeds in binary64.
        augmented: whether a constant 1 is appended to every row.

    Returns:
        (lo, hi), shape (n,); hi is +inf where the norm is beyond binary64.

    Error bound:
        s = fl(sum x_k^2) in chunks of 256 columns: |s - sum| <= gamma_m sum + 8 d omega with
        m = 256 + d / 256 + 2, in any order within a chunk; one root. Rows far below the largest
        entry (by 2^500) lose their relative accuracy.

    Raises:
        InputError: as for `Samples`.
    """
    samples = X if isinstance(X, Samples) else Samples(X, augmented)
    return row_squares(samples).root().bounds()


def row_squares(samples: Samples) -> Intervals:
    """Enclose ||x_i||^2 for every row, as intervals with a common exponent."""
    lo, hi = np.zeros(samples.n), np.zeros(samples.n)
    for i, block in samples.rows():
        lo[i : i + len(block)], hi[i : i + len(block)] = block_squares(block)
    return Intervals(lo, hi, 2 * samples.exponent)


@np.errstate(all="ignore")
def block_squares(block: Array) -> tuple[Array, Array]:
    """Return bounds of the squared row norms; entries at most 2^200, so nothing overflows."""
    d = block.shape[1]
    squares = np.zeros(len(block))
    for k in range(0, d, CHUNK):
        part = block[:, k : k + CHUNK]
        squares += np.einsum("ij,ij->i", part, part)
    g = gamma(min(CHUNK, d) + d // CHUNK + 2)
    lost = 8.0 * d * OMEGA
    above = up_array(up_array(squares + lost) / down(1.0 - g))
    below = down_array(down_array(squares - lost) / up(1.0 + g))
    zero = ~block.any(axis=1) if d else np.ones(len(block), dtype=bool)
    return np.where(zero, 0.0, np.maximum(below, 0.0)), np.where(zero, 0.0, above)


@np.errstate(all="ignore")
def enclose_second_moment(
    X: ArrayLike | Samples,
    weights: WeightBounds | Intervals | None = None,
    *,
    augmented: bool = False,
    backend: str = "auto",
    aim: Enclosure | None = None,
) -> Evidence:
    """Enclose lambda_max((1/n) sum_i w_i x_i x_i^T) for all weights lo <= w <= hi.

    The moment increases with every weight (in the order of symmetric matrices), so the ends of
    the weights give the ends of the eigenvalue.

    Args:
        X: shape (n, d), n >= 1, any dtype that embeds in binary64; read in blocks.
        weights: (lo, hi), shape (n,), 0 <= lo <= hi, floats or fractions, or `Intervals`; None
            means 1.
        augmented: whether x_i means (x_i, 1).
        backend: which products and factorisations; every one is rigorous.
        aim: the number at which a statement turns, a hint where to stop.

    Returns:
        Evidence: exact or to 84 bits for small data (see `exact_moments.is_small`), else of
        relative width about (BLOCK + n / BLOCK) u (trace / lambda_max) + the Cholesky's. One
        product of n d^2 / 2 multiplications for each weighting, two if the weights are known to
        fewer than 40 bits; the smaller of n and d is the order of the matrix.

    Error bound:
        Blocks Y_b = fl(s_i x_i) with floats s_i near sqrt(w_i), G = fl(sum_b fl(Y_b^T Y_b)):
        every product passes m = BLOCK + (number of blocks) + 2 roundings, so the error of G is
        at most gamma_m ||S X||_F^2 + 2 d tau_m in norm; s_i^2 differs from w_i by a relative
        error that is computed. The eigenvalue of G by a verified Cholesky and a Rayleigh
        quotient (`definiteness`).

    Raises:
        InputError: as for `Samples`; weights of another shape, negative, or lo > hi.
        BackendError: the machine does not compute as assumed.
    """
    samples = X if isinstance(X, Samples) else Samples(X, augmented)
    if isinstance(weights, Intervals) and weights.exponent:
        bare = (weights.lo, weights.hi)
        return _rescaled(enclose_second_moment(samples, bare, backend=backend), weights.exponent)
    low, high = _checked_weights(weights, samples.n)
    if samples.d == 0 or samples.largest == 0.0 or not np.any(high):
        return Evidence(Enclosure.exact(0), how="a zero matrix")
    if any(isinstance(top, float) and math.isinf(top) for top in high.tolist()):
        value = Enclosure(0, math.inf)
        return Evidence(value, why_open="a weight is not bounded")
    if exact_moments.is_small(samples):
        exact = exact_moments.enclose_second_moment(samples, low, high)
        if exact is not None:
            return exact
    check_arithmetic(backend, size=min(samples.n, samples.d))
    module = get_backend(backend, size=min(samples.n, samples.d))
    if object in (low.dtype, high.dtype):
        floats = Intervals(low, high).floats()
        return enclose_second_moment(samples, floats, backend=backend, aim=aim)
    narrow = _split(low, high)
    if narrow is not None:
        return _enclose(samples, narrow, module, backend, aim)
    below = _enclose(samples, _exact_split(low, above=False), module, backend, None)
    above = _enclose(samples, _exact_split(high, above=True), module, backend, aim)
    return Evidence(
        Enclosure(below.enclosure().lo, above.enclosure().hi), assumes=(PRODUCTS,), how=above.how
    )


def _rescaled(found: Evidence, exponent: int) -> Evidence:
    value, unit = found.enclosure(), Fraction(2) ** exponent
    top = value.hi * unit if isinstance(value.hi, Fraction) else value.hi
    return replace(found, value=Enclosure(value.lo * unit, top))


def _checked_weights(weights: WeightBounds | Intervals | None, n: int) -> tuple[Any, Any]:
    if weights is None:
        return np.ones(n), np.ones(n)
    pair = weights.bounds() if isinstance(weights, Intervals) else weights
    low, high = (exact_vector(part) for part in pair)
    if low.shape != (n,) or high.shape != (n,):
        raise InputError(
            f"enclose_second_moment: expected {n} weights, but got {low.shape} and {high.shape}"
        )
    if not ((low >= 0).all() and (low <= high).all()):
        raise InputError(
            "enclose_second_moment: expected weights with 0 <= lo <= hi, but got others"
        )
    return low, high


@dataclass(frozen=True, eq=False)
class _Split:
    """Weights 4^shift (s_i^2 (1 +- relative) + [0, faint]), s_i = 0 or >= 2^-101."""

    roots: Array
    shift: int
    relative: float
    faint: float


def _split(low: Array, high: Array) -> _Split | None:
    """Write the weights as squares of floats and a relative error; None if they are too wide."""
    shift = (math.frexp(float(high.max()))[1] + 1) // 2
    lo, hi = np.ldexp(low, -2 * shift), np.ldexp(high, -2 * shift)
    kept = lo >= _FAINT
    roots = np.where(kept, np.sqrt(hi), 0.0)
    squares = roots * roots
    ratio_up = up_array(hi[kept] / down_array(squares[kept]))
    ratio_down = down_array(lo[kept] / up_array(squares[kept]))
    above, below = float(ratio_up.max(initial=1.0)), float(ratio_down.min(initial=1.0))
    relative = max(up(above - 1.0), up(1.0 - below))
    faint = float(hi[~kept].max(initial=0.0))
    if relative > NARROW or faint > 2.0 * _FAINT:
        return None
    return _Split(roots, shift, relative, up(faint) if faint else 0.0)


def _exact_split(weights: Array, *, above: bool) -> _Split:
    """Split one end; weights too faint count as 0 from below, as the bound from above."""
    shift = (math.frexp(float(weights.max()))[1] + 1) // 2
    scaled = np.ldexp(weights, -2 * shift)
    if above:
        scaled = np.where((scaled > 0.0) & (scaled < _FAINT), _FAINT, scaled)
    else:
        scaled = np.where(scaled < _FAINT, 0.0, scaled)
    found = _split(scaled, scaled)
    if found is None:  # every scaled weight is 0 or in [2^-200, 1]: its root squares to 4 u
        raise InputError("enclose_second_moment: expected finite weights, but got others")
    return _Split(found.roots, shift + found.shift, found.relative, found.faint)


def _enclose(
    samples: Samples, split: _Split, module: ModuleType, backend: str, aim: Enclosure | None
) -> Evidence:
    """Enclose the eigenvalue for weights of one split."""
    gram, error = _gram(samples, split, module)
    power = Fraction(2) ** (2 * (split.shift + samples.exponent))
    unit = power / samples.n
    # every weight that was left out is at most `faint`
    left_out = mul_up(split.faint, _frobenius(samples)) if split.faint else 0.0
    mirrored = None if aim is None else _mirrored_aim(aim, unit, split.relative, left_out)
    found = enclose_smallest_eigenvalue(
        gram, error=error, backend=backend, aim=mirrored, with_witness=False
    )
    value = found.enclosure()
    relative = Fraction(split.relative)
    lo = -value.hi if isinstance(value.hi, Fraction) else Fraction(0)
    lo = max(lo, Fraction(0)) * (1 - relative) * unit
    if not isinstance(value.lo, Fraction):
        return Evidence(Enclosure.outward(lo, math.inf), why_open=found.why_open or "overflow")
    hi = (max(-value.lo, Fraction(0)) * (1 + relative) + Fraction(left_out)) * unit
    how = "blocked symmetric product, Cholesky above, Rayleigh quotient below"
    return Evidence(Enclosure.outward(lo, hi), assumes=(PRODUCTS,), how=how)


def _mirrored_aim(
    aim: Enclosure, unit: Fraction, relative: float, left_out: float
) -> Enclosure | None:
    """Translate the aim to the smallest eigenvalue of -G."""
    if not isinstance(aim.lo, Fraction) or aim.lo <= 0:
        return None
    turn = (aim.lo / unit - Fraction(left_out)) / (1 + Fraction(relative))
    return Enclosure.outward(-turn, -turn) if turn > 0 else None


def _gram(samples: Samples, split: _Split, module: ModuleType) -> tuple[Array, float]:
    """Return -fl(Y^T Y) or -fl(Y Y^T), whichever is smaller, Y = S X, and its error bound."""
    order = min(samples.n, samples.d)
    wide = samples.n < samples.d
    total = np.zeros((order, order), order="F")
    blocks, terms, frobenius, largest = 0, 0, 0.0, 0.0
    for A in _factors(samples, split.roots, wide):
        total -= module.gram(A)
        frobenius = add_up(frobenius, sum_squares_up(A))
        largest = max(largest, float(A.max(initial=0.0)), -float(A.min(initial=0.0)))
        terms, blocks = max(terms, A.shape[0]), blocks + 1
    roundings = terms + blocks + 2
    error = mul_up(gamma(roundings), div_up(frobenius, down(1.0 - 4.0 * U)))
    under = mul_up(2.0 * order * blocks, tau(terms, largest, largest))
    upper = np.triu(total)
    return upper + np.triu(upper, 1).T, add_up(error, under)


def _factors(samples: Samples, roots: Array, wide: bool) -> Any:
    """Yield the blocks A of a stack whose A^T A is the Gram matrix wanted."""
    if wide:
        for part in samples.columns():
            part *= roots[:, None]
            yield part.T
    else:
        for i, block in samples.rows():
            block *= roots[i : i + len(block), None]
            yield block


def _frobenius(samples: Samples) -> float:
    """Return an upper bound of ||2^-exponent X||_F^2."""
    return add_up(0.0, *(sum_squares_up(block) for _, block in samples.rows(BLOCK)))


def weighted_mean(values_lo: ArrayLike, values_hi: ArrayLike) -> Enclosure:
    """Enclose the mean of numbers >= 0 that are known to lie between two vectors.

    Args:
        values_lo: shape (n,), n >= 1, >= 0.
        values_hi: shape (n,), >= values_lo; +inf gives an open upper end.

    Returns:
        The mean of the bounds; the sums are correctly rounded (``math.fsum``) and stepped.

    Raises:
        InputError: no values.
    """
    return Intervals(np.asarray(values_lo), np.asarray(values_hi)).mean()
