"""Real data for two-layer networks: diabetes progression and breast cancer, prepared as stated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.errors import InputError
from verify.network import Data
from verify_conditions.datasets import loader

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Task:
    """Inputs X (n, d) and labels y (n,) of a regression or a two-class problem.

    Args:
        name: short, for file names.
        X: inputs.
        y: real labels, or +-1 for ``loss="logistic"``.
        loss: as in ``villani.loss``.
        preparation: what was done to the raw data, exactly.
    """

    name: str
    X: Array
    y: Array
    loss: str
    preparation: str

    def __post_init__(self) -> None:
        fits = self.X.ndim == 2 and self.X.size and self.y.shape == (len(self.X),)
        if not fits or not (np.isfinite(self.X).all() and np.isfinite(self.y).all()):
            raise InputError(
                f"Task: expected finite X (n, d) and y (n,), but got shapes {self.X.shape} and "
                f"{self.y.shape}"
            )

    @property
    def data(self) -> Data:
        """The samples as a condition reads them."""
        return Data(self.X, self.y)


def diabetes() -> Task:
    """Return scikit-learn's 442 patients with 10 features; the label is disease progression.

    Raises:
        InputError: scikit-learn is not installed.
    """
    load = loader("load_diabetes")
    X, y = load(return_X_y=True, scaled=False)
    centred = np.asarray(y, dtype=np.float64) - np.mean(y)
    return Task(
        "diabetes",
        standardised(X),
        centred / centred.std(),
        "half-mean-squares",
        f"{_FEATURES}; labels minus their mean, divided by their standard deviation",
    )


def breast_cancer() -> Task:
    """Return scikit-learn's 569 tumours with 30 features; the label is +1 for benign, else -1.

    Raises:
        InputError: scikit-learn is not installed.
    """
    X, y = loader("load_breast_cancer")(return_X_y=True)
    signs = np.where(np.asarray(y) == 1, 1.0, -1.0)
    return Task(
        "breast-cancer", standardised(X), signs, "logistic", f"{_FEATURES}; labels +1 and -1"
    )


_FEATURES = (
    "every feature minus its mean over all samples, divided by its standard deviation (divisor n), "
    "then all inputs divided by the largest Euclidean norm of a sample; in binary64"
)


def standardised(X: ArrayLike) -> Array:
    """Return features of mean 0 and standard deviation 1, scaled so that the longest row has 1.

    Raises:
        InputError: not a matrix, or a feature that is constant or not finite.
    """
    raw = np.asarray(X, dtype=np.float64)
    usable = raw.ndim == 2 and raw.size > 0 and bool(np.isfinite(raw).all())
    spread = raw.std(axis=0) if usable else np.zeros(1)
    if not (spread > 0).all():
        raise InputError(
            f"standardised: expected features that vary, in a finite matrix (n, d), "
            f"but got shape {raw.shape} with a standard deviation {spread.min()!r}"
        )
    unit = (raw - raw.mean(axis=0)) / spread
    return np.asarray(unit / np.linalg.norm(unit, axis=1).max())
