"""Activations: a name with exact rational parameters, applied to every coordinate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from verify.errors import SettingsError
from verify.exact import parse_exact

# name -> (number of parameters, definition in z as SymPy text; {0} is the parameter)
_DEFINITIONS: dict[str, tuple[int, str]] = {
    "relu": (0, "Max(z, 0)"),
    "leaky_relu": (1, "Max(z, 0) + ({0})*Min(z, 0)"),
    "elu": (1, "Piecewise((z, z > 0), (({0})*(exp(z) - 1), True))"),
    "tanh": (0, "tanh(z)"),
    "sigmoid": (0, "1/(1 + exp(-z))"),
    "softplus": (1, "log(1 + exp(({0})*z))/({0})"),
    "identity": (0, "z"),
    "abs": (0, "Abs(z)"),
    "hardtanh": (0, "Min(Max(z, -1), 1)"),
    "relu6": (0, "Min(Max(z, 0), 6)"),
    "softsign": (0, "z/(1 + Abs(z))"),
    "gelu": (0, "z*(1 + erf(z/sqrt(2)))/2"),
    "silu": (0, "z/(1 + exp(-z))"),
    "sin": (0, "sin(z)"),
}
_DEFAULTS = {"softplus": (Fraction(1),), "elu": (Fraction(1),)}
_CALL = re.compile(r"\s*([a-z_][a-z0-9_]*)\s*(?:\((.*)\))?\s*", re.DOTALL)


@dataclass(frozen=True)
class Activation:
    """``name(parameters)``; parameters are exact rationals."""

    name: str
    parameters: tuple[Fraction, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Activation:
        """Read ``relu``, ``leaky_relu(1/3)``, ``softplus(100)``; decimals are exact.

        Raises:
            SettingsError: an unknown name, a wrong number of parameters, a malformed number.
        """
        match = _CALL.fullmatch(text) if isinstance(text, str) else None
        if match is None or match[1] not in _DEFINITIONS:
            raise SettingsError(
                f"--activation: expected one of {', '.join(sorted(_DEFINITIONS))}, "
                f"with parameters as in leaky_relu(0.01), but got {text!r}"
            )
        name, inside = match[1], (match[2] or "").strip()
        count = _DEFINITIONS[name][0]
        parts = [part for part in inside.split(",")] if inside else []
        if not parts and name in _DEFAULTS:
            return cls(name, _DEFAULTS[name])
        if len(parts) != count:
            example = f"{name}(0.01)" if count else name
            raise SettingsError(
                f"--activation: expected {name} with {count} parameter(s), such as {example}, "
                f"but got {text!r}"
            )
        parameters = tuple(parse_exact(part, where=f"--activation {name}") for part in parts)
        if name in ("softplus", "elu") and parameters[0] <= 0:
            raise SettingsError(
                f"--activation: expected {name} with a positive parameter, but got {text!r}"
            )
        return cls(name, parameters)

    def expression(self) -> str:
        """Return the definition in ``z`` as SymPy text with exact numbers."""
        return _DEFINITIONS[self.name][1].format(*(f"Rational({p.numerator}, {p.denominator})"
                                                   for p in self.parameters))  # fmt: skip

    def __str__(self) -> str:
        inside = ", ".join(map(str, self.parameters))
        return f"{self.name}({inside})" if inside else self.name


NAMES = tuple(sorted(_DEFINITIONS))
