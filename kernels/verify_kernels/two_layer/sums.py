"""The sums over data and outer weights that the constants of a two-layer risk are made of.

Every result is an enclosure. Small data (n d up to 20,000) are summed in rational arithmetic, to
about 120 bits; larger ones in floats with directed rounding, to about (d / 256 + 260) u.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels._rounding import down_array, float_down, float_up, up_array
from verify_kernels.two_layer.exact_moments import integer_rows
from verify_kernels.two_layer.intervals import Intervals, rational
from verify_kernels.two_layer.moments import row_squares
from verify_kernels.two_layer.samples import Samples

EXACT_ENTRIES = 20_000
ZERO = Enclosure.exact(0)


@dataclass(frozen=True, eq=False)
class DataSums:
    """Sums over the samples (x_i, y_i), i = 1..n, each made when first asked for.

    Args:
        X: shape (n, d), n >= 1, any dtype that embeds in binary64.
        y: labels, shape (n,), likewise.
        augmented: whether x_i means (x_i, 1), as for regularised inner biases.
        exact: rational arithmetic or floats; None chooses by size.

    Raises:
        InputError: as for `Samples`, or labels that do not fit.
    """

    X: Any
    y: Any
    augmented: bool = False
    exact: bool | None = None

    def __post_init__(self) -> None:
        labels = np.asarray(self.y)
        if labels.shape != (self.samples.n,):
            raise InputError(
                f"DataSums: expected labels of shape ({self.samples.n},), but got {labels.shape}"
            )
        if self.exact is None:
            small = self.samples.n * max(1, self.samples.d) <= EXACT_ENTRIES
            object.__setattr__(self, "exact", small)
        Samples(labels[:, None])  # refuses what is not finite

    @cached_property
    def samples(self) -> Samples:
        """The inputs, checked."""
        return self.X if isinstance(self.X, Samples) else Samples(self.X, self.augmented)

    @cached_property
    def squared_norms(self) -> Intervals:
        """||x_i||^2."""
        if not self.exact:
            return row_squares(self.samples)
        rows, shift = integer_rows(self.samples)
        unit = Fraction(1, 1 << (2 * shift))
        squares = rational([sum(x * x for x in row) * unit for row in rows])
        return Intervals(squares, squares)

    @cached_property
    def norms(self) -> Intervals:
        """||x_i||."""
        return self.squared_norms.root()

    @cached_property
    def labels(self) -> Any:
        """y_i, as Fractions or floats."""
        if self.exact:
            return rational([Fraction(value.item()) for value in np.asarray(self.y)])
        return np.asarray(self.y).astype(np.float64)

    @cached_property
    def absolute_labels(self) -> Intervals:
        """|y_i|."""
        return Intervals(abs(self.labels), abs(self.labels))

    def signed_part(self, sign: int) -> Intervals:
        """(y_i)_+ for sign +1, (-y_i)_+ for sign -1."""
        part = np.maximum(self.labels * sign, self.labels * 0)
        return Intervals(part, part)

    @cached_property
    def mean_norm(self) -> Enclosure:
        """Mean of ||x_i||."""
        return self.norms.mean()

    @cached_property
    def mean_squared_norm(self) -> Enclosure:
        """Mean of ||x_i||^2."""
        return self.squared_norms.mean()

    @cached_property
    def mean_cubed_norm(self) -> Enclosure:
        """Mean of ||x_i||^3."""
        return (self.squared_norms * self.norms).mean()

    @cached_property
    def max_norm(self) -> Enclosure:
        """The largest ||x_i||."""
        return self.norms.maximum()

    @cached_property
    def mean_squared_label(self) -> Enclosure:
        """Mean of y_i^2."""
        return (self.absolute_labels * self.absolute_labels).mean()

    @cached_property
    def max_label(self) -> Enclosure:
        """The largest |y_i|."""
        return self.absolute_labels.maximum()

    @cached_property
    def mean_squared_norm_label(self) -> Enclosure:
        """Mean of ||x_i||^2 |y_i|."""
        return (self.squared_norms * self.absolute_labels).mean()

    def mean_shifted_label_squared(self, shift: Enclosure) -> Enclosure:
        """Mean of (|y_i| + k)^2 for k >= 0."""
        raised = self.absolute_labels.shifted(shift)
        return (raised * raised).mean()

    def farthest(self, low: Enclosure, high: Enclosure) -> Intervals:
        """max(|y_i - e|, |y_i - f|) for e <= f enclosed by ``low`` and ``high``."""
        return farthest(self.labels, low, high)

    def mean_farthest_squared(self, low: Enclosure, high: Enclosure) -> Enclosure:
        """Mean of max(|y_i - e|, |y_i - f|)^2."""
        distance = self.farthest(low, high)
        return (distance * distance).mean()

    def residuals(self, low: Enclosure, high: Enclosure) -> ResidualSums:
        """The sums with R_i = max(|y_i - u_min|, |y_i - u_max|)."""
        return ResidualSums(self, self.farthest(low, high))


@dataclass(frozen=True, eq=False)
class ResidualSums:
    """Sums with bounds R_i of the residuals."""

    data: DataSums
    R: Intervals

    @cached_property
    def mean(self) -> Enclosure:
        """Mean of R_i."""
        return self.R.mean()

    @cached_property
    def mean_squared(self) -> Enclosure:
        """Mean of R_i^2."""
        return (self.R * self.R).mean()

    @cached_property
    def mean_norm(self) -> Enclosure:
        """Mean of R_i ||x_i||."""
        return (self.R * self.data.norms).mean()

    @cached_property
    def mean_squared_norm(self) -> Enclosure:
        """Mean of R_i ||x_i||^2."""
        return (self.R * self.data.squared_norms).mean()

    @cached_property
    def largest(self) -> Enclosure:
        """The largest R_i."""
        return self.R.maximum()


def farthest(labels: Any, low: Enclosure, high: Enclosure) -> Intervals:
    """Enclose max(|y_i - e|, |y_i - f|) = max(y_i - e, f - y_i) for e <= f.

    Args:
        labels: Fractions (dtype object) or floats, shape (n,).
        low: encloses e.
        high: encloses f.

    Raises:
        InputError: e > f.
    """
    if low.lo > high.hi:
        raise InputError(f"farthest: expected e <= f, but got {low!r} and {high!r}")
    if labels.dtype == object and low.is_bounded and high.is_bounded:
        lo = [max(y - low.hi, high.lo - y, Fraction(0)) for y in labels]
        hi = [max(y - low.lo, high.hi - y, Fraction(0)) for y in labels]
        return Intervals(rational(lo), rational(hi))
    y_lo, y_hi = labels, labels
    if labels.dtype == object:
        y_lo = np.array([float_down(y) for y in labels])
        y_hi = np.array([float_up(y) for y in labels])
    with np.errstate(all="ignore"):
        below = np.maximum(y_lo - low.hi_float, high.lo_float - y_hi)
        above = np.maximum(y_hi - low.lo_float, high.hi_float - y_lo)
    return Intervals(np.maximum(down_array(below), 0.0), np.maximum(up_array(above), 0.0))


def residual_bounds(
    a: ArrayLike, y: ArrayLike, m: Enclosure, M: Enclosure, *, shift: Enclosure = ZERO
) -> tuple[Any, Any]:
    """Enclose R_i = max(|y_i - u_min|, |y_i - u_max|) for an activation with values in [m, M].

    Args:
        a: outer weights, shape (p,).
        y: labels, shape (n,).
        m: encloses the infimum of the activation.
        M: encloses the supremum.
        shift: a frozen outer bias.

    Returns:
        (lo, hi), shape (n,): Fractions up to n = 20,000, floats beyond; hi is +inf where the
        activation is unbounded.
    """
    outer = OuterSums(a)
    low, high = outer.range(m, M, shift=shift)
    labels = np.asarray(y)
    if labels.size <= EXACT_ENTRIES:
        labels = rational([Fraction(value.item()) for value in labels])
    return farthest(labels, low, high).bounds()


@dataclass(frozen=True, eq=False)
class OuterSums:
    """Sums over the outer weights a_j, exact but for roots.

    Raises:
        InputError: not a vector of finite numbers.
    """

    a: Any

    def __post_init__(self) -> None:
        given = np.asarray(self.a)
        if given.ndim != 1:
            raise InputError(f"OuterSums: expected a of shape (p,), but got {given.shape}")
        Samples(given[None, :])

    @cached_property
    def _exact(self) -> list[Fraction]:
        return [Fraction(value.item()) for value in np.asarray(self.a)]

    @cached_property
    def positive(self) -> Enclosure:
        """Sum of the positive a_j."""
        return Enclosure.exact(_total([max(value, Fraction(0)) for value in self._exact]))

    @cached_property
    def negative(self) -> Enclosure:
        """Sum of the negative a_j, <= 0."""
        return Enclosure.exact(_total([min(value, Fraction(0)) for value in self._exact]))

    @cached_property
    def l1(self) -> Enclosure:
        """||a||_1."""
        return Enclosure.exact(_total([abs(value) for value in self._exact]))

    @cached_property
    def l2_squared(self) -> Enclosure:
        """||a||_2^2."""
        return Enclosure.exact(_total([value * value for value in self._exact]))

    @cached_property
    def l2(self) -> Enclosure:
        """||a||_2."""
        square = rational([self.l2_squared.lo])
        return Intervals(square, square).root().maximum()

    @cached_property
    def linf(self) -> Enclosure:
        """||a||_inf."""
        return Enclosure.exact(max((abs(value) for value in self._exact), default=Fraction(0)))

    @property
    def nonzero(self) -> int:
        """How many a_j are not zero."""
        return sum(value != 0 for value in self._exact)

    def range(
        self, m: Enclosure, M: Enclosure, *, shift: Enclosure = ZERO
    ) -> tuple[Enclosure, Enclosure]:
        """Enclose sum_j min(a_j m, a_j M) + shift and sum_j max(a_j m, a_j M) + shift."""
        plus, minus = self.positive, self.negative
        low = _add(_multiply(plus, m), _multiply(minus, M), shift)
        return low, _add(_multiply(plus, M), _multiply(minus, m), shift)


def _total(values: list[Fraction]) -> Fraction:
    """Add dyadic numbers over their common denominator."""
    common = max((value.denominator for value in values), default=1)
    return Fraction(
        sum(value.numerator * (common // value.denominator) for value in values), common
    )


def _multiply(weight: Enclosure, value: Enclosure) -> Enclosure:
    """Multiply an exact weight by a number."""
    w = weight.lo
    if w == 0:
        return ZERO
    ends = [w * end for end in (value.lo, value.hi)]
    return Enclosure(min(ends), max(ends))


def _add(*terms: Enclosure) -> Enclosure:
    lo, hi = sum(term.lo for term in terms), sum(term.hi for term in terms)
    return Enclosure(lo, hi)
