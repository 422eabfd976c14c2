"""From enclosures to the truth of a hypothesis: the one place where numbers are compared.

`decide` evaluates a SymPy Boolean of relations and facts over boxes of real numbers in rational
and ball arithmetic. Its answer holds for every point of the box, so it never depends on how wide
the enclosures are, only whether there is one. It tries, in this order: intervals with growing
precision; the exact sign of the difference where every quantity is one number; monotonicity and
the mean value form of the simplified difference; then bisection of the box.

A relation whose sides need not be real numbers somewhere in the box is undecided there.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial

import sympy as sp
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from verify._formula import (
    BINARY_DIGITS,
    Box,
    Node,
    algebraic_sign,
    formula,
    is_narrow,
    middle,
    refined,
    size,
    symbols_of,
    value,
)
from verify._interval import INF, DomainFault, Interval, absolute, negative
from verify.enclosure import Enclosure
from verify.errors import StatementError
from verify.verdict import Truth, conjunction, disjunction

_MARGIN_DIGITS = 10  # binary; margins are read, not computed with
_LADDER = (64, 256, 1024, 4096)  # bits
_BITS = 192  # of margins and points
_WORK = 2000  # operations in the parts of a bisected box
_ZERO = Interval.point(0)
_REALS = Interval(-INF, INF, True, True)
_NOT_NEGATIVE = Interval(Fraction(0), INF, False, True)
_RELATIONS = (sp.Lt, sp.Le, sp.Gt, sp.Ge, sp.Eq, sp.Ne)


@dataclass(frozen=True)
class Margin:
    """The room that a relation of the hypothesis has left: larger side minus smaller side.

    Positive means that the relation holds with that much to spare. For an equation it is
    -|lhs - rhs|, for an inequation |lhs - rhs|. Unbounded if it cannot be enclosed.
    """

    relation: Relational
    value: Enclosure


@dataclass(frozen=True)
class Decision:
    """The truth of a hypothesis and the margin of each relation, in order of appearance."""

    truth: Truth
    margins: tuple[Margin, ...]


def decide(
    hypothesis: Boolean,
    enclosures: Mapping[sp.Symbol, Enclosure],
    facts: Mapping[sp.Symbol, Truth],
) -> Decision:
    """Decide a hypothesis for all real numbers in the enclosures.

    Args:
        hypothesis: And, Or, Not of relations (< <= > >= == !=) between formulas of + - * /,
            powers, exp, log, Min, Max, Abs, rational numbers, pi, E; and of fact symbols.
        enclosures: one `Enclosure` for each symbol in a relation; more are ignored.
        facts: one `Truth` for each Boolean symbol; more are ignored.

    Returns:
        PROVED if the hypothesis holds at every point of the enclosures, REFUTED if it fails at
        every point, else UNDECIDED.

    Raises:
        StatementError: an unknown symbol or operation, a value that is no `Enclosure` or `Truth`.
    """
    box = _box(hypothesis, enclosures, facts)
    truth = _decided(hypothesis, box, facts)
    margins = []
    for relation in _relations(hypothesis):
        own = truth if relation == hypothesis else _relation_truth(relation, box, _BITS)
        margins.append(Margin(relation, _margin(relation, own, box)))
    return Decision(truth, tuple(margins))


def truth_of(
    hypothesis: Boolean,
    enclosures: Mapping[sp.Symbol, Enclosure],
    facts: Mapping[sp.Symbol, Truth],
) -> Truth:
    """Return what `decide` says of a hypothesis, without the margins, which cost more."""
    return _decided(hypothesis, _box(hypothesis, enclosures, facts), facts)


def _box(
    hypothesis: Boolean,
    enclosures: Mapping[sp.Symbol, Enclosure],
    facts: Mapping[sp.Symbol, Truth],
) -> Box:
    _check(hypothesis, enclosures, facts)
    used = [symbol for symbol in _numbers(hypothesis) if symbol in enclosures]
    return {symbol: Interval.of(enclosures[symbol]) for symbol in used}


def evaluate(expression: sp.Expr, enclosures: Mapping[sp.Symbol, Enclosure]) -> Enclosure:
    """Enclose a formula; unbounded where it need not be a real number.

    Raises:
        StatementError: an unknown symbol or operation, or a value that is no `Enclosure`.
    """
    _check_numbers(expression, enclosures)
    box = {symbol: Interval.of(enclosures[symbol]) for symbol in expression.free_symbols}
    if not _is_real((expression,), box):
        return Enclosure.unbounded()
    return _best(_forms(expression), box, _BITS).enclosure()


def aim_for(
    hypothesis: Boolean, symbol: sp.Symbol, known: Mapping[sp.Symbol, Enclosure]
) -> Enclosure | None:
    """Return the number at which the relation that contains the symbol turns, or None.

    Only relations a s^r + b in which a and b are formulas of known symbols are solved. It is a hint
    at which a kernel may stop.
    """
    aims = set()
    for relation in _relations(hypothesis):
        if symbol in relation.free_symbols:
            aims.add(_turning_point(relation, symbol, known))
    return aims.pop() if len(aims) == 1 else None


def _turning_point(
    relation: Relational, symbol: sp.Symbol, known: Mapping[sp.Symbol, Enclosure]
) -> Enclosure | None:
    solved = _solved(relation, symbol)
    if solved is None or not solved[0].free_symbols <= set(known):
        return None
    power, exponent = solved
    target = evaluate(power, known)
    if exponent != 1 and target.lo >= 0:
        t = sp.Symbol("t", real=True)
        target = evaluate(t ** (1 / exponent), {t: target})
    elif exponent != 1:
        return None
    return target if target.is_bounded else None


@lru_cache(maxsize=256)
def _solved(relation: Relational, symbol: sp.Symbol) -> tuple[sp.Expr, sp.Rational] | None:
    """Return (-b/a, r) if lhs - rhs is a s^r + b with a and b without s."""
    difference = relation.lhs - relation.rhs
    if _is_small(difference):
        difference = sp.expand(difference)
    rest, dependent = difference.as_independent(symbol, as_Add=True)
    factor, power = dependent.as_independent(symbol, as_Add=False)
    base, exponent = power.as_base_exp()
    solvable = base == symbol and isinstance(exponent, sp.Rational)
    return (-rest / factor, exponent) if solvable else None


# --- what may be asked -----------------------------------------------------------------------


def _check(
    hypothesis: Boolean,
    enclosures: Mapping[sp.Symbol, Enclosure],
    facts: Mapping[sp.Symbol, Truth],
) -> None:
    for atom in _atoms(hypothesis):
        if isinstance(atom, Relational):
            _check_numbers(atom.lhs, enclosures)
            _check_numbers(atom.rhs, enclosures)
        elif not isinstance(facts.get(atom), Truth):
            raise StatementError(
                f"decide: expected a Truth for the fact {atom}, but got {facts.get(atom)!r}"
            )


def _check_numbers(expression: sp.Basic, enclosures: Mapping[sp.Symbol, Enclosure]) -> None:
    if not isinstance(expression, sp.Expr):
        raise StatementError(f"decide: expected a formula, but got {expression!r}")
    formula(expression)
    for symbol in expression.free_symbols:
        if not isinstance(enclosures.get(symbol), Enclosure):
            raise StatementError(
                f"decide: expected an Enclosure for the quantity {symbol}, "
                f"but got {enclosures.get(symbol)!r}; a measurement decides nothing"
            )


def _atoms(hypothesis: sp.Basic) -> Iterator[Relational | sp.Symbol]:
    if isinstance(hypothesis, sp.And | sp.Or | sp.Not):
        for item in hypothesis.args:
            yield from _atoms(item)
    elif isinstance(hypothesis, (sp.Symbol, *_RELATIONS)):
        yield hypothesis
    else:
        raise StatementError(
            f"decide: expected And, Or and Not of relations and facts, but got {hypothesis!r}"
        )


def _relations(hypothesis: Boolean) -> list[Relational]:
    return [atom for atom in _atoms(hypothesis) if isinstance(atom, Relational)]


def _numbers(hypothesis: Boolean) -> list[sp.Symbol]:
    symbols = {s for relation in _relations(hypothesis) for s in relation.free_symbols}
    return sorted(symbols, key=str)


# --- the truth over a box --------------------------------------------------------------------


def _decided(hypothesis: Boolean, box: Box, facts: Mapping[sp.Symbol, Truth]) -> Truth:
    truth = _truth(hypothesis, box, facts, _LADDER[0])
    if truth is not Truth.UNDECIDED or _turns_inside(hypothesis, box, facts):
        return truth
    for bits in _LADDER[1:]:
        truth = _truth(hypothesis, box, facts, bits)
        if truth is not Truth.UNDECIDED:
            return truth
    return _bisected(hypothesis, box, facts) if _repeats(hypothesis, box) else Truth.UNDECIDED


def _repeats(hypothesis: Boolean, box: Box) -> bool:
    """Return whether a symbol with a range occurs twice; else bisection adds nothing."""
    sides = (formula(side) for r in _relations(hypothesis) for side in r.args)
    occurring = [symbol for side in sides for symbol in symbols_of(side)]
    return any(occurring.count(symbol) > 1 and not own.is_point for symbol, own in box.items())


def _truth(hypothesis: sp.Basic, box: Box, facts: Mapping[sp.Symbol, Truth], bits: int) -> Truth:
    if isinstance(hypothesis, sp.And):
        return conjunction(_truth(item, box, facts, bits) for item in hypothesis.args)
    if isinstance(hypothesis, sp.Or):
        return disjunction(_truth(item, box, facts, bits) for item in hypothesis.args)
    if isinstance(hypothesis, sp.Not):
        return _truth(hypothesis.args[0], box, facts, bits).negation()
    if isinstance(hypothesis, Relational):
        return _relation_truth(hypothesis, box, bits)
    return Truth(facts[hypothesis])


def _relation_truth(relation: Relational, box: Box, bits: int) -> Truth:
    """Compare the sides, then 0 with the difference, which sees a quantity that occurs twice."""
    try:
        lhs, rhs = (value(formula(side), box, bits) for side in relation.args)
        truth = _compared(relation, lhs, rhs)
        if truth is not Truth.UNDECIDED:
            return truth
        sign = _point_sign(relation, box)
        if sign is not None:
            return _compared(relation, Interval.point(sign), _ZERO)
    except DomainFault:
        return Truth.UNDECIDED
    return _compared(relation, _difference(relation, box, bits), _ZERO)


def _compared(relation: Relational, lhs: Interval, rhs: Interval) -> Truth:
    if isinstance(relation, sp.Gt | sp.Ge):
        lhs, rhs = rhs, lhs
    if isinstance(relation, sp.Lt | sp.Gt):
        return _either(lhs.precedes(rhs), rhs.not_after(lhs))
    if isinstance(relation, sp.Le | sp.Ge):
        return _either(lhs.not_after(rhs), rhs.precedes(lhs))
    equal = lhs.is_point and rhs.is_point and lhs.lo == rhs.lo
    truth = _either(equal, lhs.precedes(rhs) or rhs.precedes(lhs))
    return truth if isinstance(relation, sp.Eq) else truth.negation()


def _either(proved: bool, refuted: bool) -> Truth:
    if proved:
        return Truth.PROVED
    return Truth.REFUTED if refuted else Truth.UNDECIDED


def _point_sign(relation: Relational, box: Box) -> int | None:
    """Return the exact sign of lhs - rhs at a point, or None if it is none or too hard."""
    if not all(box[symbol].is_point for symbol in relation.free_symbols):
        return None
    difference = sp.Add(relation.lhs, -relation.rhs, evaluate=False)
    sign = algebraic_sign(formula(difference), box)
    if sign is not None or not _is_small(difference):
        return sign
    numbers = {s: _rational(box[s].lo) for s in relation.free_symbols}
    lhs, rhs = (side.xreplace(numbers) for side in relation.args)
    split = all(abs(x.p).bit_length() <= 64 >= x.q.bit_length() for x in numbers.values())
    return 0 if sp.expand_log(sp.expand(lhs - rhs), factor=split) == 0 else None


def _rational(end: Fraction | float) -> sp.Rational:
    exact = Fraction(end)
    return sp.Rational(exact.numerator, exact.denominator)


@lru_cache(maxsize=256)
def _forms(expression: sp.Expr) -> tuple[Node, ...]:
    """Return forms of a formula, equal where it is real; the box says which is tightest."""
    nodes = [formula(expression)]
    occurring = list(symbols_of(nodes[0]))
    repeated = len(set(occurring)) < len(occurring)
    for rewrite in (sp.expand, sp.factor) if repeated and _is_small(expression) else ():
        with suppress(sp.PolynomialError, NotImplementedError, StatementError):
            nodes.append(formula(rewrite(expression)))
    return tuple(dict.fromkeys(nodes))


def _is_small(expression: sp.Expr) -> bool:
    """Return whether expanding the formula is cheap."""
    powers = (power.exp for power in expression.atoms(sp.Pow))
    exponents = (exponent for exponent in powers if exponent.is_Rational)
    return sp.count_ops(expression) <= 100 and all(abs(e) <= 8 for e in exponents)


def _difference(relation: Relational, box: Box, bits: int, wanted: int = BINARY_DIGITS) -> Interval:
    forms = _forms(relation.lhs - relation.rhs)
    return _best(forms, box, bits, partial(_point_sign, relation), wanted)


def _best(
    forms: tuple[Node, ...],
    box: Box,
    bits: int,
    sign_at: Callable[[Box], int | None] = lambda box: None,
    wanted: int = BINARY_DIGITS,
) -> Interval:
    result = _REALS
    for form in forms:
        try:
            result = result.intersection(refined(form, box, bits, sign_at, wanted=wanted))
            if is_narrow(result, wanted):
                break
        except DomainFault:  # of this form only; another may have no division by zero
            continue
    return result


# --- points and bisection --------------------------------------------------------------------


def _turns_inside(hypothesis: Boolean, box: Box, facts: Mapping[sp.Symbol, Truth]) -> bool:
    """Return whether the hypothesis holds at one point of the box and fails at another."""
    seen = set[Truth]()
    for point in _points(box):
        seen.add(_truth(hypothesis, point, facts, _BITS))
        if {Truth.PROVED, Truth.REFUTED} <= seen:
            return True
    return False


def _points(box: Box) -> Iterator[Box]:
    """Corners and middles; an infinite end is represented by a number far out."""
    choices = []
    for own in box.values():
        far = Fraction(1 << 70)
        lo = own.lo if isinstance(own.lo, Fraction) else min(middle(own), -far)
        hi = own.hi if isinstance(own.hi, Fraction) else max(middle(own), far)
        choices.append(sorted({lo, middle(own), hi}))
    for numbers in itertools.islice(itertools.product(*choices), 27):
        yield {s: Interval.point(x) for s, x in zip(box, numbers, strict=True)}


def _bisected(hypothesis: Boolean, box: Box, facts: Mapping[sp.Symbol, Truth]) -> Truth:
    """Bisect the box until every part has the same truth, two parts differ, or too many parts."""
    queue, seen = deque([dict(box)]), set[Truth]()
    operations = sum(size(formula(side)) for r in _relations(hypothesis) for side in r.args)
    for _ in range(_WORK // max(operations, 10)):
        if not queue:
            return seen.pop()
        part = queue.popleft()
        truth = _truth(hypothesis, part, facts, _LADDER[0])
        if truth is Truth.UNDECIDED:
            halves = _halves(part)
            if not halves:
                return Truth.UNDECIDED
            queue.extend(halves)
        else:
            seen.add(truth)
            if len(seen) == 2:
                return Truth.UNDECIDED
    return Truth.UNDECIDED


def _halves(box: Box) -> list[dict[sp.Symbol, Interval]]:
    """Split the box at the middle of its widest side; [] if there is nothing left to split."""
    symbol = max(box, key=lambda s: _width(box[s]), default=None)
    if symbol is None or box[symbol].is_point:
        return []
    own, at = box[symbol], middle(box[symbol])
    if not own.lo < at < own.hi:
        return []
    low = Interval(own.lo, at, own.lo_open)
    high = Interval(at, own.hi, False, own.hi_open)
    return [{**box, symbol: low}, {**box, symbol: high}]


def _width(own: Interval) -> Fraction | float:
    if not (isinstance(own.lo, Fraction) and isinstance(own.hi, Fraction)):
        return float("inf")
    return (own.hi - own.lo) / max(Fraction(1), -own.lo, own.hi)


# --- margins ---------------------------------------------------------------------------------


def _margin(relation: Relational, truth: Truth, box: Box) -> Enclosure:
    """Return the room of a relation, with the sign that belongs to its truth."""
    if not _is_real(relation.args, box):
        return Enclosure.unbounded()
    room = _difference(relation, box, _BITS, wanted=_MARGIN_DIGITS)
    if isinstance(relation, sp.Lt | sp.Le):
        room = negative(room)
    elif isinstance(relation, sp.Ne):
        room = absolute(room)
    elif isinstance(relation, sp.Eq):
        room = negative(absolute(room))
    if truth is Truth.PROVED:
        room = room.intersection(_NOT_NEGATIVE)
    elif truth is Truth.REFUTED:
        room = room.intersection(negative(_NOT_NEGATIVE))
    return room.enclosure()


def _is_real(expressions: tuple[sp.Expr, ...], box: Box) -> bool:
    """Return whether the formulas are proved to be real numbers everywhere in the box."""
    try:
        for expression in expressions:
            value(formula(expression), box, _BITS)
    except DomainFault:
        return False
    return True
