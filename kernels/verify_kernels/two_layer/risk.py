"""The regularised risk of a two-layer network at one point, enclosed in floats, for large data.

Pre-activations and gradients are matrix products with a-priori error bounds, the activation and
its derivatives come from compiled interval code, sums over samples are correctly rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network.activation import Activation
from verify_kernels._rounding import (
    OMEGA,
    Array,
    U,
    add_up,
    down,
    exact_number,
    gamma,
    mul_up,
    norm_down,
    norm_up,
    sqrt_up,
    tau,
    up,
)
from verify_kernels.interval.kernel import IntervalKernel, interval_kernel
from verify_kernels.self_test import check_arithmetic
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.formulas import ROLES
from verify_kernels.two_layer.midrad import (
    RAISE,
    MidRad,
    added,
    enclose_sums,
    product_error,
    row_size,
    scaled,
)
from verify_kernels.two_layer.moments import block_squares
from verify_kernels.two_layer.samples import Samples

_LANES = 1 << 17  # entries of a block of pre-activations
_REFINED = 2000  # unbounded lanes of a block that are enclosed again in balls


@dataclass(frozen=True)
class RiskEnclosure:
    """Enclosures at one point, over all trained parameters theta.

    Args:
        value: f.
        gradient_norm_squared: ||grad f||^2.
        laplacian: the sum of the second derivatives.
        gradient_dot_weights: <grad f, theta>.
        data_gradient_dot_weights: <grad g, theta>, g = f without the penalties.
        largest_output: max_i |u_i|.
    """

    value: Enclosure
    gradient_norm_squared: Enclosure
    laplacian: Enclosure
    gradient_dot_weights: Enclosure
    data_gradient_dot_weights: Enclosure
    largest_output: Enclosure

    def v(self, s: Fraction | float | int) -> Enclosure:
        """Enclose V_s = ||grad f||^2 / s - Laplacian.

        Raises:
            InputError: s is not a number > 0.
        """
        exact = exact_number(s)
        if not (isinstance(exact, Fraction) and exact > 0):
            raise InputError(f"RiskEnclosure: expected s > 0, but got {s!r}")
        inverse = scaled(self.gradient_norm_squared, 1 / exact)
        if not self.laplacian.is_bounded:
            return Enclosure.unbounded()
        return added(inverse, Enclosure(-self.laplacian.hi, -self.laplacian.lo))


@np.errstate(all="ignore")
def enclose_risk(problem: Problem, point: Point) -> RiskEnclosure:
    """Enclose the risk, its gradient's norm and its Laplacian at one point.

    Args:
        problem: as for `ball_risk.evaluate`; X of any dtype that embeds in binary64, read in
            blocks; y, and the weights below, floats. For the logistic loss y = +-1.
        point: W (p, d), a (p,), b (p,) or None, c or None.

    Returns:
        Enclosures; unbounded where a number leaves binary64, or where the activation or its
        derivatives are not enclosed.

    Error bound:
        |fl(W x_i) - W x_i| <= gamma_d ||x_i|| ||w_j|| + tau_d; sigma, sigma', sigma'' on these
        intervals; sum_i D_ij x_i in Frobenius norm by sum_i (gamma_m ||D_i|| + ||rad D_i||)
        ||x_i||, m = rows of a block + blocks; radii of all else entrywise.

    Raises:
        InputError: shapes that do not fit, numbers that are not finite floats, labels other than
            +-1 for the logistic loss. BackendError: the machine does not compute as assumed.
    """
    check_arithmetic("numpy")
    work = _Work.of(problem, point)
    sums = _Sums(work)
    for first, block in work.samples.rows(work.rows, divided=False):
        sums.add(block, work.y[first : first + len(block)])
    return sums.result()


@dataclass(frozen=True, eq=False)
class _Work:
    """Checked inputs as float arrays."""

    samples: Samples
    y: Array
    W: Array
    a: Array
    b: Array | None
    c: float
    penalties: dict[str, Fraction]
    problem: Problem
    rows: int

    @classmethod
    def of(cls, problem: Problem, point: Point) -> _Work:
        samples = Samples(problem.X)
        W, a, y = _floats(point.W, "W", 2), _floats(point.a, "a", 1), _floats(problem.y, "y", 1)
        p, d = W.shape
        b = None if point.b is None else _floats(point.b, "b", 1)
        c = 0.0 if point.c is None else float(_floats(np.reshape(point.c, -1), "c", 1)[0])
        shapes = (samples.d, len(a), len(y), p if b is None else len(b))
        if shapes != (d, p, samples.n, p) or p == 0:
            raise InputError(
                f"enclose_risk: expected X (n, {d}), a ({p},), y (n,), b ({p},), p >= 1, "
                f"but got lengths {shapes}"
            )
        if problem.loss not in ("squared", "logistic") or "W" not in problem.penalties:
            raise InputError(
                f"enclose_risk: expected a squared or logistic loss and a trained W, "
                f"but got {problem.loss!r}, {sorted(problem.penalties)}"
            )
        if problem.loss == "logistic" and not (np.abs(y) == 1.0).all():
            raise InputError("enclose_risk: expected labels +1 and -1, but got others")
        penalties: dict[str, Fraction] = {}
        for role in ROLES:
            if role in problem.penalties:
                if getattr(point, role) is None:
                    raise InputError(
                        f"enclose_risk: expected weights of the trained {role!r}, but got None"
                    )
                penalties[role] = _penalty(problem.penalties[role])
        _penalty(problem.loss_scale)
        rows = max(64, min(2048, _LANES // p))
        return cls(samples, y, W, a, b, c, penalties, problem, rows)

    @property
    def rho(self) -> Fraction:
        """Loss scale over n."""
        return Fraction(self.problem.loss_scale) / self.samples.n

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.samples.n // self.rows)


def _penalty(given: Any) -> Fraction:
    value = exact_number(given)
    if not (isinstance(value, Fraction) and value >= 0):
        raise InputError(f"enclose_risk: expected penalties and a scale >= 0, but got {given!r}")
    return value


def _floats(values: Any, name: str, dimension: int) -> Array:
    given = np.asarray(values)
    if given.ndim != dimension or given.dtype.kind not in "fiub":
        raise InputError(
            f"enclose_risk: expected {name} as floats of dimension {dimension}, "
            f"but got {given.dtype} of shape {given.shape}"
        )
    Samples(given.reshape(1, -1))  # refuses what is not finite or does not embed
    return np.ascontiguousarray(given, dtype=np.float64)


class _Sums:
    """What is added up over the blocks."""

    def __init__(self, work: _Work) -> None:
        self.work = work
        p, d = work.W.shape
        self.gradients = {
            role: np.zeros({"W": (p, d), "c": (1,)}.get(role, (p,))) for role in work.penalties
        }
        self.error = 0.0
        self.losses: list[Enclosure] = []
        self.laplacians: list[Enclosure] = []
        self.outputs: list[Enclosure] = []
        self.w_sizes = row_size(work.W)
        self.w_top = float(np.abs(work.W).max(initial=0.0))

    def add(self, X: Array, y: Array) -> None:
        """Add one block of samples."""
        work = self.work
        squares = MidRad.between(*block_squares(X))
        lengths = np.sqrt(squares.ends()[1]) * RAISE
        s0, s1, s2 = self._activations(X, lengths)
        u = s0.dot(work.a)
        if work.c != 0.0:
            u = u + MidRad.exact(np.full(len(y), work.c))
        self.outputs.append(u.largest_modulus())
        l0, l1, l2 = _losses(work.problem.loss, u, y)
        self.losses.append(l0.total())
        slopes = s1.times(work.a)
        reach = squares
        if "b" in work.penalties:
            reach = squares + MidRad.exact(np.ones(len(y)))
        bend = l1 * reach * s2.dot(work.a)
        steep = reach * slopes.square_sums()
        if "a" in work.penalties:
            steep = steep + s0.square_sums()
        if "c" in work.penalties:
            steep = steep + MidRad.exact(np.ones(len(y)))
        self.laplacians.append((l2 * steep + bend).total())
        column = MidRad(l1.mid[:, None], l1.rad[:, None])
        back = MidRad(slopes.mid, slopes.rad) * column
        self._add_gradient("W", back, X, lengths)
        ones = np.ones(len(y))
        if "b" in work.penalties:
            self._add_gradient("b", back, None, ones)
        if "a" in work.penalties:
            self._add_gradient("a", s0 * column, None, ones)
        if "c" in work.penalties:
            self._add_gradient("c", column, None, ones)

    def _activations(self, X: Array, lengths: Array) -> tuple[MidRad, MidRad, MidRad]:
        work = self.work
        d = X.shape[1]
        z = X @ work.W.T
        under = tau(d, float(np.abs(X).max(initial=0.0)), self.w_top)
        radius = np.multiply.outer(lengths * (gamma(d) * RAISE), self.w_sizes) * RAISE + under
        if work.b is not None:
            z = z + work.b
        lo, hi = MidRad(z, radius + 2.0 * U * np.abs(z)).ends()
        return _enclosed(work.problem.activation, lo, hi)

    def _add_gradient(self, role: str, D: MidRad, X: Array | None, lengths: Array) -> None:
        """Add sum_i D_i x_i^T, and bound its error in norm."""
        sizes, radii = D.row_sizes()
        total = self.gradients[role]
        top = float(np.abs(D.mid).max(initial=0.0))
        if X is None:
            total += D.mid.sum(axis=0)
            under = 0.0
        else:
            total += D.mid.T @ X
            largest = float(np.abs(X).max(initial=0.0))
            under = mul_up(sqrt_up(float(total.size)), tau(len(X), top, largest))
        slip = product_error(self.work.rows, self.work.blocks, sizes, radii, lengths)
        self.error = add_up(self.error, slip, under)

    def result(self) -> RiskEnclosure:
        """Combine the sums with the penalties."""
        work, rho = self.work, self.work.rho
        parts = {role: _weights(work, role) for role in work.penalties}
        squares = {role: _square_norm(part) for role, part in parts.items()}
        penalties = work.penalties
        decay = added(*(scaled(squares[role], penalties[role]) for role in penalties))
        value = added(scaled(added(*self.losses), rho), scaled(decay, Fraction(1, 2)))
        trace = sum((penalties[role] * part.size for role, part in parts.items()), Fraction(0))
        laplacian = added(scaled(added(*self.laplacians), rho), Enclosure.outward(trace, trace))
        dot = scaled(self._dot(parts), rho)
        top = max((e.hi for e in self.outputs), default=Fraction(0))
        low = max((e.lo for e in self.outputs), default=Fraction(0))
        return RiskEnclosure(
            value=value,
            gradient_norm_squared=self._norm_squared(parts),
            laplacian=laplacian,
            gradient_dot_weights=added(dot, decay),
            data_gradient_dot_weights=dot,
            largest_output=Enclosure(low, top),
        )

    def _dot(self, parts: dict[str, Array]) -> Enclosure:
        """Enclose sum <sum_i D_i x_i^T, theta>: error e ||theta|| and the rounded products."""
        length = norm_up(np.concatenate([part.ravel() for part in parts.values()]))
        products = np.concatenate(
            [(self.gradients[role] * part).ravel() for role, part in parts.items()]
        )
        slack = (2.0 * U * np.abs(products)) * RAISE + OMEGA
        found = enclose_sums(products - slack * RAISE - OMEGA, products + slack * RAISE + OMEGA)
        room = mul_up(self.error, length) if self.error and length else 0.0
        if not math.isfinite(room):
            return Enclosure.unbounded()
        return added(found, Enclosure(-room, room))

    def _norm_squared(self, parts: dict[str, Array]) -> Enclosure:
        """Enclose || rho G + penalty theta ||^2 through the norm of its rounded centre.

        fl(fl(rho) G) + fl(fl(penalty) theta) is within 4 u (|rho G| + |penalty theta|) + eta of
        the exact one; then the error of G.
        """
        rho = _near(self.work.rho)
        centres, slip = [], mul_up(up(rho * RAISE), self.error)
        for role, part in parts.items():
            penalty = _near(self.work.penalties[role])
            data, decay = rho * self.gradients[role], penalty * part
            centres.append((data + decay).ravel())
            size = add_up(norm_up(data), norm_up(decay))
            # factors below the normal range are known to eta only
            under = mul_up(OMEGA, add_up(norm_up(part), norm_up(self.gradients[role]), 8.0))
            under = mul_up(sqrt_up(float(part.size)), under)
            slip = add_up(slip, mul_up(8.0 * U, size), under)
        centre = np.concatenate(centres)
        high, low = add_up(norm_up(centre), slip), max(0.0, down(norm_down(centre) - slip))
        if not (math.isfinite(high) and math.isfinite(low)):
            return Enclosure(0, math.inf)
        return Enclosure.outward(Fraction(low) ** 2, Fraction(high) ** 2)


def _near(value: Fraction) -> float:
    """Return the nearest float; beyond binary64 an infinity, which makes the result unbounded."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _weights(work: _Work, role: str) -> Array:
    if role == "c":
        return np.array([work.c])
    found = getattr(work, role)
    return np.asarray(found, dtype=np.float64)


def _square_norm(part: Array) -> Enclosure:
    """Enclose sum v_i^2 with one rounding for each square."""
    squares = MidRad.exact(part.ravel()) * MidRad.exact(part.ravel())
    found = squares.total()
    if not found.is_bounded:
        return Enclosure(0, math.inf)
    return Enclosure(max(found.lo, Fraction(0)), found.hi)


def _losses(name: str, u: MidRad, y: Array) -> tuple[MidRad, MidRad, MidRad]:
    """Return l, l', l'' at u."""
    if name == "squared":
        r = u - MidRad.exact(y)
        return (r * r).times(np.array(0.5)), r, MidRad.exact(np.ones_like(y))
    lo, hi = u.times(-y).ends()
    l0, l1, l2 = _enclosed(Activation("softplus", (Fraction(1),)), lo[:, None], hi[:, None])
    return (
        MidRad(l0.mid[:, 0], l0.rad[:, 0]),
        MidRad(l1.mid[:, 0], l1.rad[:, 0]).times(-y),
        MidRad(l2.mid[:, 0], l2.rad[:, 0]),
    )


@lru_cache(maxsize=32)
def _kernel(activation: Activation) -> IntervalKernel:
    from verify.network.expression import variable

    return interval_kernel(activation.formula(), (variable(),), order=2)


def _enclosed(activation: Activation, lo: Array, hi: Array) -> tuple[MidRad, MidRad, MidRad]:
    """Enclose sigma, sigma', sigma'' on intervals; NaN ends count as the whole line."""
    kernel, shape = _kernel(activation), lo.shape
    low = np.where(np.isnan(lo), -np.inf, lo).ravel()
    high = np.where(np.isnan(hi), np.inf, hi).ravel()
    found = kernel(low, high)
    rows = _rows_of(found)
    open_lanes = np.flatnonzero(~np.isfinite(rows).all(axis=0))
    if 0 < open_lanes.size <= _REFINED:
        rows[:, open_lanes] = _rows_of(kernel(low[open_lanes], high[open_lanes], refine=True))
    s0, s1, s2 = (
        MidRad.between(rows[2 * k].reshape(shape), rows[2 * k + 1].reshape(shape)) for k in range(3)
    )
    return s0, s1, s2


def _rows_of(found: Any) -> Array:
    """Stack lower and upper ends of value, first and second derivative."""
    return np.stack(
        [
            found.lo,
            found.hi,
            found.gradient.lo[0],
            found.gradient.hi[0],
            found.hessian.lo[0, 0],
            found.hessian.hi[0, 0],
        ]
    )
