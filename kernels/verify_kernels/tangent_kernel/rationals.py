"""Sweeps in exact rational arithmetic, for piecewise-linear and polynomial activations."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpq

from verify.network import Activation
from verify_kernels._rounding import Array
from verify_kernels.tangent_kernel.linear_maps import LinearMap
from verify_kernels.tangent_kernel.walk import KinkError, OpenError

EXACT = frozenset({"relu", "leaky_relu", "abs", "hardtanh", "relu6", "identity", "square"})
"""Activations whose values and derivatives are rational."""


class Rationals:
    """Arithmetic of `walk` on object arrays of python-flint rationals."""

    def samples(self, values: Array, divisor: Fraction) -> Any:
        """Return values/divisor."""
        return self.raw(values) / fmpq(divisor.numerator, divisor.denominator)

    def stored(self, values: Array) -> Any:
        """Return exact copies."""
        return self.raw(values)

    def raw(self, values: Array) -> Any:
        """Return exact copies."""
        found = np.empty(values.size, dtype=object)
        found[:] = [fmpq(*entry.as_integer_ratio()) for entry in values.ravel().tolist()]
        return found.reshape(values.shape)

    def number(self, value: Fraction) -> Any:
        """Return one number."""
        return np.array([fmpq(value.numerator, value.denominator)], dtype=object)

    def move(self, apply: Callable[[Any], Any], x: Any) -> Any:
        """Move entries."""
        return apply(x)

    def push(self, linear: LinearMap, x: Any) -> Any:
        """Return L x."""
        return linear.apply(x)

    def pull(self, linear: LinearMap, s: Any) -> Any:
        """Return L^T s."""
        return linear.adjoint(s)

    def activate(self, activation: Activation, x: Any, name: str) -> tuple[Any, Any]:
        """Return values and derivatives.

        Raises:
            KinkError: an argument at a kink.
            OpenError: an activation that is not rational.
        """
        if activation.name not in EXACT:
            raise OpenError(f"{activation} is not rational")
        value, slope = np.empty(x.size, dtype=object), np.empty(x.size, dtype=object)
        for k, z in enumerate(x.ravel().tolist()):
            found = _at(activation, fmpq(z))
            if found is None:
                place = [int(j) for j in np.unravel_index(k, x.shape)]
                raise KinkError(
                    f"argument {place[1:]} of {name} at sample {place[0]} is exactly at the kink "
                    f"{z} of {activation}, where the Jacobian does not exist"
                )
            value[k], slope[k] = found
        return value.reshape(x.shape), slope.reshape(x.shape)

    def normaliser(self, variance: Array, epsilon: Fraction) -> Any:
        """Refuse roots.

        Raises:
            OpenError: always; the entries are roots.
        """
        raise OpenError("batch norm divides by roots, which are not rational")


class ObjectGram:
    """Gathers K = J J^T from object arrays, in matrices of python-flint."""

    def __init__(self, rows: int, outputs: int, matrix: Callable[..., Any]) -> None:
        """Start with K = 0; ``matrix`` is ``fmpq_mat`` or ``arb_mat``."""
        self.matrix = matrix
        self.total = matrix(rows, rows)
        self.outputs = outputs

    def add_outer(self, s: Any, h: Any, ones: bool) -> None:
        """Add (S S^T) o ([H, 1] [H, 1]^T), rows of H repeated for every output."""
        if ones:
            h = np.concatenate([h, np.full((len(h), 1), 1, dtype=object)], axis=1)
        wide, m_y = self._gram(h).tolist(), self.outputs
        product = [
            entry * wide[i // m_y][j // m_y]
            for i, row in enumerate(self._gram(s).tolist())
            for j, entry in enumerate(row)
        ]
        self.total += self.matrix(len(s), len(s), product)

    def add_rows(self, rows: Any) -> None:
        """Add J J^T of a block of columns."""
        self.total += self._gram(rows)

    def paired(self, s: Any, h: Any) -> Any:
        """Return the products s h."""
        return s @ h

    def _gram(self, rows: Any) -> Any:
        exact = self.matrix(len(rows), rows.shape[1], rows.ravel().tolist())
        return exact * exact.transpose()


def _at(activation: Activation, z: fmpq) -> tuple[fmpq, fmpq] | None:
    """Return value and derivative, or None at a kink."""
    one, zero = fmpq(1), fmpq(0)
    match activation.name:
        case "identity":
            return z, one
        case "square":
            return z * z, 2 * z
        case "hardtanh" | "relu6":
            low, high = (fmpq(-1), one) if activation.name == "hardtanh" else (zero, fmpq(6))
            if z in (low, high):
                return None
            return (z, one) if low < z < high else (min(max(z, low), high), zero)
    left = {"relu": zero, "abs": -one}.get(activation.name)
    if left is None:
        slope = activation.parameters[0]
        left = fmpq(slope.numerator, slope.denominator)
    if left == one:
        return z, one
    if z == 0:
        return None
    return (z, one) if z > 0 else (left * z, left)
