"""Data of the experiments with the EE wrapper: two moons, a sine wave, handwritten digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify_conditions.datasets import loader

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Task:
    """Training and test samples.

    Args:
        name: for tables and file names.
        X, y: training samples, of the type that the model is fed.
        X_test, y_test: the others.
        loss: a name of the table of losses.
        outputs: of the network.
        preparation: what was done to the raw data.
    """

    name: str
    X: Any
    y: Any
    X_test: Any
    y_test: Any
    loss: str
    outputs: int
    preparation: str


def two_moons(n: int = 100) -> Task:
    """Return scikit-learn's two moons: two classes in the plane."""
    make = loader("make_moons")
    X, y = make(n, noise=0.15, random_state=0)
    X_test, y_test = make(1000, noise=0.15, random_state=1)
    told = f"{n} points of two interleaved half circles with noise 0.15"
    return Task("two moons", X, y, X_test, y_test, "cross-entropy", 2, told)


def sine_wave(n: int = 40) -> Task:
    """Return noisy samples of a sine on an interval; the test samples have no noise."""
    draw = np.random.default_rng(0)
    X = np.sort(draw.uniform(-1.0, 1.0, (n, 1)), axis=0)
    y = np.sin(5.0 * X) + 0.1 * draw.standard_normal((n, 1))
    X_test = np.linspace(-1.0, 1.0, 500)[:, None]
    told = f"{n} samples of sin(5 x) on [-1, 1] with noise 0.1"
    return Task("sine wave", X, y, X_test, np.sin(5.0 * X_test), "half-squares", 1, told)


def digits(n: int, *, images: bool) -> Task:
    """Return scikit-learn's 8 x 8 digits, n of them for training and the others for the test."""
    X, y = loader("load_digits")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    shape = (-1, 1, 8, 8) if images else (-1, 64)
    pixels = (np.asarray(X, dtype=np.float32) / np.float32(16)).reshape(shape)[order]
    labels = np.asarray(y)[order]
    told = f"{n} of {len(X)} digits for training, pixels divided by 16 (exact)"
    return Task("digits", pixels[:n], labels[:n], pixels[n:], labels[n:], "cross-entropy", 10, told)
