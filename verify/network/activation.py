"""Activations: a name with exact rational parameters or a formula, applied to every coordinate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from verify.errors import SettingsError
from verify.exact import parse_exact
from verify.network.expression import (
    CONSTANTS,
    MAX_CHARACTERS,
    MAX_DIGITS,
    parse_expression,
    shortened,
)

if TYPE_CHECKING:
    import sympy as sp

# name -> (number of parameters, formula in z; {0} is the parameter)
_DEFINITIONS: dict[str, tuple[int, str]] = {
    "relu": (0, "Max(z, 0)"),
    "leaky_relu": (1, "Max(z, 0) + ({0})*Min(z, 0)"),
    "elu": (1, "Piecewise((({0})*(exp(z) - 1), z < 0), (z, True))"),
    "tanh": (0, "tanh(z)"),
    "sigmoid": (0, "1/(1 + exp(-z))"),
    "softplus": (1, "log(1 + exp(({0})*z))/({0})"),
    "identity": (0, "z"),
    "square": (0, "z**2"),
    "abs": (0, "Abs(z)"),
    "hardtanh": (0, "Min(Max(z, -1), 1)"),
    "relu6": (0, "Min(Max(z, 0), 6)"),
    "softsign": (0, "z/(1 + Abs(z))"),
    "gelu": (0, "z*(1 + erf(z/sqrt(2)))/2"),
    "gelu_tanh": (0, "z*(1 + tanh(sqrt(2/pi)*(z + 44715*z**3/1000000)))/2"),
    "silu": (0, "z/(1 + exp(-z))"),
    "mish": (0, "z*tanh(log(1 + exp(z)))"),
    "erf": (0, "erf(z)"),
    "atan": (0, "atan(z)"),
    "sin": (0, "sin(z)"),
}
_ALIASES = {"arctan": "atan"}
_DEFAULTS = {"softplus": (Fraction(1),), "elu": (Fraction(1),)}
_CALL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*(?:\((.*)\))?", re.DOTALL)
_VARIABLE = re.compile(r"(?<![A-Za-z0-9_])z(?![A-Za-z0-9_])")
EXPRESSION = "expression"
"""The name of an activation that is written as a formula in z."""


@dataclass(frozen=True)
class Activation:
    """``name(parameters)``; parameters are exact rationals.

    Args:
        name: one of `NAMES`, or ``"expression"`` for a formula of the user's own.
        parameters: of a named activation.
        text: the formula in z, for ``"expression"`` only.
    """

    name: str
    parameters: tuple[Fraction, ...] = ()
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Activation:
        """Read ``relu``, ``leaky_relu(1/3)``, ``softplus(100)`` or ``log(1+exp(z))``.

        Decimals are exact. A text in ``z`` that is not the name of an activation is a formula;
        see `verify.network.expression`.

        Raises:
            SettingsError: an unknown name, a wrong number of parameters, a malformed number or
                formula.
        """
        if not isinstance(text, str):
            raise SettingsError(f"--activation: expected a text, but got {text!r}")
        text = text.strip()
        match = _CALL.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
        got = f"but got {shortened(text)}"
        name = _ALIASES.get(match[1], match[1]) if match else ""
        if match and name in _DEFINITIONS and not _VARIABLE.search(match[2] or ""):
            return cls._named(name, (match[2] or "").strip(), got)
        if match and match[2] is None and match[1] not in ("z", *CONSTANTS):
            raise SettingsError(
                f"--activation: expected one of {', '.join(NAMES)}, with parameters as in "
                f"leaky_relu(0.01), or a formula in z as in log(1+exp(z)), {got}"
            )
        parse_expression(text)
        return cls(EXPRESSION, (), " ".join(text.split()))

    @classmethod
    def _named(cls, name: str, inside: str, got: str) -> Activation:
        count = _DEFINITIONS[name][0]
        parts = inside.split(",") if inside else []
        if not parts and name in _DEFAULTS:
            return cls(name, _DEFAULTS[name])
        if len(parts) != count:
            example = f"{name}(0.01)" if count else name
            raise SettingsError(
                f"--activation: expected {name} with {count} parameter(s), such as {example}, {got}"
            )
        if len(inside) > MAX_DIGITS:
            raise SettingsError(
                f"--activation: expected parameters of at most {MAX_DIGITS} digits, {got}"
            )
        parameters = tuple(parse_exact(part, where=f"--activation {name}") for part in parts)
        if any(max(abs(p.numerator), p.denominator) >= 10**MAX_DIGITS for p in parameters):
            raise SettingsError(
                f"--activation: expected parameters of at most {MAX_DIGITS} digits, {got}"
            )
        if name in ("softplus", "elu") and parameters[0] <= 0:
            raise SettingsError(f"--activation: expected {name} with a positive parameter, {got}")
        return cls(name, parameters)

    @property
    def is_named(self) -> bool:
        """Whether the activation is one of `NAMES`."""
        return self.name != EXPRESSION

    def expression(self) -> str:
        """Return the definition in ``z`` as text that `parse_expression` reads."""
        if not self.is_named:
            return self.text
        return _DEFINITIONS[self.name][1].format(*self.parameters)

    def formula(self) -> sp.Expr:
        """Return the definition as an unevaluated SymPy expression in ``variable()``."""
        return parse_expression(self.expression())

    def at(self, inner: str) -> str:
        """Return the activation applied to a term, as in ``relu(W z + b)``, for a person."""
        return f"{self if self.is_named else 'sigma'}({inner})"

    @property
    def where(self) -> str:
        """What defines sigma in a sentence with `at`: nothing for a named activation."""
        return "" if self.is_named else f", sigma(z) = {self.text}"

    def __str__(self) -> str:
        inside = ", ".join(map(str, self.parameters))
        return self.text or (f"{self.name}({inside})" if inside else self.name)


NAMES = tuple(sorted(_DEFINITIONS))
