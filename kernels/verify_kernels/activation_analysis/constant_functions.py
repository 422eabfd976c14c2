"""Elementary functions of exact constants, under names that cancel where they should."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from flint import ctx, fmpq

from verify_kernels.activation_analysis.coefficients import (
    CONTENTS,
    MOST_BITS,
    PI,
    STILL,
    Coefficient,
    UnclearError,
    fraction_of,
    is_positive,
    opaque,
)
from verify_kernels.activation_analysis.jet import constant
from verify_kernels.activation_analysis.tree import Node


def _factors(n: int) -> Iterable[tuple[int, int]]:
    """Return n as powers; large cofactors stay whole."""
    found, p = [], 2
    while p * p <= n and p < 1000:
        count = 0
        while n % p == 0:
            n //= p
            count += 1
        if count:
            found.append((p, count))
        p += 1
    if n > 1:
        found.append((n, 1))
    return found


def _integer_power(n: int, power: Fraction) -> Coefficient:
    total = Coefficient.rational(1)
    for p, count in _factors(n):
        total = total * Coefficient.named(("int", p), power * count)
    return total


def logarithm(x: Coefficient) -> Coefficient:
    """Return log of a positive constant."""
    if x.sign() <= 0:
        raise UnclearError("a logarithm of a constant that is not positive")
    if len(x.terms) == 1:
        ((powers, _), value) = next(iter(x.terms.items()))
        if value > 0 and all(is_positive(name) for name, _ in powers):
            total = Coefficient({})
            for sign, n in ((1, int(value.p)), (-1, int(value.q))):
                for p, count in _factors(n):
                    total = total + Coefficient.named(("log", p)).scaled(sign * count)
            for name, power in powers:
                total = total + _log_of_name(name).scaled(power)
            return total
    return Coefficient.named(opaque("logof", x))


def _log_of_name(name: Any) -> Coefficient:
    if name[0] == "e":
        return Coefficient.rational(1)
    if name[0] == "int":
        return Coefficient.named(("log", name[1]))
    if name[:2] == ("of", "exp"):
        content: Coefficient = CONTENTS[name[2]][1]
        return content
    return Coefficient.named(opaque("logof", Coefficient.named(name)))


def exponential(x: Coefficient) -> Coefficient:
    """Return exp of a constant, a product of positive named constants."""
    total = Coefficient.rational(1)
    for (powers, _), value in x.terms.items():
        if not powers:
            total = total * Coefficient.named(("e",), fraction_of(value))
        elif len(powers) == 1 and powers[0][0][0] == "log" and powers[0][1] == 1:
            total = total * Coefficient.named(("int", powers[0][0][1]), fraction_of(value))
        else:
            unit = Coefficient({(powers, STILL): fmpq(1)})
            total = total * Coefficient.named(opaque("exp", unit), fraction_of(value))
    return total


def applied(name: str, x: Coefficient) -> Coefficient:
    """Return sin, cos, atan or erf of a constant under its name."""
    if not x:
        return Coefficient.rational(1 if name == "cos" else 0)
    if name in ("sin", "cos"):
        quarters = _quarter_turns(x)
        if quarters is not None:
            return Coefficient.rational((0, 1, 0, -1)[(quarters + (name == "cos")) % 4])
    return Coefficient.named(opaque(name, x))


def _quarter_turns(x: Coefficient) -> int | None:
    """Return n if the constant is written as n pi/2."""
    if len(x.terms) == 1:
        ((powers, _), value) = next(iter(x.terms.items()))
        if powers is PI and (2 * value).q == 1:
            return int((2 * value).p)
    return None


@lru_cache(maxsize=4096)
def of_node(node: Node) -> Coefficient:
    """Return the coefficient that a tree without z stands for."""
    if node.op == "number":
        return Coefficient.rational(node.data)
    if node.op == "pi":
        return Coefficient.named(("pi",))
    parts = [of_node(arg) for arg in node.args]
    if node.op == "add":
        total = Coefficient({})
        for part in parts:
            total = total + part
        return total
    if node.op == "mul":
        total = Coefficient.rational(1)
        for part in parts:
            total = total * part
        return total
    if node.op == "exp":
        return exponential(parts[0])
    if node.op == "log":
        return logarithm(parts[0])
    if node.op == "pow":
        if parts[0].sign() > 0:
            return raised(parts[0], node.data)
        if node.data.denominator == 1 and parts[0]:
            base = parts[0] if node.data > 0 else parts[0].inverse()
            total = base
            for _ in range(abs(int(node.data)) - 1):
                total = total * base
            return total
        raise UnclearError("a power of a constant that is not positive")
    value = constant(node, ctx.prec)
    if not value.is_finite():
        raise UnclearError("a constant is not defined")
    if value.is_exact():
        mantissa, exponent = value.man_exp()
        if abs(exponent) <= MOST_BITS:
            return Coefficient.rational(Fraction(int(mantissa)) * Fraction(2) ** int(exponent))
    return Coefficient.named(("node", node))


def raised(x: Coefficient, power: Fraction) -> Coefficient:
    """Return a rational power of a positive constant.

    Raises:
        UnclearError: the constant is not known to be positive.
    """
    if x.sign() <= 0:
        raise UnclearError("a root of a constant that is not positive")
    if len(x.terms) == 1:
        ((powers, _), value) = next(iter(x.terms.items()))
        if value > 0 and all(is_positive(name) for name, _ in powers):
            total = _integer_power(int(value.p), power)
            total = total * _integer_power(int(value.q), -power)
            for name, exponent in powers:
                total = total * Coefficient.named(name, exponent * power)
            return total
    return Coefficient.named(opaque("exp", logarithm(x)), power)
