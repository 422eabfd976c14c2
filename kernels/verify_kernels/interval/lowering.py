"""From a SymPy expression to a program, as it is written: nothing is simplified before.

Recognised as one operation, because the identities hold with the same domain: 1/(1 + exp(u)) is
sigmoid(-u), log(1 + exp(u)) is softplus(u), exp(u) - 1 is expm1(u), log(1 + u) is log1p(u) and
1 - tanh(u)^2 is 1/cosh(u)^2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from typing import Any

import sympy as sp

from verify.errors import InputError
from verify_kernels.interval.program import Program

MAX_EXPONENT = 4096

_FUNCTIONS: dict[Any, str] = {
    sp.exp: "exp",
    sp.log: "log",
    sp.tanh: "tanh",
    sp.sin: "sin",
    sp.cos: "cos",
    sp.tan: "tan",
    sp.atan: "atan",
    sp.sinh: "sinh",
    sp.cosh: "cosh",
    sp.erf: "erf",
    sp.erfc: "erfc",
    sp.Abs: "abs",
    sp.sign: "sign",
}


def lower(expression: sp.Expr, symbols: Sequence[sp.Symbol]) -> tuple[Program, int]:
    """Return the program of an expression and the node of its value.

    Raises:
        InputError: a symbol that is not given, a function without an operation, a constant that is
            no real number, or an expression nested too deeply.
    """
    program = Program(tuple(str(symbol) for symbol in symbols))
    lowering = _Lowering(program, {symbol: k for k, symbol in enumerate(symbols)})
    try:
        return program, lowering.value(
            sp.S(expression) if isinstance(expression, int) else expression
        )
    except RecursionError as error:
        raise InputError(
            "interval_kernel: expected an expression that is not nested deeply, but got more "
            "levels than Python's recursion limit"
        ) from error


def _refuse(wanted: str, got: Any) -> InputError:
    text = str(got)
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return InputError(f"interval_kernel: expected {wanted}, but got {shown}")


def rational(value: sp.Basic) -> Fraction | None:
    """Return an exact rational number of SymPy, a Float by its exact binary value, or None."""
    if isinstance(value, sp.Rational):
        return Fraction(int(value.p), int(value.q))
    if isinstance(value, sp.Float):
        sign, mantissa, exponent, _ = value._mpf_
        if not mantissa and exponent:
            return None
        scale = Fraction(2) ** int(exponent)
        return (-1 if sign else 1) * int(mantissa) * scale
    return None


class _Lowering:
    def __init__(self, program: Program, inputs: dict[sp.Symbol, int]) -> None:
        self.program = program
        self.inputs = inputs
        self.known: dict[sp.Basic, int] = {}

    def value(self, e: Any) -> int:
        """Return the node of an expression."""
        if not isinstance(e, sp.Basic):
            raise _refuse("a SymPy expression", repr(e))
        if e not in self.known:
            self.known[e] = self._value(e)
        return self.known[e]

    def _value(self, e: Any) -> int:
        p = self.program
        if e.is_Symbol:
            if e not in self.inputs:
                raise _refuse(f"only the symbols {', '.join(map(str, self.inputs))}", e)
            return p.input(self.inputs[e])
        if e.is_Number:
            number = rational(e)
            if number is None:
                raise _refuse("finite real constants", e)
            return p.constant(number)
        if e in (sp.pi, sp.E):
            return p.named_constant("pi" if e == sp.pi else "e")
        if isinstance(e, sp.Add):
            return self._sum(e)
        if isinstance(e, sp.Mul):
            return self._product(e.args)
        if isinstance(e, sp.Pow):
            return self._power(e)
        return self._function(e)

    # Sums

    def _sum(self, e: sp.Add) -> int:
        terms = list(e.args)
        value = self._recognised(terms)
        nodes = ([] if value is None else [value]) + [self.value(term) for term in terms]
        return reduce(self.program.add, nodes) if nodes else self.program.constant(0)

    def _recognised(self, terms: list[Any]) -> int | None:
        """Take exp(u) - 1, 1 - exp(u) or 1 - tanh(u)^2 out of the terms and return its node."""
        for constant, sign in ((-1, 1), (1, -1)):
            if sp.Integer(constant) not in terms:
                continue
            for term in terms:
                node = self._with_one(term, sign)
                if node is not None:
                    terms.remove(sp.Integer(constant))
                    terms.remove(term)
                    return node
        return None

    def _with_one(self, term: Any, sign: int) -> int | None:
        """Return the node of term - sign if the term is sign exp(u), or is -tanh(u)^2."""
        factors = list(term.args) if isinstance(term, sp.Mul) else [term]
        if sign < 0:
            if len(factors) != 2 or sp.Integer(-1) not in factors:
                return None
            factors.remove(sp.Integer(-1))
        if len(factors) != 1:
            return None
        u = _exponent(factors[0])
        if u is not None:
            node = self.program.apply("expm1", self.value(u))
            return node if sign > 0 else self.program.neg(node)
        factor = factors[0]
        square = isinstance(factor, sp.Pow) and factor.exp == 2
        if sign < 0 and square and isinstance(factor.base, sp.tanh):
            return self.program.apply("sech2", self.value(factor.base.args[0]))
        return None

    # Products and powers

    def _product(self, factors: Sequence[Any]) -> int:
        p = self.program
        numerator, remaining = self._sigmoids(list(factors))
        denominator: list[int] = []
        constants: list[int] = []
        scale = Fraction(1)
        for factor in remaining:
            number = rational(factor) if factor.is_Number else None
            power = _negative_power(factor)
            if number is not None:
                scale *= number
            elif not factor.free_symbols:
                constants.append(self._constant(factor, power))
            elif power is not None:
                denominator.append(p.powr(self.value(factor.base), -power))
            else:
                numerator.append(self.value(factor))
        if constants:  # one factor in place of several roundings
            return p.mul(
                reduce(p.mul, constants, p.constant(scale)),
                self._quotient(numerator, denominator, Fraction(1)),
            )
        return self._quotient(numerator, denominator, scale)

    def _constant(self, factor: Any, power: Fraction | None) -> int:
        p = self.program
        if power is None:
            return self.value(factor)
        return p.apply("div", p.constant(1), p.powr(self.value(factor.base), -power))

    def _sigmoids(self, factors: list[Any]) -> tuple[list[int], list[Any]]:
        """Take (1 + exp(u))^-n out of the factors, with one exp(u) if n = 1 and there is one."""
        nodes: list[int] = []
        remaining = list(factors)
        for factor in factors:
            power = _negative_power(factor)
            u = None if power is None else _after_one_plus_exp(factor.base)
            if u is None or power is None or power.denominator != 1:
                continue
            remaining.remove(factor)
            above = next((g for g in remaining if _exponent(g) == u), None) if power == -1 else None
            if above is not None:
                remaining.remove(above)
            argument = self.value(u)
            sign = argument if above is not None else self.program.neg(argument)
            node = self.program.apply("sigmoid", sign)
            nodes.append(self.program.pown(node, -int(power)))
        return nodes, remaining

    def _quotient(self, numerator: list[int], denominator: list[int], scale: Fraction) -> int:
        p = self.program
        value = reduce(p.mul, numerator) if numerator else p.constant(1)
        dyadic = scale.denominator & (scale.denominator - 1) == 0
        value = p.mul(p.constant(scale if dyadic else scale.numerator), value)
        divisors = denominator if dyadic else [*denominator, p.constant(scale.denominator)]
        return p.div(value, reduce(p.mul, divisors)) if divisors else value

    def _power(self, e: sp.Pow) -> int:
        p = self.program
        exponent = rational(e.exp)
        if exponent is not None:
            if e.base == sp.E:
                return p.apply("exp", p.constant(exponent))
            if max(abs(exponent.numerator), exponent.denominator) > MAX_EXPONENT:
                raise _refuse(f"exponents p/q with |p|, q <= {MAX_EXPONENT}", e.exp)
            if exponent < 0:
                return self._product([e])
            return p.powr(self.value(e.base), exponent)
        if e.base == sp.E:
            return p.apply("exp", self.value(e.exp))
        logarithm = p.apply("log", self.value(e.base))
        return p.apply("exp", p.mul(self.value(e.exp), logarithm))

    # Functions

    def _function(self, e: Any) -> int:
        p = self.program
        if isinstance(e, sp.log) and len(e.args) == 1:
            return self._logarithm(e.args[0])
        if type(e) in _FUNCTIONS and len(e.args) == 1:
            return p.apply(_FUNCTIONS[type(e)], self.value(e.args[0]))
        if isinstance(e, sp.Max | sp.Min):
            name = "max" if isinstance(e, sp.Max) else "min"
            return reduce(lambda a, b: p.apply(name, a, b), [self.value(a) for a in e.args])
        if isinstance(e, sp.Piecewise):
            return self._piecewise(e)
        raise _refuse(f"functions among {', '.join(sorted(_FUNCTIONS.values()))}, ...", e)

    def _logarithm(self, argument: Any) -> int:
        p = self.program
        u = _after_one_plus_exp(argument)
        if u is not None:
            return p.apply("softplus", self.value(u))
        if isinstance(argument, sp.Add) and sp.Integer(1) in argument.args:
            terms = list(argument.args)
            terms.remove(sp.Integer(1))
            return p.apply("log1p", reduce(p.add, [self.value(term) for term in terms]))
        return p.apply("log", self.value(argument))

    # Conditions

    def _piecewise(self, e: sp.Piecewise) -> int:
        """Return nested selections; undefined where no condition holds."""
        p = self.program
        value: int | None = None
        for branch, condition in reversed(e.args):
            if condition == sp.true:
                value = self.value(branch)
                continue
            holds = self.condition(condition)
            node = self.value(branch)
            if value is None:
                value = p.undefined_unless(node, p.always(p.apply("not", holds)))
            else:
                value = p.apply("select", holds, node, value)
        if value is None:
            raise _refuse("a Piecewise with a branch", e)
        return value

    def condition(self, c: Any) -> int:
        """Return the node of a three-valued condition."""
        p = self.program
        if c in (sp.true, sp.false):
            return p.constant(1 if c == sp.true else 0)
        if isinstance(c, sp.Not):
            return p.apply("not", self.condition(c.args[0]))
        if isinstance(c, sp.And | sp.Or):
            name = "and" if isinstance(c, sp.And) else "or"
            return reduce(lambda a, b: p.apply(name, a, b), [self.condition(a) for a in c.args])
        relations: dict[type, Callable[[int, int], int]] = {
            sp.StrictLessThan: lambda a, b: p.apply("lt", a, b),
            sp.LessThan: lambda a, b: p.apply("le", a, b),
            sp.StrictGreaterThan: lambda a, b: p.apply("lt", b, a),
            sp.GreaterThan: lambda a, b: p.apply("le", b, a),
        }
        if type(c) not in relations:
            raise _refuse("conditions by <, <=, >, >=", c)
        return relations[type(c)](self.value(c.args[0]), self.value(c.args[1]))


def _negative_power(e: Any) -> Fraction | None:
    """Return the exponent of a power with a negative rational exponent."""
    power = rational(e.exp) if isinstance(e, sp.Pow) else None
    return power if power is not None and power < 0 else None


def _exponent(e: Any) -> Any | None:
    """Return u if the expression is exp(u)."""
    if isinstance(e, sp.exp):
        return e.args[0]
    return e.exp if isinstance(e, sp.Pow) and e.base == sp.E else None


def _after_one_plus_exp(e: Any) -> Any | None:
    """Return u if the expression is 1 + exp(u)."""
    if not isinstance(e, sp.Add) or len(e.args) != 2 or sp.Integer(1) not in e.args:
        return None
    other = next(term for term in e.args if term != 1)
    return _exponent(other)
