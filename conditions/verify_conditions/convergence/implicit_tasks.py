"""Few samples of two classes with inputs of unit norm: real data, and Gaussian directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.errors import InputError
from verify.network import Data
from verify_conditions.datasets import loader

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Task:
    """Inputs X (n, d) and labels y (n,), +1 or -1.

    Args:
        name: short, for tables and file names.
        X: inputs, of unit norm up to rounding.
        y: labels.
        preparation: what was done to the raw data, exactly.
    """

    name: str
    X: Array
    y: Array
    preparation: str

    def __post_init__(self) -> None:
        fits = self.X.ndim == 2 and self.X.size and self.y.shape == (len(self.X),)
        if not fits or not np.isfinite(self.X).all() or not (abs(self.y) == 1.0).all():
            raise InputError(
                f"Task: expected finite X (n, d) and y (n,) of +1 and -1, but got shapes "
                f"{self.X.shape} and {self.y.shape}"
            )

    @property
    def data(self) -> Data:
        """The samples as a condition reads them."""
        return Data(self.X, self.y)


def gaussian(n: int, d: int, *, seed: int) -> Task:
    """Draw inputs uniformly from the unit sphere and labels as fair coins."""
    rng = np.random.default_rng((seed, n, d))
    X = rng.standard_normal((n, d))
    y = np.where(rng.random(n) < 0.5, -1.0, 1.0)
    return Task(
        f"sphere {n} x {d}",
        _unit(X),
        y,
        f"directions of Gaussian vectors, coin labels, seed {seed}",
    )


def real(name: str, n: int, *, classes: tuple[int, int] = (0, 1)) -> Task:
    """Return n samples of two classes of one of scikit-learn's bundled data sets.

    Of each class every k-th sample in stored order is taken, k as large as possible, (n + 1) // 2
    of the first class, labelled -1, and n // 2 of the second, labelled +1.

    Args:
        name: ``iris``, ``wine``, ``breast_cancer`` or ``digits``.
        n: number of samples.
        classes: of the data set.

    Raises:
        InputError: scikit-learn is not installed, or a class has too few samples.
    """
    images = name == "digits"
    raw, labels = _load(name)
    centred = raw - raw.mean(axis=0)
    features = centred if images else centred / raw.std(axis=0)
    chosen = []
    for label, wanted in zip(classes, ((n + 1) // 2, n // 2), strict=True):
        places = np.flatnonzero(labels == label)
        if not 0 < wanted <= len(places):
            raise InputError(
                f"real: expected up to {len(places)} samples of class {label} of {name}, "
                f"but got {wanted}"
            )
        chosen.append(places[:: len(places) // wanted][:wanted])
    signs = np.repeat([-1.0, 1.0], [len(part) for part in chosen])
    scaled = "minus the mean image" if images else "every feature standardised over all samples"
    return Task(
        name.replace("_", " "),
        _unit(features[np.concatenate(chosen)]),
        signs,
        f"classes {classes[0]} and {classes[1]}, {scaled}, each input scaled to unit norm",
    )


def _load(name: str) -> tuple[Array, NDArray[np.int64]]:
    X, y = loader(f"load_{name}")(return_X_y=True)
    return np.asarray(X, dtype=np.float64), np.asarray(y)


def _unit(X: Array) -> Array:
    return np.asarray(X / np.linalg.norm(X, axis=1, keepdims=True))
