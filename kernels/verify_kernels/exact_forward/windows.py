"""Which entries each window of a convolution or a pooling reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
OUTSIDE = -1
"""The place of padding."""


def sliding(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilations: Sequence[int],
) -> Places:
    """Return the places (windows, entries of a window) in the flattened axes.

    Args:
        sizes: of the spatial axes.
        kernel: size of the window on each axis.
        strides: steps between windows.
        padding: (before, after) on each axis.
        dilations: distances between the entries of a window.
    """
    axes = []
    for size, k, stride, (before, after), d in zip(
        sizes, kernel, strides, padding, dilations, strict=True
    ):
        count = (size + before + after - (k - 1) * d - 1) // stride + 1
        starts = stride * np.arange(count)[:, None] - before
        found = starts + d * np.arange(k)[None, :]
        axes.append(np.where((found >= 0) & (found < size), found, OUTSIDE))
    return _joined(axes, sizes)


def adaptive(sizes: Sequence[int], wanted: Sequence[int]) -> Places:
    """Return the places of windows [floor(i s/w), ceil((i + 1) s/w)) on each axis."""
    axes = []
    for size, count in zip(sizes, wanted, strict=True):
        k = np.arange(count)
        first, past = (k * size) // count, -((-(k + 1) * size) // count)
        found = first[:, None] + np.arange(int((past - first).max()))[None, :]
        axes.append(np.where(found < past[:, None], found, OUTSIDE))
    return _joined(axes, sizes)


def _joined(axes: list[Places], sizes: Sequence[int]) -> Places:
    total = axes[0]
    for places, size in zip(axes[1:], sizes[1:], strict=True):
        left, right = total[:, None, :, None], places[None, :, None, :]
        inside = (left != OUTSIDE) & (right != OUTSIDE)
        both = np.where(inside, left * size + right, OUTSIDE)
        windows = total.shape[0] * places.shape[0]
        total = both.reshape(windows, total.shape[1] * places.shape[1])
    return total.astype(np.int64)


def repeated_inside(places: Places) -> Places:
    """Return the places with padding replaced by an entry of the same window."""
    first = places.max(axis=1, keepdims=True)  # every window of a pooling sees an entry
    return np.where(places == OUTSIDE, first, places)
