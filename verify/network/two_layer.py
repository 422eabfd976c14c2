"""Two-layer networks u(x) = a . sigma(W x + b) + c with one output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from verify.errors import InputError
from verify.network.activation import Activation
from verify.network.exact_floats import exact_floats, exact_vector
from verify.network.graph import Graph, GraphBuilder
from verify.network.weights import Array


@dataclass(frozen=True, eq=False)
class TwoLayer:
    """u(x) = a . sigma(W x + b) + c, sigma applied to every coordinate, x in R^d.

    A bias that is None does not exist; one that is zero does, which matters where it is trained.

    Args:
        W: inner weights, shape (p, d), p >= 1, d >= 1.
        a: outer weights, shape (p,).
        activation: sigma.
        b: inner biases, shape (p,), or None.
        c: outer bias, shape () or (1,), kept as (1,), or None.
        notes: what the reader saw and a person should know, one sentence each.

    Raises:
        InputError: a wrong shape, or entries that are not finite real numbers of 64 bits.
    """

    W: Array
    a: Array
    activation: Activation
    b: Array | None = None
    c: Array | None = None
    notes: tuple[str, ...] = ()

    family = "two-layer"

    def __post_init__(self) -> None:
        W = exact_floats("TwoLayer", "W", self.W)
        if W.ndim != 2 or 0 in W.shape:
            raise InputError(
                f"TwoLayer: expected W of shape (p, d) with p >= 1 and d >= 1, but got {W.shape}"
            )
        object.__setattr__(self, "W", W)
        object.__setattr__(self, "a", exact_vector("TwoLayer", "a", self.a, len(W)))
        if self.b is not None:
            object.__setattr__(self, "b", exact_vector("TwoLayer", "b", self.b, len(W)))
        if self.c is not None:
            object.__setattr__(self, "c", exact_vector("TwoLayer", "c", np.atleast_1d(self.c), 1))

    @property
    def width(self) -> int:
        """p, the number of hidden neurons."""
        return int(self.W.shape[0])

    @property
    def dimension(self) -> int:
        """d, the number of inputs."""
        return int(self.W.shape[1])

    @property
    def equation(self) -> str:
        """The equation in words of the field."""
        inner = "W x" if self.b is None else "W x + b"
        outer = "" if self.c is None else " + c"
        return f"u(x) = a . {self.activation.at(inner)}{outer}{self.activation.where}"

    def tensors(self) -> Mapping[str, Array]:
        """All tensors by role, for digests; roles are stable across file formats."""
        named = {"W": self.W, "a": self.a, "b": self.b, "c": self.c}
        return {role: array for role, array in named.items() if array is not None}

    def graph(self) -> Graph:
        """Return the same function as a graph; W is ``linear1.weight``, a ``linear2.weight``."""
        builder = GraphBuilder()
        first = {"weight": ("W", self.W)} | ({} if self.b is None else {"bias": ("b", self.b)})
        outer = {"weight": ("a", self.a.reshape(1, -1))}
        outer |= {} if self.c is None else {"bias": ("c", self.c)}
        place = builder.add("linear", (builder.input((self.dimension,)),), {}, first)
        place = builder.add("activation", (place,), {"activation": self.activation})
        return builder.build(builder.add("linear", (place,), {}, outer))
