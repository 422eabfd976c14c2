"""The data sets that scikit-learn bundles, for reproductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from verify.errors import InputError


def loader(name: str) -> Callable[..., Any]:
    """Return a function of ``sklearn.datasets`` by name.

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise InputError(
            f"{name}: expected scikit-learn to be installed, but got no module named 'sklearn'; "
            "install it with pip install 'verify-nn[demo]'"
        ) from error
    found: Callable[..., Any] = getattr(datasets, name)
    return found
