"""Linear layers: one product, and what it adds to the radius."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from verify_kernels._rounding import OMEGA, Array, U, gamma, norm_up
from verify_kernels.forward.radii import moved, plus, root, row_norms, times
from verify_kernels.forward.state import Channels, Entrywise, State
from verify_kernels.lanczos import approximate_leading_pair
from verify_kernels.spectral_norm import proves_norm_at_most

# A proof costs a symmetric product and a Cholesky factorisation, whatever the claim.
CLAIMS = (1.03, 1.1, 1.5)
LEAST_STRIP = 256


def bound_norm(matrix: Array, *, backend: str = "auto", strip: int | None = None) -> float:
    """Bound ||W||_2 from above: the Frobenius norm, or a proved claim little above an estimate.

    Args:
        matrix: W, finite.
        backend: of the proof.
        strip: cut the shorter side of W into strips of this size: ||W||_2^2 <= sum ||W_s||_2^2
            costs strip/side of the whole proof, and loses a factor of at most
            sqrt(side/strip), less where the largest singular values stand out.
    """
    side = min(matrix.shape)
    if strip is not None and side > 1.5 * strip:
        axis = 0 if len(matrix) == side else 1
        parts = np.array_split(matrix, math.ceil(side / strip), axis=axis)
        norms = [bound_norm(part, backend=backend) for part in parts]
        return min(norm_up(matrix), norm_up(np.array(norms)))
    best = norm_up(matrix)

    def multiply(v: Array) -> Array:
        return np.asarray(short @ (short.T @ v))

    short = matrix if len(matrix) == side else matrix.T
    with np.errstate(all="ignore"):
        theta, _ = approximate_leading_pair(multiply, side, basis=10, restarts=1)
        estimate = math.sqrt(theta) if theta > 0.0 else math.nan
    for claim in (estimate * step for step in CLAIMS):
        if not claim < best:
            break
        if proves_norm_at_most(matrix, claim, backend=backend):
            return claim
    return best


def strip_for(count: int) -> int:
    """Return the strip with which a norm costs little beside the product with so many rows."""
    return max(LEAST_STRIP, count // 8)


def scaled_rows(matrix: Array, scale: Array | None) -> tuple[Array, float]:
    """Return fl(diag(s) W) and an upper bound of its distance in the Frobenius norm."""
    if scale is None:
        return matrix, 0.0
    product = scale.reshape(-1, *(1,) * (matrix.ndim - 1)) * matrix
    lost = plus(times(2.0 * U, norm_up(product)), float(product.size) * OMEGA)
    return product, float(lost)


class LinearMap:
    """A weight matrix with what every batch needs of it.

    Args:
        weight: W, shape (m, k).
        bias: b, shape (m,), or None.
        backend: of norm proofs.
        xp: the array module of the pass.
        count: how many rows W is applied to; its norm may cost a fraction of that.
    """

    def __init__(
        self, weight: Array, bias: Array | None, backend: str, xp: Any, *, count: int = 0
    ) -> None:
        """Compute norms of rows; the norm of W itself waits until some input is inexact."""
        self.weight, self.bias, self.backend, self.xp = weight, bias, backend, xp
        self.strip = strip_for(count)
        self.transposed = xp.asarray(weight).T
        self.device_bias = None if bias is None else xp.asarray(bias)
        self.rows = row_norms(weight)
        self.moduli = np.zeros(len(weight)) if bias is None else np.abs(bias)
        self.largest = max(float(weight.max()), -float(weight.min()))
        self._norms: dict[bytes, float] = {}

    def operator(self, scale: Array | None) -> float:
        """Return an upper bound of ||diag(s) W||_2."""
        key = b"" if scale is None else scale.tobytes()
        if key not in self._norms:
            matrix, lost = scaled_rows(self.weight, scale)
            finite = bool(np.isfinite(matrix).all())
            self._norms[key] = math.inf
            if finite:
                bound = bound_norm(matrix, backend=self.backend, strip=self.strip)
                self._norms[key] = float(plus(bound, lost))
        return self._norms[key]

    def __call__(self, state: State) -> State:
        """Apply the layer to the last axis.

        Channels are told for a single position only, where the last axis is the first one too.

        Error bound:
            P = fl(fl(M W^T) + b); ||z_i - P_i||_2 <= S rho_i + gamma_{k+2}(||M_i||_F ||W||_F +
            sqrt(p) ||b||) + sqrt(p m) tau_k for p positions, S >= ||W||_2,
            tau_k = 4 k omega (1 + max|M_i| + max|W|), any order of summation, FMA allowed; for
            one position also |z_ij - P_ij| <= ||W_j||(rho_i + gamma_{k+2} ||M_i||) +
            gamma_{k+2}|b_j| + tau_k. Where ||M_i|| max_j ||W_j|| + max|b| may overflow: +inf.
        """
        (m, k), positions = self.weight.shape, state.size // self.weight.shape[1]
        mid = state.bounded_mid(self.xp)
        P = mid.reshape(-1, k) @ self.transposed
        if self.device_bias is not None:
            P += self.device_bias
        after = linear_state(
            P.reshape(len(mid), *state.shape[:-1], m),
            Channels(
                operator=self.operator,
                entering=state.rho,
                size=state.norms(self.xp),
                weight=self.rows,
                bias=self.moduli,
                gamma=gamma(k + 2),
                underflow=underflow(k, state.norms(self.xp), self.largest),
                positions=positions,
                open=may_overflow(state.norms(self.xp), self.rows, self.moduli),
            ),
            state.why,
        )
        if len(state.shape) > 1:
            after.channels = None
        return after


def underflow(k: int, sizes: Array, largest: float) -> Array:
    """Return tau_k of every sample, shape (n,)."""
    return times(4.0 * k * OMEGA, plus(sizes, 1.0, largest))


def may_overflow(sizes: Array, rows: Array, moduli: Array) -> Array:
    """Return for which samples a partial sum of M W^T + b may leave the range of binary64."""
    top = plus(times(sizes, float(np.max(rows))), float(np.max(moduli)))
    return ~np.isfinite(times(2.0, top))


def linear_state(P: Any, channels: Channels, why: str) -> State:
    """Return the state of a linear map from its parts."""
    rho = channel_radius(channels, None)
    entries = None
    if P.ndim == 2:
        g = channels.gamma
        reach = plus(channels.entering, times(g, channels.size))
        shift = np.where(channels.open, np.inf, channels.underflow)
        entries = Entrywise(reach, channels.weight, times(g, channels.bias), shift)
    return State(P, rho, True, entries, channels, why)


def channel_radius(channels: Channels, scale: Array | None) -> Array:
    """Return the radius of a linear map after its channels were scaled by s; see `Channels`."""
    weight, bias, top = channels.weight, channels.bias, 1.0
    if scale is not None:
        weight, bias = times(scale, weight), times(scale, bias)
        top = float(np.max(scale))
    # where every entry is exact, nothing has to be known about the norm of the map
    norm = channels.operator(scale) if channels.entering.any() else 0.0
    count = channels.positions * len(weight)
    terms = (
        moved(norm, channels.entering),
        times(channels.gamma, channels.size, _norm(weight)),
        times(channels.gamma, root(np.asarray(float(channels.positions))), _norm(bias)),
        times(root(np.asarray(float(count))), top, channels.underflow),
    )
    return np.where(channels.open, np.inf, plus(*terms))


def _norm(values: Array) -> float:
    return norm_up(values) if values.any() else 0.0
