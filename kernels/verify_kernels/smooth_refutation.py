"""Two equilibria of a smooth layer for one bias, each in its own proved box.

If det(I - D W) < 0 for some D of slopes, a bias b exists at whose equilibrium the Jacobian is
negative, and others lie nearby or across a fold. Floats propose b and two equilibria; boxes in
which the Krawczyk operator contracts prove them, in binary64 or in balls of higher precision.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from typing import Any

import flint
import numpy as np
from flint import arb, arb_mat, fmpq, fmpq_mat

from verify.enclosure import Enclosure
from verify.evidence import Witness
from verify.network.activation import Activation
from verify_kernels import ball_activation
from verify_kernels._rounding import Array, float_down
from verify_kernels.equilibrium_proposal import functions
from verify_kernels.krawczyk import find_box
from verify_kernels.matrix import MatrixEnclosure, enclose_rational

_SATURATION = (2.0, 4.0, 8.0, 1.0, 16.0, 0.5)
_SMOOTH = ("tanh", "sigmoid", "softplus")
_BALL_WIDTH = 24  # beyond, boxes are tried in binary64 only
_BITS = (160, 400)

Pair = tuple[Array, Array, Array]  # b, z1, z2


def two_disjoint_equilibria(
    weight: MatrixEnclosure | Any,
    activation: Activation,
    *,
    bad: Witness | None = None,
    deadline: float = math.inf,
    tries: int = 24,
) -> Witness | None:
    """Return b and two disjoint boxes that hold one equilibrium each, or None if not found.

    Args:
        weight: W, shape (m, m), or an exact ``fmpq_mat``; the boxes hold for every W enclosed.
        activation: tanh, sigmoid or softplus; None for any other.
        bad: data ``index_set`` of a negative principal minor, where the search starts.
        deadline: a moment of ``time.monotonic()``.
        tries: how many negative determinants are followed.

    Returns:
        Kind ``two-enclosures``: b exact, ``z1_lo``, ``z1_hi``, ``z2_lo``, ``z2_hi`` exact.
    """
    if activation.name not in _SMOOTH:
        return None
    enclosed = weight if isinstance(weight, MatrixEnclosure) else enclose_rational(weight)
    if enclosed.shape[0] == 0:
        return None
    search = _Search(enclosed.mid, activation)
    if activation.name != "softplus" and enclosed.is_exact and enclosed.shape[0] <= _BALL_WIDTH:
        witness = _at_centre(enclosed, activation, search)
        if witness is not None:
            return witness
    with np.errstate(all="ignore"):
        for count, v in enumerate(search.negative_points(bad)):
            if count >= tries or time.monotonic() > deadline:
                return None
            witness = _first_proved(enclosed, activation, search.pairs(v), deadline)
            if witness is not None:
                return witness
    return None


def _first_proved(
    weight: MatrixEnclosure, activation: Activation, pairs: Iterator[Pair], deadline: float
) -> Witness | None:
    try:
        for pair in pairs:
            witness = _prove(weight, activation, *pair)
            if witness is not None or time.monotonic() > deadline:
                return witness
    except np.linalg.LinAlgError:  # an overflow in the search: this start shows nothing
        return None
    return None


class _Search:
    """Plain floats: nothing here is a proof."""

    def __init__(self, W: Array, activation: Activation) -> None:
        self.W, self.m, self.name = W, len(W), activation.name
        self.s, self.slope = functions(activation)
        self.scale = float_down(activation.parameters[0]) if activation.parameters else 1.0
        self.random = np.random.default_rng(11)

    def determinant(self, v: Array) -> float:
        sign, _ = np.linalg.slogdet(np.eye(self.m) - self.W * self.slope(v))
        return float(sign)

    def negative_points(self, bad: Witness | None) -> Iterator[Array]:
        """Yield pre-activations v whose Jacobian I - W D(v) has a negative determinant."""
        for subset in self._subsets(bad):
            inside = np.zeros(self.m, dtype=bool)
            inside[list(subset)] = True
            for level in _SATURATION:
                if self.name == "softplus":
                    v = np.where(inside, level, -level) / self.scale
                else:
                    side = np.where(self.random.random(self.m) < 0.5, -1.0, 1.0)
                    v = np.where(inside, 0.0, side * level)
                if self.determinant(v) < 0.0:
                    yield v
                    break

    def _subsets(self, bad: Witness | None) -> Iterator[tuple[int, ...]]:
        if bad is not None and bad.data.get("index_set"):
            yield tuple(int(i) for i in bad.data["index_set"])
        m = self.m
        if m <= 8:
            for size in range(1, m + 1):
                yield from combinations(range(m), size)
            return
        yield tuple(range(m))
        for _ in range(200):
            kept = np.flatnonzero(self.random.random(m) < self.random.uniform(0.2, 1.0))
            yield tuple(int(i) for i in kept)

    def pairs(self, v: Array) -> Iterator[Pair]:
        """Yield a bias and two equilibria for it, as Newton's iteration sees them."""
        b = v - self.W @ self.s(v)
        yield from self._distinct(b, [v, *self._neighbours(v)])
        for far in (v - 8.0 / self.scale, v + 8.0 / self.scale, np.where(v > 0, 2 * v, 2 * v - 6)):
            yield from self._fold(far, v)

    def _neighbours(self, v: Array) -> Iterator[Array]:
        """Points on both sides of v along the unstable direction, carried on by the flow."""
        b = v - self.W @ self.s(v)
        values, vectors = np.linalg.eig(self.W * self.slope(v))
        real = np.where(np.abs(values.imag) < 1e-9, values.real, -np.inf)
        k = int(np.argmax(real))
        direction = np.real(vectors[:, k])
        for reach in (0.1, 1.0, 5.0):
            for sign in (1.0, -1.0):
                x = v + sign * reach * direction
                for _ in range(200):
                    x = 0.7 * x + 0.3 * (self.W @ self.s(x) + b)
                yield x
                yield v + sign * reach * direction
        for _ in range(10):
            yield v + self.random.standard_normal(self.m) * 3.0

    def _fold(self, regular: Array, negative: Array) -> Iterator[Pair]:
        """Find the sign change of the determinant on a segment, and points on its two sides."""
        if self.determinant(regular) <= 0.0:
            return
        low, high = regular, negative
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.determinant(middle) > 0.0 else (low, middle)
        _, _, right = np.linalg.svd(np.eye(self.m) - self.W * self.slope(low))
        for reach in (1.0, 0.3, 0.1, 0.03, 0.01):
            one, two = low + reach * right[-1], low - reach * right[-1]
            b = 0.5 * (one - self.W @ self.s(one) + two - self.W @ self.s(two))
            yield from self._distinct(b, [one, two])

    def _distinct(self, b: Array, starts: list[Array]) -> Iterator[Pair]:
        found: list[Array] = []
        for start in starts:
            v = self._newton(b, start)
            if v is None:
                continue
            gap = [float(np.max(np.abs(v - w))) for w in found]
            if all(g > 1e-9 * (1.0 + float(np.max(np.abs(v)))) for g in gap):
                found.append(v)
                if len(found) >= 2:
                    yield b, self.s(found[-2]), self.s(found[-1])
                if len(found) == 4:
                    return

    def _newton(self, b: Array, v: Array) -> Array | None:
        """Solve v - W s(v) = b."""
        for _ in range(40):
            gap = v - self.W @ self.s(v) - b
            if not np.isfinite(gap).all():
                return None
            size = float(np.max(np.abs(gap)))
            if size <= 4e-16 * (1.0 + float(np.max(np.abs(v)))) * self.m:
                return v
            try:
                step = np.linalg.solve(np.eye(self.m) - self.W * self.slope(v), gap)
            except np.linalg.LinAlgError:
                return None
            for damping in (1.0, 0.5, 0.25, 0.1):
                new = v - damping * step
                if float(np.max(np.abs(new - self.W @ self.s(new) - b))) < size:
                    break
            else:
                return v if size <= 1e-11 * (1.0 + float(np.max(np.abs(v)))) else None
            v = new
        return None


Ends = list[tuple[Fraction, Fraction]]


def _prove(
    weight: MatrixEnclosure, activation: Activation, b: Array, z1: Array, z2: Array
) -> Witness | None:
    """Return the witness if both points have boxes, and the boxes are disjoint."""
    if not all(bool(np.isfinite(a).all()) for a in (b, z1, z2)):
        return None
    one = _box(weight, activation, b, z1)
    two = None if one is None else _box(weight, activation, b, z2)
    return _witness([Fraction(float(e)) for e in b], one, two)


def _witness(b: list[Fraction], one: Ends | None, two: Ends | None) -> Witness | None:
    if one is None or two is None:
        return None
    if not any(p[1] < q[0] or q[1] < p[0] for p, q in zip(one, two, strict=True)):
        return None
    data: dict[str, Any] = {"b": b}
    for name, ends in (("z1", one), ("z2", two)):
        data[f"{name}_lo"] = [lo for lo, _ in ends]
        data[f"{name}_hi"] = [hi for _, hi in ends]
    return Witness("two-enclosures", data)


def _at_centre(weight: MatrixEnclosure, activation: Activation, search: _Search) -> Witness | None:
    """Try the bias whose equilibrium has v = 0, where tanh and sigmoid are steepest.

    There b is rational, so that the two equilibria may be as close as a barely negative
    determinant makes them.
    """
    W, m = weight.rational(), weight.shape[0]
    rest = Fraction(1, 2) if activation.name == "sigmoid" else Fraction(0)
    image = W * fmpq_mat(m, 1, [fmpq(rest.numerator, rest.denominator)] * m)
    b = [-Fraction(int(image[i, 0].p), int(image[i, 0].q)) for i in range(m)]
    steep = search.slope(np.zeros(m))
    jacobian = np.eye(m) - search.W * steep
    if not np.isfinite(jacobian).all():
        return None
    _, values, right = np.linalg.svd(jacobian)
    if search.determinant(np.zeros(m)) > 0.0 and values[-1] > 1e-12 * values[0]:
        return None
    centre = [rest] * m
    for bits in _BITS:
        one = ball_box(W, activation, b, centre, bits=bits)
        for reach in (1.0, 0.1, 0.01):
            start = [rest + Fraction(float(reach * e)) for e in steep * right[-1]]
            witness = _witness(b, one, ball_box(W, activation, b, start, bits=bits))
            if witness is not None:
                return witness
    return None


def _box(weight: MatrixEnclosure, activation: Activation, b: Array, z: Array) -> Ends | None:
    box = find_box(weight, activation, b, z)
    if box is not None:
        pairs = zip(box.lower, box.upper, strict=True)
        return [(Fraction(float(lo)), Fraction(float(hi))) for lo, hi in pairs]
    if not weight.is_exact or len(z) > _BALL_WIDTH:
        return None
    for bits in _BITS:
        exact = [[Fraction(float(e)) for e in row] for row in (b, z)]
        found = ball_box(weight.rational(), activation, exact[0], exact[1], bits=bits)
        if found is not None:
            return found
    return None


def ball_box(
    W: Any, activation: Activation, b: list[Fraction], z: list[Fraction], *, bits: int
) -> Ends | None:
    """Return a tiny box around an equilibrium near z by Newton and Krawczyk steps in balls.

    Newton steps on midpoints propose a centre c with r about the size of its correction; then
    K = c - C F(c) + (I - C (I - [D] W)) (Z - c) in the interior of Z = c +- r proves exactly one
    equilibrium in Z. The centre is the middle of Z, so it lies in Z.
    """
    m = len(z)
    with flint.ctx.workprec(bits):
        exact = arb_mat(W)
        bias = arb_mat(m, 1, [arb(fmpq(e.numerator, e.denominator)) for e in b])
        centre = arb_mat(m, 1, [arb(fmpq(e.numerator, e.denominator)) for e in z]).mid()
        identity = arb_mat(m, m, [int(i == j) for i in range(m) for j in range(m)])
        last = None
        for _ in range(60):
            inverse, step = _newton_step(exact, activation, bias, centre, identity)
            if inverse is None:
                return None
            centre = (centre - step).mid()
            size = max(abs(step[i, 0]).upper() for i in range(m))
            if last is not None and not size < last:
                break
            last = size
        inverse, step = _newton_step(exact, activation, bias, centre, identity)
        if inverse is None:
            return None
        for factor in (4, 2**20, 2**40):
            radius = [factor * (abs(step[i, 0]).upper() + arb(2) ** (8 - bits)) for i in range(m)]
            around = arb_mat(m, 1, [arb(0, r.upper()) for r in radius])
            slopes = _slopes(activation, exact * (centre + around) + bias)
            image = centre - step + (identity - inverse * (identity - slopes * exact)) * around
            box = centre + around
            if all(box[i, 0].contains_interior(image[i, 0]) for i in range(m)):
                whole = [Enclosure.from_arb(box[i, 0]) for i in range(m)]
                return [(Fraction(e.lo), Fraction(e.hi)) for e in whole]
    return None


def _slopes(activation: Activation, v: Any) -> Any:
    m = v.nrows()
    found = [ball_activation.slope(activation, v[i, 0]) for i in range(m)]
    return arb_mat(m, m, [found[i] if i == j else arb(0) for i in range(m) for j in range(m)])


def _newton_step(W: Any, activation: Activation, bias: Any, centre: Any, identity: Any) -> Any:
    """Return an approximate inverse C of the Jacobian at an exact centre, and C F(centre)."""
    m = centre.nrows()
    v = W * centre + bias
    image = arb_mat(m, 1, [ball_activation.value(activation, v[i, 0]) for i in range(m)])
    try:
        inverse = (identity - _slopes(activation, v) * W).mid().inv().mid()
    except ZeroDivisionError:
        return None, None
    step = inverse * (centre - image)
    finite = all(step[i, 0].is_finite() for i in range(m))
    return (inverse, step) if finite else (None, None)
