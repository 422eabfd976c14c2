"""Students that learn the function of given teachers, over Gaussian inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verify.errors import InputError
from verify.network.activation import Activation
from verify.network.exact_floats import exact_floats, exact_vector
from verify.network.weights import Array

ACTIVATIONS = ("abs", "relu")


@dataclass(frozen=True, eq=False)
class TeacherStudent:
    """f(x) = sum_i a_i sigma(w_i . x) against f*(x) = sum_j a*_j sigma(w*_j . x), x ~ N(0, I_d).

    Without output weights they are tied to the norms: a_i = ||w_i|| and a*_j = ||w*_j||. The loss
    is the population loss 1/2 E (f - f*)^2; no samples belong to the network.

    Args:
        students: W, rows w_i, shape (m, d), m >= 1, d >= 1.
        teachers: W_star, rows w*_j, shape (r, d), r >= 1.
        activation: sigma, abs or relu.
        a: output weights of the students, shape (m,), or None where they are tied.
        a_star: output weights of the teachers, shape (r,), given exactly where ``a`` is.
        notes: what the reader saw and a person should know, one sentence each.

    Raises:
        InputError: a wrong shape, entries that are not finite real numbers of 64 bits, another
            activation, or output weights on one side only.
    """

    students: Array
    teachers: Array
    activation: Activation
    a: Array | None = None
    a_star: Array | None = None
    notes: tuple[str, ...] = ()

    family = "teacher-student"

    def __post_init__(self) -> None:
        if not isinstance(self.activation, Activation) or self.activation.name not in ACTIVATIONS:
            raise InputError(
                "TeacherStudent: expected the activation abs or relu, for which the population "
                f"loss has a closed form, but got {self.activation}"
            )
        W, W_star = _rows("W", self.students), _rows("W_star", self.teachers)
        if W.shape[1] != W_star.shape[1]:
            raise InputError(
                f"TeacherStudent: expected W_star with {W.shape[1]} columns, as many as W, "
                f"but got {W_star.shape}"
            )
        if (self.a is None) != (self.a_star is None):
            given, lacking = ("a", "a_star") if self.a_star is None else ("a_star", "a")
            raise InputError(
                "TeacherStudent: expected the output weights a and a_star, or neither where they "
                f"are tied to the norms, but got {given} without {lacking}"
            )
        object.__setattr__(self, "students", W)
        object.__setattr__(self, "teachers", W_star)
        if self.a is not None:
            object.__setattr__(self, "a", exact_vector("TeacherStudent", "a", self.a, len(W)))
            object.__setattr__(
                self, "a_star", exact_vector("TeacherStudent", "a_star", self.a_star, len(W_star))
            )

    @property
    def tied(self) -> bool:
        """Whether the output weights are the norms of the rows."""
        return self.a is None

    @property
    def width(self) -> int:
        """m, the number of students."""
        return int(self.students.shape[0])

    @property
    def dimension(self) -> int:
        """d, the number of inputs."""
        return int(self.students.shape[1])

    @property
    def equation(self) -> str:
        """The equation in words of the field."""
        one, other = ("||w_i||", "||w*_j||") if self.tied else ("a_i", "a*_j")
        return (
            f"f(x) = sum_i {one} {self.activation}(w_i . x), "
            f"f*(x) = sum_j {other} {self.activation}(w*_j . x), x ~ N(0, I)"
        )

    def tensors(self) -> Mapping[str, Array]:
        """All tensors by role, for digests; roles are stable across file formats."""
        named = {"W": self.students, "W_star": self.teachers, "a": self.a, "a_star": self.a_star}
        return {role: array for role, array in named.items() if array is not None}


def _rows(name: str, given: Any) -> Array:
    values = exact_floats("TeacherStudent", name, given)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(
            f"TeacherStudent: expected {name} of shape (rows, d) with at least one row and d >= 1, "
            f"but got {values.shape}"
        )
    return values
