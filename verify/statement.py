"""Statements: a hypothesis as one SymPy relation, from which everything else derives.

The decision, the LaTeX in the report, the text in the terminal and the portable tree in the
certificate all come from `Statement.hypothesis`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import sympy as sp
from sympy.logic.boolalg import Boolean, BooleanFalse, BooleanTrue

from verify.errors import StatementError

Direction = Literal["sufficient", "necessary", "equivalent"]
Scope = Literal["point", "ball", "stored trajectory", "data set", "every bias", "every input"]


@dataclass(frozen=True)
class Source:
    """Where a statement comes from: a citation key and the place in it."""

    key: str
    where: str


@dataclass(frozen=True)
class Quantity:
    """A real number of a statement; its symbol is ``real=True`` and nothing stronger."""

    symbol: sp.Symbol
    meaning: str
    latex: str = ""

    def __post_init__(self) -> None:
        if self.symbol.assumptions0 != sp.Symbol("_", real=True).assumptions0:
            raise StatementError(
                f"Quantity: expected symbol {self.symbol} with real=True and nothing stronger, "
                f"but got assumptions {self.symbol._assumptions_orig!r}; "
                f"a stronger one lets SymPy decide the hypothesis by itself"
            )


@dataclass(frozen=True)
class Fact:
    """A yes-or-no hypothesis that is no inequality, as a SymPy Boolean symbol."""

    symbol: sp.Symbol
    meaning: str
    latex: str = ""

    def __post_init__(self) -> None:
        if self.symbol.assumptions0 != sp.Symbol("_").assumptions0:
            raise StatementError(
                f"Fact: expected symbol {self.symbol} without assumptions, "
                f"but got {self.symbol._assumptions_orig!r}"
            )


def quantity(name: str, meaning: str, *, latex: str = "") -> Quantity:
    """Return a quantity with the symbol that statements need."""
    return Quantity(sp.Symbol(name, real=True), meaning, latex)


def fact(name: str, meaning: str, *, latex: str = "") -> Fact:
    """Return a fact with the symbol that statements need."""
    return Fact(sp.Symbol(name), meaning, latex)


@dataclass(frozen=True)
class Statement:
    """A hypothesis about named quantities and facts, and what follows from it.

    Args:
        hypothesis: SymPy Boolean of relations and fact symbols, exact numbers only.
        about: every `Quantity` and `Fact` whose symbol occurs in the hypothesis.
        conclusion: one sentence.
        direction: what the hypothesis is to the conclusion.
        source: paper and place.
        assumes: what must hold and is not checked here.
        scope: what the conclusion speaks about.
        letters: names of formulas that the hypothesis contains, each after those that it contains;
            the plain text is written with them, and nothing else depends on them.

    Raises:
        StatementError: inexact numbers, no free symbols, symbols that ``about`` lacks, or letters
            that are symbols of the hypothesis already; where it is first read, letters that
            change it.
    """

    hypothesis: Boolean
    about: tuple[Quantity | Fact, ...]
    conclusion: str
    direction: Direction
    source: Source
    scope: Scope
    assumes: tuple[str, ...] = ()
    letters: tuple[tuple[str, sp.Expr], ...] = ()
    tree: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if isinstance(self.hypothesis, BooleanTrue | BooleanFalse):
            raise StatementError(
                f"Statement: expected a hypothesis with free symbols, but got {self.hypothesis!r}; "
                f"SymPy decided it at construction"
            )
        if not isinstance(self.hypothesis, Boolean):
            raise StatementError(
                f"Statement: expected a SymPy Boolean, but got {self.hypothesis!r}"
            )
        inexact = self.hypothesis.atoms(sp.Float)
        if inexact:
            raise StatementError(
                f"Statement: expected exact numbers, but got {sorted(map(str, inexact))}; "
                f"use sympy.Rational"
            )
        named = {item.symbol for item in self.about}
        used = self.hypothesis.free_symbols
        if named != used:
            raise StatementError(
                f"Statement: expected `about` to name exactly the symbols {_names(used)}, "
                f"but got {_names(named)}"
            )
        object.__setattr__(self, "tree", to_tree(self.hypothesis))
        asserted = _asserted(self.hypothesis)
        if asserted != {item.symbol for item in self.facts}:
            raise StatementError(
                f"Statement: expected facts, and nothing else, outside relations, "
                f"but got {_names(asserted)} there"
            )
        if used & {sp.Symbol(name, real=True) for name, _ in self.letters}:
            raise self._wrong_letters()

    def _wrong_letters(self) -> StatementError:
        return StatementError(
            f"Statement: expected new letters for parts of the hypothesis, "
            f"but got {[name for name, _ in self.letters]}"
        )

    @cached_property
    def _shortened(self) -> sp.Basic:
        """The hypothesis with the letters in the place of what they stand for.

        SymPy is slow to find the parts, so that is done, and checked, where it is first read.
        """
        shortened = restored = _with_letters(self.hypothesis, self.letters)
        for name, formula in reversed(self.letters):
            restored = restored.xreplace({sp.Symbol(name, real=True): formula})
        if restored != self.hypothesis:
            raise self._wrong_letters()
        return shortened

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The real-valued quantities of the hypothesis."""
        return tuple(item for item in self.about if isinstance(item, Quantity))

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The facts of the hypothesis."""
        return tuple(item for item in self.about if isinstance(item, Fact))

    def latex(self) -> str:
        """Return the hypothesis as LaTeX; a fact without notation of its own reads as words."""
        return self._written(self._shortened)

    def latex_of(self, part: sp.Basic) -> str:
        """Return a part of the hypothesis as LaTeX, with the same notation and the letters."""
        return self._written(_with_letters(part, self.letters))

    def where_latex(self) -> tuple[str, ...]:
        """Return what the letters stand for, each as an equation in LaTeX."""
        return tuple(
            self._written(sp.Symbol(name, real=True))
            + " = "
            + self._written(_with_letters(formula, self.letters[:k]))
            for k, (name, formula) in enumerate(self.letters)
        )

    def _written(self, part: sp.Basic) -> str:
        names = {
            item.symbol: item.latex
            or (rf"\text{{{item.meaning}}}" if isinstance(item, Fact) else "")
            for item in self.about
        }
        for name, _ in self.letters:
            names[sp.Symbol(name, real=True)] = name if len(name) == 1 else rf"\mathrm{{{name}}}"
        return str(sp.latex(part, symbol_names={k: v for k, v in names.items() if v}))

    def text(self) -> str:
        """Return the hypothesis as one line of plain text; facts are spelled out."""
        spelled = {item.symbol: sp.Symbol(item.meaning) for item in self.facts}
        said = str(sp.sstr(self._shortened.xreplace(spelled), order="none"))
        where = [
            f"{name} = {sp.sstr(_with_letters(formula, self.letters[:k]), order='none')}"
            for k, (name, formula) in enumerate(self.letters)
        ]
        return f"{said}, where {', '.join(where)}" if where else said


def _with_letters(formula: sp.Basic, letters: Sequence[tuple[str, sp.Expr]]) -> sp.Basic:
    """Put letters for their formulas, the longest formulas first."""
    for name, meaning in reversed(letters):
        formula = formula.subs(meaning, sp.Symbol(name, real=True))
    return formula


def _asserted(hypothesis: sp.Basic) -> set[sp.Symbol]:
    """Return the symbols that the hypothesis combines as Booleans, outside of relations."""
    if isinstance(hypothesis, sp.Symbol):
        return {hypothesis}
    parts = hypothesis.args if isinstance(hypothesis, sp.And | sp.Or | sp.Not) else ()
    return {symbol for part in parts for symbol in _asserted(part)}


def _names(symbols: Iterable[sp.Basic]) -> list[str]:
    return sorted(str(symbol) for symbol in symbols)


_HEADS: dict[str, Any] = {
    "+": sp.Add, "*": sp.Mul, "^": sp.Pow, "exp": sp.exp, "log": sp.log,
    "min": sp.Min, "max": sp.Max, "abs": sp.Abs,
    "<": sp.StrictLessThan, "<=": sp.LessThan, ">": sp.StrictGreaterThan, ">=": sp.GreaterThan,
    "==": sp.Equality, "!=": sp.Unequality, "and": sp.And, "or": sp.Or, "not": sp.Not,
}  # fmt: skip
_NAMES = {head: name for name, head in _HEADS.items()}
_CONSTANTS = {"pi": sp.pi, "e": sp.E}
_CONSTANT_NAMES = {constant: name for name, constant in _CONSTANTS.items()}


def to_tree(expression: sp.Basic) -> list[Any]:
    """Return the portable tree: nested lists of operator names, symbols and integer strings.

    ``["<", ["quantity", "q"], ["integer", "1"]]``; rationals are ``["rational", "p", "q"]``, facts
    ``["fact", name]``, constants ``["constant", "pi"]``. Arguments are sorted as SymPy sorts them.

    Raises:
        StatementError: the expression uses an operation that `verify.decide` does not know.
    """
    if isinstance(expression, sp.Symbol):
        return ["quantity" if expression.is_real else "fact", expression.name]
    if isinstance(expression, sp.Integer):
        return ["integer", str(int(expression))]
    if isinstance(expression, sp.Rational):
        return ["rational", str(expression.p), str(expression.q)]
    if expression in _CONSTANT_NAMES:
        return ["constant", _CONSTANT_NAMES[expression]]
    head = _NAMES.get(expression.func)
    if head is None:
        raise StatementError(
            f"to_tree: expected one of {sorted(_HEADS)}, but got {expression.func.__name__} "
            f"in {expression!r}"
        )
    if head == "exp":
        return [head, to_tree(expression.args[0])]
    return [head, *(to_tree(argument) for argument in expression.args)]


def from_tree(tree: Any) -> sp.Basic:
    """Read what `to_tree` wrote.

    Raises:
        StatementError: the tree is malformed.
    """
    try:
        head, *rest = tree
        if head == "quantity":
            return sp.Symbol(rest[0], real=True)
        if head == "fact":
            return sp.Symbol(rest[0])
        if head == "integer":
            return sp.Integer(int(rest[0]))
        if head == "rational":
            exact = Fraction(int(rest[0]), int(rest[1]))
            return sp.Rational(exact.numerator, exact.denominator)
        if head == "constant":
            return _CONSTANTS[rest[0]]
        return _HEADS[head](*(from_tree(item) for item in rest))
    except StatementError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise StatementError(f"from_tree: expected a portable tree, but got {tree!r}") from error
