"""Real samples for networks trained to zero residual: diabetes, breast cancer, digits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.errors import InputError
from verify.network import Data
from verify_conditions.datasets import loader

Array = NDArray[np.float64]

PREPARATION = (
    "every feature that varies minus its mean over the whole set, divided by its standard "
    "deviation, then all divided by the root of their number; in binary64, which are the numbers "
    "that are certified"
)


@dataclass(frozen=True, eq=False)
class Task:
    """Some samples of a bundled set.

    Args:
        name: short, for file names.
        X: inputs (n, d).
        y: targets (n,) or (n, k).
        targets: what the targets are.
    """

    name: str
    X: Array
    y: Array
    targets: str

    @property
    def data(self) -> Data:
        """The samples as a condition reads them."""
        return Data(self.X, self.y)


def diabetes(n: int, *, seed: int = 0) -> Task:
    """Return n of scikit-learn's 442 patients with 10 features; the target is the progression.

    Raises:
        InputError: scikit-learn is not installed, or it has fewer samples.
    """
    X, y = _loaded("load_diabetes")
    progression = (y - y.mean()) / y.std()
    rows = _rows(len(X), n, seed)
    told = "progression minus its mean, divided by its standard deviation"
    return Task("diabetes", standardised(X)[rows], progression[rows], told)


def breast_cancer(n: int, *, seed: int = 0) -> Task:
    """Return n of scikit-learn's 569 tumours with 30 features; +1 is benign, -1 malignant.

    Raises:
        InputError: scikit-learn is not installed, or it has fewer samples.
    """
    X, y = _loaded("load_breast_cancer")
    rows = _rows(len(X), n, seed)
    return Task("breast cancer", standardised(X)[rows], (2.0 * y - 1.0)[rows], "+1 and -1")


def digit_pair(n: int, pair: tuple[int, int], *, seed: int = 0) -> Task:
    """Return n of scikit-learn's handwritten digits that show one of two, as +1 and -1.

    Raises:
        InputError: scikit-learn is not installed, or it has fewer samples.
    """
    X, labels = _loaded("load_digits")
    X, labels = standardised(X), labels.astype(int)
    shown = np.flatnonzero(np.isin(labels, pair))
    rows = shown[_rows(len(shown), n, seed)]
    y = np.where(labels[rows] == pair[0], 1.0, -1.0)
    return Task(f"digits {pair[0]} and {pair[1]}", X[rows], y, "+1 and -1")


def digits(n: int, *, seed: int = 0) -> Task:
    """Return n of scikit-learn's 1,797 handwritten digits with one-hot targets of ten classes.

    Raises:
        InputError: scikit-learn is not installed, or it has fewer samples.
    """
    X, labels = _loaded("load_digits")
    rows = _rows(len(X), n, seed)
    return Task("digits", standardised(X)[rows], np.eye(10)[labels.astype(int)[rows]], "one-hot")


def standardised(X: ArrayLike) -> Array:
    """Return the features that vary with mean 0 and standard deviation 1, over the root of d.

    Raises:
        InputError: not a finite matrix, or no feature varies.
    """
    raw = np.asarray(X, dtype=np.float64)
    usable = raw.ndim == 2 and raw.size > 0 and bool(np.isfinite(raw).all())
    varied = raw[:, raw.std(axis=0) > 0] if usable else np.empty((0, 0))
    if not varied.size:
        raise InputError(
            f"standardised: expected features that vary, in a finite matrix (n, d), "
            f"but got shape {raw.shape}"
        )
    unit = (varied - varied.mean(axis=0)) / varied.std(axis=0)
    return np.asarray(unit / np.sqrt(varied.shape[1]))


def _rows(count: int, n: int, seed: int) -> NDArray[np.int64]:
    if not 0 < n <= count:
        raise InputError(f"Task: expected 1 to {count} samples, but got {n!r}")
    return np.sort(np.random.default_rng(seed).permutation(count)[:n])


def _loaded(name: str) -> tuple[Array, Array]:
    X, y = loader(name)(return_X_y=True)
    return np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
