"""What the formulas read: samples with their bias coordinate, layers, the radius."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, arb_mat

from verify.errors import InputError
from verify.network.activation import Activation
from verify.network.feedforward import Feedforward
from verify.network.two_layer import TwoLayer
from verify_kernels._rounding import Array, U, float_up, up_array
from verify_kernels.forward.inputs import Inputs
from verify_kernels.forward.radii import plus, row_norms
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.two_layer.balls import ball

Network = TwoLayer | Feedforward
Ball = Any  # python-flint's arb


@dataclass(frozen=True, eq=False)
class Layers:
    """Weights (m_l, m_{l-1}), biases or None, activations of all layers but the last."""

    weights: tuple[Array, ...]
    biases: tuple[Array | None, ...]
    activations: tuple[Activation, ...]

    @property
    def has_one_hidden(self) -> bool:
        """Whether there is one hidden layer."""
        return len(self.weights) == 2

    def require_one_hidden(self, where: str) -> None:
        """Refuse deeper networks.

        Raises:
            InputError: there is more than one hidden layer.
        """
        if not self.has_one_hidden:
            raise InputError(
                f"{where}: expected one hidden layer, but got {len(self.weights) - 1}; "
                "use mlp_recursion"
            )

    def augmented(self) -> Array:
        """Return the first layer with its bias as the last column, shape (m, D)."""
        bias = self.biases[0]
        return self.weights[0] if bias is None else np.column_stack([self.weights[0], bias])


def layers_of(network: Network) -> Layers:
    """Return the layers of either family."""
    if isinstance(network, TwoLayer):
        weights = (network.W, network.a.reshape(1, -1))
        return Layers(weights, (network.b, network.c), (network.activation,))
    return Layers(network.weights, network.biases, network.activations)


def multiplicity(network: Network) -> int:
    """Return how many roles the most shared tensor has; 1 without ties."""
    ties = network.ties if isinstance(network, Feedforward) else ()
    return max((len(group) for group in ties), default=1)


def checked(network: Network, inputs: Inputs, R: Fraction | int, where: str) -> Layers:
    """Return the layers after a look at the arguments.

    Raises:
        InputError: no sample, samples of another size, or a radius that is not a number >= 0.
    """
    inputs.require_some(where)
    layers = layers_of(network)
    size = int(np.prod(inputs.values.shape[1:]))
    if size != network.dimension:
        raise InputError(
            f"{where}: expected samples with {network.dimension} entries, but got {size}"
        )
    if not isinstance(R, Fraction | int) or isinstance(R, bool) or R < 0:
        raise InputError(f"{where}: expected an exact radius R >= 0, but got {R!r}")
    return layers


def samples(inputs: Inputs, *, with_one: bool) -> MatrixEnclosure | None:
    """Enclose X~, shape (n, D): the samples, and a column of ones behind them with a bias.

    Error bound:
        4u |q| + eta for the computed quotients q by a rounded divisor; exact for the divisor 1.

    Returns:
        None where the divisor is beyond [2^-1000, 2^1000] or a quotient overflows.
    """
    values = inputs.values.reshape(inputs.count, -1)
    rad: Array | None = None
    if inputs.divisor != 1:
        if not Fraction(2) ** -1000 <= inputs.divisor <= Fraction(2) ** 1000:
            return None
        with np.errstate(all="ignore"):
            values = values / float(inputs.divisor)
            rad = up_array(up_array(4.0 * U * np.abs(values)))  # the last step pays underflow
            rad = np.where(inputs.values.reshape(rad.shape) == 0.0, 0.0, rad)
        if not np.isfinite(values).all():
            return None
    if with_one:
        values = np.column_stack([values, np.ones(len(values))])
        rad = None if rad is None else np.column_stack([rad, np.zeros(len(values))])
    return MatrixEnclosure(np.ascontiguousarray(values), rad)


def sample_norms(X: MatrixEnclosure) -> Array:
    """Return upper bounds of the norms of the rows, shape (n,)."""
    norms = row_norms(X.mid)
    return norms if X.rad is None else plus(norms, row_norms(X.rad))


def ball_samples(inputs: Inputs, *, with_one: bool) -> Any:
    """Return X~ as an ``arb_mat`` (n, D) at the working precision."""
    divisor = ball(inputs.divisor)
    rows = [
        [arb(v) / divisor for v in row] + [arb(1)] * with_one
        for row in inputs.values.reshape(inputs.count, -1).tolist()
    ]
    return arb_mat(rows)


def ball_matrix(values: Array) -> Any:
    """Return a float matrix as an ``arb_mat``, exactly."""
    return arb_mat(values.shape[0], values.shape[1], values.ravel().tolist())


def ball_row_norms(matrix: Any) -> list[Ball]:
    """Return the Euclidean norms of the rows."""
    return [vector_norm(row) for row in matrix.tolist()]


def vector_norm(entries: list[Ball]) -> Ball:
    """Return the Euclidean norm; the modulus where there is one entry."""
    if len(entries) == 1:
        return abs(entries[0])
    total = sum((square(entry) for entry in entries), arb(0))
    return total.sqrt()


def square(x: Ball) -> Ball:
    """Return x^2, never negative."""
    return abs(x) * abs(x)


def radius_up(R: Fraction | int) -> float:
    """Return the least float >= R."""
    return float_up(Fraction(R))
