"""Convolutions as products with patches, and what they add to the radius."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from verify_kernels._rounding import Array, gamma, mul_up, norm_up, sqrt_up
from verify_kernels.forward import torus
from verify_kernels.forward.dense import (
    bound_norm,
    linear_state,
    may_overflow,
    scaled_rows,
    strip_for,
    underflow,
)
from verify_kernels.forward.radii import plus, root, row_norms, times
from verify_kernels.forward.state import Channels, State

PATCH_ENTRIES = 2**18
"""Entries of the patches that are held at once; they stay in a cache."""
TORUS_WORK = 2e8
"""Operations that a norm on the torus may take whatever the layer itself costs."""
SHARE = 0.1
"""Share of the operations of the layer that a norm on the torus may take."""


class ConvolutionMap:
    """A convolution over one or two axes with what every batch needs of it.

    One axis is treated as two, the first of size 1.

    Args:
        weight: shape (out, in/groups, *kernel).
        bias: shape (out,), or None.
        attributes: strides, padding, dilations, groups.
        backend: of norm proofs.
        xp: the array module of the pass.
        count: how many patches it is applied to; its norm may cost a fraction of that.
    """

    def __init__(
        self,
        weight: Array,
        bias: Array | None,
        attributes: Mapping[str, Any],
        backend: str,
        xp: Any,
        *,
        count: int = 0,
    ) -> None:
        """Compute norms of channels; the norm of the map waits until some input is inexact."""
        flat = weight.ndim == 3
        self.kernel = weight[:, :, None, :] if flat else weight
        self.strides, self.dilations, self.padding = (
            _two(attributes[name], default, flat)
            for name, default in (("strides", 1), ("dilations", 1), ("padding", (0, 0)))
        )
        self.flat, self.groups = flat, int(attributes["groups"])
        self.bias, self.backend, self.xp = bias, backend, xp
        self.count = count
        out, self.patch = len(weight), int(np.prod(weight.shape[1:]))
        self.matrices = xp.asarray(weight.reshape(self.groups, out // self.groups, self.patch))
        self.device_bias = None if bias is None else xp.asarray(bias)[:, None]
        self.rows = row_norms(weight)
        self.moduli = np.zeros(out) if bias is None else np.abs(bias)
        self.largest = float(np.max(np.abs(weight), initial=0.0))
        self.overlap = math.prod(
            overlap(k, s, d)
            for k, s, d in zip(self.kernel.shape[2:], self.strides, self.dilations, strict=True)
        )
        self._norms: dict[bytes, float] = {}

    def operator(self, scale: Array | None) -> float:
        """Return an upper bound of the norm of the map followed by a scaling of its channels.

        The smaller of two: the largest norm of a group's matrix of patches times the root of the
        number of patches that an entry lies in (the squared norms of the patches add up to at most
        that number times the squared norm of the sample), and the norm on the torus.
        """
        key = b"" if scale is None else scale.tobytes()
        if key not in self._norms:
            kernel, lost = scaled_rows(self.kernel, scale)
            reach = mul_up(sqrt_up(float(self.overlap)), lost)
            finite = bool(np.isfinite(kernel).all())
            self._norms[key] = float(plus(self._norm(kernel), reach)) if finite else math.inf
        return self._norms[key]

    def _norm(self, kernel: Array) -> float:
        grouped = kernel.reshape(self.groups, -1, *kernel.shape[1:])
        allowed = max(TORUS_WORK, SHARE * 2.0 * self.count * kernel.size)
        if self.overlap > 1 and torus.work(grouped.shape) <= allowed:
            on_torus = torus.bound_symbol(grouped)
            loosest = mul_up(sqrt_up(float(self.overlap)), norm_up(kernel))
            return min(on_torus, loosest)
        patches = max(
            bound_norm(
                each.reshape(len(each), -1), backend=self.backend, strip=strip_for(self.count)
            )
            for each in grouped
        )
        return mul_up(patches, sqrt_up(float(self.overlap)))

    def __call__(self, state: State) -> State:
        """Apply the convolution.

        Error bound:
            that of a product with patches: as for `dense.LinearMap` with k = (in/groups) times the
            size of the kernel, and sqrt(overlap) ||M_i|| in place of ||M_i||, because each patch
            holds entries of the padded sample once and each entry lies in at most ``overlap``
            patches; with groups ||W||_F stays, an upper bound of what each group needs.
        """
        sizes = state.norms(self.xp)
        mid = state.bounded_mid(self.xp)
        P = self._values(mid[:, :, None, :] if self.flat else mid)
        positions = int(np.prod(P.shape[2:]))
        return linear_state(
            P[:, :, 0, :] if self.flat else P,
            Channels(
                operator=self.operator,
                entering=state.rho,
                size=times(root(np.asarray(float(self.overlap))), sizes),
                weight=self.rows,
                bias=self.moduli,
                gamma=gamma(self.patch + 2),
                underflow=underflow(self.patch, sizes, self.largest),
                positions=positions,
                open=may_overflow(sizes, self.rows, self.moduli),
            ),
            state.why,
        )

    def _values(self, mid: Any) -> Any:
        """Return fl(K * M + b), shape (n, out, h, w)."""
        xp, (n, channels) = self.xp, mid.shape[:2]
        taps = self.kernel.shape[2:]
        h, w = (
            (size + sum(pad) - (k - 1) * d - 1) // s + 1
            for size, pad, k, s, d in zip(
                mid.shape[2:], self.padding, taps, self.strides, self.dilations, strict=True
            )
        )
        found = xp.empty((n, len(self.rows), h, w))
        grouped = found.reshape(n, self.groups, -1, h * w)
        batch = max(1, PATCH_ENTRIES // (channels * math.prod(taps) * h * w))
        direct = self.overlap == 1 == math.prod(taps) and not any(map(sum, self.padding))
        for first in range(0, n, batch):
            part = mid[first : first + batch]
            if direct:
                read = part[:, :, :: self.strides[0], :: self.strides[1]]
            else:
                read = patches(part, taps, self.strides, self.dilations, self.padding, (h, w), xp)
            columns = read.reshape(len(part), self.groups, self.patch, h * w)
            xp.matmul(self.matrices, columns, out=grouped[first : first + batch])
            if self.device_bias is not None:
                found.reshape(n, -1, h * w)[first : first + batch] += self.device_bias
        return found


def overlap(size: int, stride: int, dilation: int) -> int:
    """Return in how many windows along an axis an entry lies at most.

    Window p holds the entries s p + d t, 0 <= t < k: for one entry, t is fixed modulo s/gcd(s, d).
    """
    return math.ceil(size / (stride // math.gcd(stride, dilation)))


def patches(
    mid: Any,
    taps: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    out: tuple[int, int],
    xp: Any,
) -> Any:
    """Return the entries under every window, shape (n, channels, k1, k2, h, w); exact."""
    n, channels, height, width = mid.shape
    (top, bottom), (left, right) = padding
    if top or bottom or left or right:
        padded = xp.zeros((n, channels, height + top + bottom, width + left + right))
        padded[:, :, top : top + height, left : left + width] = mid
    else:
        padded = mid
    h, w = out
    found = xp.empty((n, channels, *taps, h, w))
    for i in range(taps[0]):
        for j in range(taps[1]):
            y, x = i * dilations[0], j * dilations[1]
            found[:, :, i, j] = padded[
                :,
                :,
                y : y + (h - 1) * strides[0] + 1 : strides[0],
                x : x + (w - 1) * strides[1] + 1 : strides[1],
            ]
    return found


def _two(given: Any, default: Any, flat: bool) -> Any:
    listed = tuple(tuple(each) if isinstance(each, tuple | list) else int(each) for each in given)
    return (default, *listed) if flat else listed
