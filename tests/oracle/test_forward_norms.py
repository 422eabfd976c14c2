"""Norms of convolutions and layers: no lower bound of the true norm lies above what is claimed."""

import math
import os
import time

import flint
import numpy as np
import pytest
from flint import arb

from verify_kernels.forward import torus
from verify_kernels.forward.convolution import ConvolutionMap, overlap
from verify_kernels.forward.dense import bound_norm

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"


def _matrix(kernel, shape, strides, padding, dilations, groups):
    """Return the convolution as a matrix, entry by entry."""
    o, c, k1, k2 = kernel.shape
    channels, height, width = shape
    h, w = (
        (size + sum(pad) - (k - 1) * d - 1) // s + 1
        for size, pad, k, s, d in zip(shape[1:], padding, (k1, k2), strides, dilations, strict=True)
    )
    found = np.zeros((o, h, w, channels, height, width))
    for j, p, q, i, a, b in np.ndindex(o, h, w, c, k1, k2):
        y = p * strides[0] + a * dilations[0] - padding[0][0]
        x = q * strides[1] + b * dilations[1] - padding[1][0]
        if 0 <= y < height and 0 <= x < width:
            found[j, p, q, (j // (o // groups)) * c + i, y, x] += kernel[j, i, a, b]
    return found.reshape(o * h * w, -1)


def _exceeds(matrix, bound):
    """Whether ||A v|| > bound ||v|| for certain, v near the leading singular vector."""
    _, _, turned = np.linalg.svd(matrix)
    v = [arb(float(x)) for x in turned[0]]
    with flint.ctx.workprec(150):
        moved = flint.arb_mat([[arb(float(x)) for x in row] for row in matrix])
        image = moved * flint.arb_mat([[x] for x in v])
        top = sum((x * x for x in image.entries()), arb(0))
        length = sum((x * x for x in v), arb(0))
        return bool(top > arb(bound) ** 2 * length)


def _draw(seed):
    draw = np.random.default_rng(seed)
    groups = int(draw.choice([1, 1, 2]))
    o, c = groups * int(draw.integers(1, 4)), int(draw.integers(1, 4))
    taps = tuple(int(k) for k in draw.integers(1, 5, 2))
    strides = tuple(int(s) for s in draw.integers(1, 4, 2))
    dilations = tuple(int(d) for d in draw.integers(1, 3, 2))
    padding = tuple(tuple(int(p) for p in draw.integers(0, 3, 2)) for _ in range(2))
    shape = (c * groups, *(int(s) for s in draw.integers(8, 11, 2)))
    kernel = draw.standard_normal((o, c, *taps))
    if draw.random() < 0.5:  # all of one sign: the norm is reached at frequency 0
        kernel = np.abs(kernel)
    return kernel * 2.0 ** int(draw.integers(-300, 300)), shape, strides, padding, dilations, groups


@pytest.mark.soundness
def test_random_convolutions():
    count, start, close = 300 if FULL else 24, time.perf_counter(), 0
    for seed in range(count):
        kernel, shape, strides, padding, dilations, groups = _draw(seed)
        given = {"strides": strides, "padding": padding, "dilations": dilations, "groups": groups}
        made = ConvolutionMap(kernel, None, given, "auto", np)
        matrix = _matrix(kernel, shape, strides, padding, dilations, groups)
        grouped = kernel.reshape(groups, -1, *kernel.shape[1:])
        norm = float(np.linalg.norm(matrix, 2))
        for bound in (made.operator(None), torus.bound_symbol(grouped)):
            # only a bound near the norm of this matrix can be exceeded
            close += bound < 1.1 * norm
            assert bound > 1.5 * norm or not _exceeds(matrix, bound), seed
        scale = np.random.default_rng(seed).uniform(0.1, 3.0, len(kernel))
        rows = np.repeat(scale, len(matrix) // len(scale))[:, None]
        assert not np.linalg.norm(rows * matrix, 2) > made.operator(scale) * (1.0 + 1e-10), seed
    seconds = time.perf_counter() - start
    print(f"campaign norms of convolutions: {count} cases, seed 0, {seconds:.1f} s, 0 wrong; "
          f"{close} bounds within 10 % of the norm")  # fmt: skip
    assert close > count // 10


def _peak(kernel, theta):
    """Enclose |F(theta)| of a kernel of one channel and one axis."""
    with flint.ctx.workprec(150):
        parts = [
            sum((arb(float(k)) * turn(arb(t) * theta) for t, k in enumerate(kernel)), arb(0))
            for turn in (arb.cos, arb.sin)
        ]
        return (parts[0] ** 2 + parts[1] ** 2).sqrt()


@pytest.mark.parametrize("step", [1, 3, 5])
def test_peaks_between_the_points_of_the_grid(monkeypatch, step):
    # a = 1, c = -1/2, b = 4 cos(theta): |F|^2 is largest at theta, in the middle of two points
    theta = math.pi * step / 12
    kernel = np.array([1.0, 4.0 * math.cos(theta), -0.5])
    peak, shaped = _peak(kernel, arb(theta)), kernel.reshape(1, 1, 1, 1, 3)
    assert not peak > arb(torus.bound_symbol(shaped))
    assert not peak > arb(torus.bound_symbol(shaped.transpose(0, 1, 2, 4, 3)))
    monkeypatch.setattr(torus, "grid_factor", lambda k1, k2: 1.0)
    assert peak > arb(torus.bound_symbol(shaped))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
def test_differences_of_ends(size):
    """A kernel (1, 0, ..., 0, -1) has |F| = 2 |sin((k - 1) theta/2)|, peaks on the grid."""
    kernel = np.zeros(size)
    kernel[0], kernel[-1] = 1.0, -1.0
    shaped = kernel.reshape(1, 1, 1, 1, size)
    bound = torus.bound_symbol(shaped)
    assert bound >= 2.0
    assert bound < 2.0 * 1.04  # 1/cos(pi/12) = 1.0353 is what the grid costs


def test_the_grid_factor_is_a_lower_bound():
    with flint.ctx.workprec(150):
        cosine = (arb.pi() / 12).cos()
        assert arb(torus.COSINE) < cosine
        assert not arb(torus.grid_factor(3, 5)) > cosine**2
        assert torus.grid_factor(1, 1) == 1.0


@pytest.mark.parametrize("scale", [2.0**-1060, 2.0**-1000, 1.0, 2.0**1000])
def test_symbols_at_the_ends_of_the_range(scale):
    kernel = np.random.default_rng(5).integers(-4, 5, (1, 3, 2, 3, 3)) * scale
    bound = torus.bound_symbol(kernel)
    matrix = _matrix(kernel[0] / scale, (2, 9, 9), (1, 1), ((1, 1),) * 2, (1, 1), 1)
    assert not np.linalg.norm(matrix, 2) > bound / scale * (1.0 + 1e-10)
    assert bound / scale < 1.5 * float(np.linalg.norm(matrix, 2))
    assert torus.bound_symbol(np.zeros((1, 2, 2, 3, 3))) == 0.0


@pytest.mark.parametrize("entry", [1.0 / 3.0, 0.1, 0.7])
def test_symbols_whose_bound_is_tight(monkeypatch, entry):
    # one point of the grid, rank one: nothing but rounding lies above the norm
    kernel = np.full((1, 1, 7, 1, 1), entry)
    with flint.ctx.workprec(150):
        exact = arb(entry) * arb(7).sqrt()
        bound = torus.bound_symbol(kernel)
        assert not exact > arb(bound)
        assert not arb(bound) > exact * (1 + arb(2) ** -30)
        monkeypatch.setattr(torus, "norm_up", lambda values: 0.0)
        monkeypatch.setattr(torus, "gamma", lambda k: 0.0)
        monkeypatch.setattr(torus, "tau", lambda *given: 0.0)
        assert torus.bound_symbol(kernel) < bound


@pytest.mark.parametrize("entries", [1, 20, 100])
@pytest.mark.parametrize("shape", [(1, 3, 3, 3, 3), (2, 2, 2, 1, 4), (1, 1, 1, 5, 2)])
def test_symbols_in_small_chunks(monkeypatch, shape, entries):
    # a layer of 512 channels does not fit into one chunk; the peaks lie at 0, at pi and between
    monkeypatch.setattr(torus, "CHUNK", entries)
    size = float(shape[1] * shape[3] * shape[4])
    turns = np.add.outer(np.arange(shape[3]), np.arange(shape[4]))
    for signs in (np.ones(turns.shape), (-1.0) ** turns):
        assert size <= torus.bound_symbol(np.ones(shape) * signs) < 1.08 * 9.0 ** (1 / 64) * size
    between = np.where(turns % 4 < 2, 1.0, -1.0) * np.where(turns % 2 == 0, 1.0, 0.0)
    whole = float((between != 0.0).sum()) * shape[1]
    assert torus.bound_symbol(np.ones(shape) * between) >= whole


@pytest.mark.parametrize("given", [(3, 1, 1), (3, 2, 1), (5, 2, 2), (4, 3, 1), (6, 4, 2)])
def test_overlap(given):
    size, stride, dilation = given
    reads = np.zeros(200, dtype=int)
    for p in range(40):
        reads[p * stride + dilation * np.arange(size)] += 1
    assert reads.max() == overlap(size, stride, dilation)


@pytest.mark.parametrize("strip", [None, 16, 50])
@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (100, 100)])
def test_norms_of_layers(shape, strip):
    matrix = np.random.default_rng(6).standard_normal(shape)
    for given in (matrix, matrix * 2.0**-600, matrix + 5.0):
        bound = bound_norm(given, strip=strip)
        assert not _exceeds(given, bound)
        if abs(given[0, 0]) > 1e-100:  # squares that underflow widen
            assert bound <= 3.0 * float(np.linalg.norm(given, 2))


def test_convolution_by_the_cheap_bound_only(monkeypatch):
    monkeypatch.setattr("verify_kernels.forward.convolution.TORUS_WORK", 0.0)
    kernel, shape, strides, padding, dilations, groups = _draw(0)
    given = {"strides": strides, "padding": padding, "dilations": dilations, "groups": groups}
    made = ConvolutionMap(kernel, None, given, "auto", np)
    assert not _exceeds(_matrix(kernel, shape, strides, padding, dilations, groups),
                        made.operator(None))  # fmt: skip
    monkeypatch.setattr("verify_kernels.forward.convolution.overlap", lambda k, s, d: 1)
    patchwise = np.ones((1, 1, 3, 3))
    given = {"strides": (1, 1), "padding": ((1, 1),) * 2, "dilations": (1, 1), "groups": 1}
    made = ConvolutionMap(patchwise, None, given, "auto", np)
    matrix = _matrix(patchwise, (1, 8, 8), (1, 1), ((1, 1),) * 2, (1, 1), 1)
    assert _exceeds(matrix, made.operator(None))
