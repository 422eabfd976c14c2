"""Formulas in one variable, read from text by an allow-list: nothing is evaluated as code.

The text is cut into tokens first, and only known names, numbers and operators pass. Every number
is taken out of the text as an exact rational, the rest is parsed by Python's `ast`, and the tree
is rebuilt in SymPy without evaluation, so that ``z/z`` stays ``z/z``. Rational constants alone are
combined, exactly. ``sigmoid``, ``softplus``, ``log1p`` and ``expm1`` stand for their definitions
by exp and log.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from verify.errors import SettingsError
from verify.exact import parse_exact

if TYPE_CHECKING:
    import sympy as sp

MAX_CHARACTERS = 10_000
MAX_DEPTH = 100
MAX_NODES = 2_000
MAX_DIGITS = 400
MAX_EXPONENT = 64
# Of powers of powers together: what SymPy would multiply out when it evaluates the formula.
MAX_NESTED_EXPONENT = 1_024

_TOO_LONG = 10**MAX_DIGITS

CONSTANTS = ("pi", "E")
FUNCTIONS = (
    "exp", "log", "log1p", "expm1", "sqrt", "sin", "cos", "tan", "atan", "arctan", "tanh", "sinh",
    "cosh", "sigmoid", "softplus", "erf", "erfc", "Abs", "abs", "sign", "Max", "max", "Min", "min",
    "Piecewise",
)  # fmt: skip
_ALLOWED = "numbers, + - * / **, parentheses and the functions " + ", ".join(FUNCTIONS)
_TOKEN = re.compile(
    r"\s+"
    r"|(?P<number>0[xX][0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?[pP][+-]?[0-9]+"
    r"|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_]*)"
    r"|(?P<operator>\*\*|<=|>=|[-+*/(),<>])",
    re.ASCII,
)
_SIGNS = re.compile(r"(?:[-+]\s*){11}")
_RELATIONS = {ast.Lt: "Lt", ast.LtE: "Le", ast.Gt: "Gt", ast.GtE: "Ge"}


@lru_cache(maxsize=8)
def variable(name: str = "z") -> sp.Symbol:
    """Return the real variable in which formulas are written."""
    import sympy

    return sympy.Symbol(name, real=True)


@lru_cache(maxsize=512)
def parse_expression(
    text: str, *, where: str = "--activation", names: tuple[str, ...] = ("z",)
) -> sp.Expr:
    """Read a formula as an unevaluated SymPy expression with exact numbers.

    Decimals are exact rationals (``0.1`` is one tenth), ``0x1.8p-3`` is the double 3/16. Exponents
    are rational constants p/q with |p| and q at most 64; ``E**x`` is exp(x). ``Piecewise`` takes
    pairs ``(value, condition)`` with one comparison as condition, and ``(value, True)`` last.

    Args:
        text: at most 10,000 characters; depth at most 100, 2,000 nodes, numbers of 400 digits.
        where: the setting that an error names.
        names: the variables that may occur.

    Raises:
        SettingsError: anything else.
    """
    reader = _Reader(where, names, shortened(text))
    source, numbers = reader.tokens(text)
    tree = reader.tree(source)
    expression = _Builder(reader, numbers).expression(tree, 0)
    _check_powers(expression, reader)
    return expression


def shortened(text: str) -> str:
    """Return a text for a message: quoted, on one line, short."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


@dataclass(frozen=True)
class _Reader:
    """From text to a syntax tree of known names; `refuse` makes the one kind of error."""

    where: str
    names: tuple[str, ...]
    text: str

    def refuse(self, wanted: str, got: str) -> SettingsError:
        return SettingsError(f"{self.where}: expected {wanted}, but got {got} in {self.text}")

    def tokens(self, text: str) -> tuple[str, list[Fraction]]:
        """Return the text with the k-th number replaced by the name ``_k``, and the numbers."""
        if len(text) > MAX_CHARACTERS:
            raise self.refuse(f"at most {MAX_CHARACTERS} characters", str(len(text)))
        if _SIGNS.search(text):
            raise self.refuse("at most 10 signs in a row", "more")
        words = sum(bool(match["name"] or match["number"]) for match in _TOKEN.finditer(text))
        if words > MAX_NODES:
            raise self.refuse(f"at most {MAX_NODES} numbers, names and operations", str(words))
        parts: list[str] = []
        numbers: list[Fraction] = []
        position, depth, glued = 0, 0, False
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._strange(text[position])
            position, token = match.end(), match[0]
            if glued and (match["name"] or match["number"]):
                raise self.refuse("an operator after each number", shortened(token))
            glued = match["number"] is not None
            if match["number"]:
                parts.append(f"_{len(numbers)}")
                numbers.append(self._number(token))
            else:
                if match["name"]:
                    self._check_name(token)
                parts.append(token if token.strip() else " ")
            depth += (token == "(") - (token == ")")
            if depth > MAX_DEPTH:
                raise self.refuse(f"parentheses at most {MAX_DEPTH} deep", "more")
        return "".join(parts).strip(), numbers

    def tree(self, source: str) -> ast.expr:
        """Parse the tokens.

        Raises:
            SettingsError: no formula, or too many nodes.
        """
        if not source:
            raise self.refuse("a formula", "nothing")
        try:
            tree = ast.parse(source, mode="eval").body
            nodes = sum(isinstance(node, ast.expr) for node in ast.walk(tree))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self.refuse("a formula", "malformed or too deep text") from error
        if nodes > MAX_NODES:
            raise self.refuse(f"at most {MAX_NODES} numbers, names and operations", str(nodes))
        return tree

    def _strange(self, character: str) -> SettingsError:
        if character == "^":
            return self.refuse("** for a power", "'^'")
        return self.refuse(_ALLOWED, f"the character {character!a}")

    def _check_name(self, name: str) -> None:
        if name not in (*self.names, *FUNCTIONS, *CONSTANTS, "True"):
            listed = ", ".join((*self.names, *CONSTANTS))
            raise self.refuse(f"{listed}, {_ALLOWED}", f"the name {shortened(name)}")

    def _number(self, token: str) -> Fraction:
        if len(token) > MAX_DIGITS + 10:
            raise self.refuse(f"numbers of at most {MAX_DIGITS} digits", f"{len(token)} characters")
        value = parse_exact(token, where=self.where)
        self.check_size(value)
        return value

    def check_size(self, value: Fraction) -> None:
        """Refuse a constant that is too long to be worked with."""
        if max(abs(value.numerator), value.denominator) >= _TOO_LONG:
            raise self.refuse(f"numbers of at most {MAX_DIGITS} digits", "a longer one")


class _Builder:
    """From the syntax tree to SymPy, node by node, without evaluation."""

    def __init__(self, reader: _Reader, numbers: Sequence[Fraction]) -> None:
        import sympy

        self.sp, self.reader, self.numbers = sympy, reader, numbers

    def expression(self, node: ast.expr, depth: int) -> sp.Expr:
        if depth > MAX_DEPTH:
            raise self.reader.refuse(f"at most {MAX_DEPTH} operations inside each other", "more")
        match node:
            case ast.Name(id=name):
                return self._name(name)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.expression(operand, depth + 1)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.negative(self.expression(operand, depth + 1))
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                return self._sum(node, depth)
            case ast.BinOp(op=ast.Mult() | ast.Div()):
                return self._product(node, depth)
            case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
                return self._power(
                    self.expression(base, depth + 1), self.expression(exponent, depth + 1)
                )
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments, depth)
        raise self.reader.refuse("one formula", _kind(node))

    # --- numbers and names ---------------------------------------------------------------------

    def rational(self, value: Fraction) -> sp.Expr:
        self.reader.check_size(value)
        return self.sp.Rational(value.numerator, value.denominator)

    def _name(self, name: str) -> sp.Expr:
        if name.startswith("_"):
            return self.rational(self.numbers[int(name[1:])])
        if name in self.reader.names:
            return variable(name)
        if name in CONSTANTS:
            return getattr(self.sp, name)
        raise self.reader.refuse(f"{name} with its operand in parentheses", "the name alone")

    # --- arithmetic ----------------------------------------------------------------------------

    def negative(self, x: sp.Expr) -> sp.Expr:
        return self.product([self.sp.Integer(-1), x])

    def sum(self, terms: Sequence[sp.Expr]) -> sp.Expr:
        if all(term.is_Rational for term in terms):
            return self.rational(sum(map(_fraction, terms), Fraction(0)))
        return self.sp.Add(*terms, evaluate=False)

    def product(self, factors: Sequence[sp.Expr]) -> sp.Expr:
        """Multiply; the rational factors become one, in front, and a factor 1 is left out."""
        coefficient, rest = Fraction(1), []
        for factor in factors:
            if factor.is_Rational:
                coefficient *= _fraction(factor)
                self.reader.check_size(coefficient)
            else:
                rest.append(factor)
        first = [self.rational(coefficient)] if coefficient != 1 or not rest else []
        return self.sp.Mul(*first, *rest, evaluate=False)

    def reciprocal(self, x: sp.Expr) -> sp.Expr:
        return self.power(x, Fraction(-1))

    def power(self, base: sp.Expr, exponent: Fraction) -> sp.Expr:
        """Raise to a rational power; a rational base is evaluated if the exponent is whole."""
        if exponent == 1:
            return base
        if base.is_Rational:
            self._check_real(base, exponent)
            if exponent.denominator == 1:
                bits = max(int(base.p).bit_length(), int(base.q).bit_length())
                self.reader.check_size(Fraction(1 << max(0, bits - 1) * abs(exponent.numerator)))
                return self.rational(_fraction(base) ** exponent.numerator)
        return self.sp.Pow(base, self.rational(exponent), evaluate=False)

    def _check_real(self, base: sp.Expr, exponent: Fraction) -> None:
        if base == 0 and exponent < 0:
            raise self.reader.refuse("a real number", "a division by zero")
        if base < 0 and exponent.denominator != 1:
            raise self.reader.refuse("a real number", "a root of a negative number")

    def _sum(self, node: ast.expr, depth: int) -> sp.Expr:
        terms = []
        for minus, item in _chain(node, (ast.Add, ast.Sub)):
            term = self.expression(item, depth + 1)
            terms.append(self.negative(term) if minus else term)
        return self.sum(terms)

    def _product(self, node: ast.expr, depth: int) -> sp.Expr:
        factors = []
        for over, item in _chain(node, (ast.Mult, ast.Div)):
            factor = self.expression(item, depth + 1)
            factors.append(self.reciprocal(factor) if over else factor)
        return self.product(factors)

    def _power(self, base: sp.Expr, exponent: sp.Expr) -> sp.Expr:
        if base is self.sp.E:
            return self.sp.exp(exponent, evaluate=False)
        if not exponent.is_Rational:
            raise self.reader.refuse(
                "a rational number as exponent (2**z is exp(z*log(2)))", "another exponent"
            )
        value = _fraction(exponent)
        if abs(value.numerator) > MAX_EXPONENT or value.denominator > MAX_EXPONENT:
            raise self.reader.refuse(
                f"exponents p/q with |p| and q at most {MAX_EXPONENT}", "a larger one"
            )
        return self.power(base, value)

    # --- functions -----------------------------------------------------------------------------

    def _call(self, name: str, arguments: Sequence[ast.expr], depth: int) -> sp.Expr:
        if name not in FUNCTIONS:
            raise self.reader.refuse("an operator before each parenthesis", f"{name}(...)")
        if name == "Piecewise":
            return self._piecewise(arguments, depth)
        several = name.lower() in ("max", "min")
        if len(arguments) != 1 and not (several and arguments):
            wanted = f"{name} of {'some' if several else 'one'} operand"
            raise self.reader.refuse(wanted, str(len(arguments)))
        operands = [self.expression(item, depth + 1) for item in arguments]
        if several:
            function = self.sp.Max if name.lower() == "max" else self.sp.Min
            return function(*operands, evaluate=False)
        return self._function(name, operands[0])

    def _function(self, name: str, x: sp.Expr) -> sp.Expr:
        one = self.sp.Integer(1)
        defined: dict[str, Callable[[], sp.Expr]] = {
            "sqrt": lambda: self.power(x, Fraction(1, 2)),
            "log": lambda: self._log(x),
            "log1p": lambda: self._log(self.sum([one, x])),
            "expm1": lambda: self.sum([self._plain("exp", x), -one]),
            "sigmoid": lambda: self.reciprocal(
                self.sum([one, self._plain("exp", self.negative(x))])
            ),
            "softplus": lambda: self._log(self.sum([one, self._plain("exp", x)])),
            "abs": lambda: self._plain("Abs", x),
            "arctan": lambda: self._plain("atan", x),
        }
        return defined[name]() if name in defined else self._plain(name, x)

    def _plain(self, name: str, x: sp.Expr) -> sp.Expr:
        return getattr(self.sp, name)(x, evaluate=False)

    def _log(self, x: sp.Expr) -> sp.Expr:
        if x.is_Rational and x <= 0:
            raise self.reader.refuse("a real number", "a logarithm of a number that is not > 0")
        return self._plain("log", x)

    def _piecewise(self, arguments: Sequence[ast.expr], depth: int) -> sp.Expr:
        wanted = "Piecewise((value, condition), ..., (value, True))"
        pairs = []
        for place, item in enumerate(arguments, start=1):
            if not isinstance(item, ast.Tuple) or len(item.elts) != 2:
                raise self.reader.refuse(wanted, _kind(item))
            value, condition = item.elts
            last = isinstance(condition, ast.Constant) and condition.value is True
            if last != (place == len(arguments)):
                raise self.reader.refuse(wanted, f"another condition in pair {place}")
            held = self.sp.true if last else self._condition(condition, depth + 1)
            pairs.append((self.expression(value, depth + 1), held))
        if not pairs:
            raise self.reader.refuse(wanted, "no pairs")
        return self.sp.Piecewise(*pairs, evaluate=False)

    def _condition(self, node: ast.expr, depth: int) -> sp.Basic:
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            raise self.reader.refuse("one comparison < <= > >= as condition", _kind(node))
        left = self.expression(node.left, depth + 1)
        right = self.expression(node.comparators[0], depth + 1)
        if not (left.free_symbols or right.free_symbols):
            raise self.reader.refuse("a condition about the variable", "one about constants")
        if left.has(self.sp.Piecewise) or right.has(self.sp.Piecewise):  # SymPy would unfold it
            raise self.reader.refuse("a condition without pieces of its own", "a Piecewise inside")
        relation = getattr(self.sp, _RELATIONS[type(node.ops[0])])
        return relation(left, right, evaluate=False)


def _fraction(number: sp.Expr) -> Fraction:
    return Fraction(int(number.p), int(number.q))


def _chain(
    node: ast.expr, operators: tuple[type[ast.operator], type[ast.operator]]
) -> Iterator[tuple[bool, ast.expr]]:
    """Return the operands of a chain of one precedence in order, with the flag of the second."""
    items: list[tuple[bool, ast.expr]] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, operators):
        items.append((isinstance(node.op, operators[1]), node.right))
        node = node.left
    return reversed([*items, (False, node)])


def _kind(node: ast.expr) -> str:
    names: dict[type[ast.expr], str] = {
        ast.Tuple: "a list with commas",
        ast.Compare: "a comparison outside the conditions of Piecewise",
        ast.Constant: "True outside the conditions of Piecewise",
        ast.Call: "a call of something that is no function",
    }
    return names.get(type(node), "something else")


def _check_powers(expression: sp.Expr, reader: _Reader) -> None:
    """Refuse towers of powers, which SymPy would multiply out."""
    waiting = [(expression, 1)]
    while waiting:
        item, weight = waiting.pop()
        if item.is_Pow and item.exp.is_Rational:
            weight *= max(1, abs(int(item.exp.p)))
        if weight > MAX_NESTED_EXPONENT:
            raise reader.refuse(
                f"powers of powers with a product of exponents up to {MAX_NESTED_EXPONENT}", "more"
            )
        waiting.extend((child, weight) for child in item.args)
