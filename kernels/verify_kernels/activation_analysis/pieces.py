"""Cutting the real line where Abs, Max, Min, sign and Piecewise switch.

Between two cuts a formula is one without switches, real-analytic on the closed piece. Signs of
the switching arguments are proved on all of R: by balls on a bounded part, by expansions outside.
The same search proves that logarithms, roots and quotients are defined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from flint import arb, ctx, fmpq

from verify_kernels.activation_analysis.coefficients import MOST_BITS, UnclearError
from verify_kernels.activation_analysis.exact_points import exact_derivatives
from verify_kernels.activation_analysis.extrema import Budget
from verify_kernels.activation_analysis.jet import constant, derivatives
from verify_kernels.activation_analysis.tail_bounds import STARTS, Tail, sign_of
from verify_kernels.activation_analysis.tree import Forest, Node, is_switching, postorder

Ball = Any
_MOST = 3000
_MULTIPLICITY = 4


class UndefinedError(Exception):
    """The formula is no real number at some point, which is enclosed."""

    def __init__(self, what: str, place: Ball | None) -> None:
        super().__init__(what)
        self.what, self.place = what, place


@dataclass(frozen=True, eq=False)
class Cut:
    """A point: a rational number, or a root known by a ball that holds no other."""

    ball: Ball
    exact: Fraction | None


@dataclass(frozen=True, eq=False)
class Piece:
    """A closed interval (None: unbounded) with the formula that holds inside it."""

    low: Cut | None
    high: Cut | None
    node: Node


Signed = tuple[Cut | None, Cut | None, int]


class Cutting:
    """Cuts one formula; keeps the points found, so that equal ones are one object."""

    def __init__(self, budget: Budget) -> None:
        self.forest, self.budget = Forest(), budget
        self.cuts: list[Cut] = []
        self.zeros: dict[Node, set[Cut]] = {}
        self.rough: list[str] = []
        self.rough_cuts: set[Cut] = set()
        self._known: dict[tuple[Node, int, int], list[Piece]] = {}

    def pieces(self, root: Node, low: Cut | None = None, high: Cut | None = None) -> list[Piece]:
        """Return the pieces of a formula between two cuts, from left to right.

        Raises:
            UndefinedError: it is proved to be undefined at some point between.
            UnclearError: a sign is not decided.
        """
        key = (root, id(low), id(high))
        if key not in self._known:
            self._known[key] = self._new(root, low, high)
        return self._known[key]

    def _new(self, node: Node, low: Cut | None, high: Cut | None) -> list[Piece]:
        if node.constant:
            _check_constant(node)
        if node.op == "z" or node.constant:
            return [Piece(low, high, node)]
        if node.op == "piecewise":
            return self._piecewise(node, 0, low, high)
        result = []
        for a, b, args in self._common([self.pieces(arg, low, high) for arg in node.args]):
            result.extend(self._apply(node, args, a, b))
        return result

    def _common(
        self, lists: Sequence[list[Piece]]
    ) -> Iterator[tuple[Cut | None, Cut | None, list[Node]]]:
        """Return the common refinement of several cuttings of one interval."""
        at = [0] * len(lists)
        low = lists[0][0].low
        while True:
            current = [pieces[k] for pieces, k in zip(lists, at, strict=True)]
            high = current[0].high
            for piece in current[1:]:
                if piece.high is not high and _before(piece.high, high):
                    high = piece.high
            yield low, high, [piece.node for piece in current]
            ended = False
            for k, piece in enumerate(current):
                if piece.high is high:
                    at[k] += 1
                    ended = ended or at[k] == len(lists[k])
            if ended:
                return
            low = high

    def _apply(
        self, node: Node, args: list[Node], low: Cut | None, high: Cut | None
    ) -> list[Piece]:
        forest, op = self.forest, node.op
        if op == "abs":
            return [
                Piece(a, b, args[0] if s >= 0 else forest.scaled(-1, args[0]))
                for a, b, s in self.signs(args[0], low, high, node.args[0])
            ]
        if op == "sign":
            return [
                Piece(a, b, forest.number(s))
                for a, b, s in self.signs(args[0], low, high, node.args[0])
            ]
        if op in ("max", "min"):
            return self._extreme(op, args, low, high)
        made = forest.rebuilt(node, args)
        ends = self._domain(op, node, args, low, high)
        return [Piece(a, b, made) for a, b in pairwise(ends)]

    def _extreme(self, op: str, args: list[Node], low: Cut | None, high: Cut | None) -> list[Piece]:
        pieces = [Piece(low, high, args[0])]
        for other in args[1:]:
            refined = []
            for piece in pieces:
                difference = self.forest.add(piece.node, self.forest.scaled(-1, other))
                for a, b, s in self.signs(difference, piece.low, piece.high):
                    first = s >= 0 if op == "max" else s <= 0
                    refined.append(Piece(a, b, piece.node if first else other))
            pieces = refined
        return pieces

    def _piecewise(self, node: Node, k: int, low: Cut | None, high: Cut | None) -> list[Piece]:
        value, relation = node.args[2 * k], node.data[k]
        if not relation:
            return self.pieces(value, low, high)
        difference = node.args[2 * k + 1]
        result = []
        for piece in self.pieces(difference, low, high):
            for a, b, s in self.signs(piece.node, piece.low, piece.high, difference):
                holds = {">": s > 0, ">=": s >= 0, "<": s < 0, "<=": s <= 0}[relation]
                if holds:
                    result.extend(self.pieces(value, a, b))
                else:
                    result.extend(self._piecewise(node, k + 1, a, b))
        return result

    # --- domains -----------------------------------------------------------------------------

    def _domain(
        self, op: str, node: Node, args: list[Node], low: Cut | None, high: Cut | None
    ) -> list[Cut | None]:
        """Show that an operation is defined; return both ends and the zeros of roots between.

        A root is not analytic where its operand vanishes.

        Raises:
            UndefinedError: it is proved to be undefined at some point between.
            UnclearError: a sign is not decided.
        """
        if op == "log1p":
            op, args = "log", [self.forest.add(args[0], self.forest.number(1))]
        root = op == "pow" and node.data.denominator != 1
        if not (op == "log" or root or (op == "pow" and node.data < 0)):
            return [low, high]
        what = "a logarithm of" if op == "log" else "a root of" if root else "a division by"
        strict = op == "log" or node.data < 0
        try:
            found = self.signs(args[0], low, high)
        except UnclearError:
            self._search_hole(what, args[0], low, high, division=op == "pow" and not root)
            raise
        for a, b, s in found:
            if (s < 0 and (op == "log" or root)) or (s == 0 and strict):
                raise UndefinedError(f"{what} a number that is not positive", _inside(a, b))
        inner = [a for a, _, _ in found[1:] if a is not None]
        if inner and strict:
            raise UndefinedError(f"{what} zero", inner[0].ball)
        outer = {cut for cut in (low, high) if cut is not None and self._vanishes(args[0], cut)}
        if strict and outer:
            raise UnclearError(f"{what} zero at the end of a piece")
        if root and (inner or outer):
            self.rough.append("a root at zero")
            self.rough_cuts.update(inner, outer)
        return [low, *inner, high]

    def _search_hole(
        self, what: str, g: Node, low: Cut | None, high: Cut | None, *, division: bool
    ) -> None:
        """Look for a point where g is negative, or for two signs of a divisor, at sample points.

        Raises:
            UndefinedError: such a point exists.
        """
        before: tuple[Ball, int] | None = None
        for k in range(-50, 51):
            x = (arb(k) * 2 / 5 + arb("0.03")).mid()
            if (low is not None and not x > low.ball) or (high is not None and not x < high.ball):
                continue
            value = derivatives(g, x, 0)[0]
            if not (value != 0 and value.is_finite()):
                continue
            sign = 1 if value > 0 else -1
            if sign < 0 and not division:
                raise UndefinedError(f"{what} a number that is not positive", x)
            if division and before is not None and before[1] != sign:
                raise UndefinedError(f"{what} zero", before[0].union(x))
            before = (x, sign)

    def _vanishes(self, node: Node, cut: Cut) -> bool:
        return bool(derivatives(node, cut.ball, 0)[0].contains(0))

    # --- signs -------------------------------------------------------------------------------

    def signs(
        self, g: Node, low: Cut | None, high: Cut | None, origin: Node | None = None
    ) -> list[Signed]:
        """Return the intervals on which a formula without switches has one sign.

        Args:
            g: the formula; sign 0 means that it is zero on the whole interval.
            low: the left end.
            high: the right end.
            origin: the node whose zeros these are, to be remembered.

        Raises:
            UnclearError: the sign is not decided.
        """
        found = _Signs(self, g, low, high).run()
        zeros = self.zeros.setdefault(origin or g, set())
        zeros.update(a for a, _, _ in found[1:] if a is not None)
        for cut in (low, high):
            if cut is not None and cut.exact is not None and _is_zero(g, cut.exact):
                zeros.add(cut)
        return found

    def cut_at(self, ball: Ball, exact: Fraction | None) -> Cut:
        """Return the one object for a point.

        Raises:
            UnclearError: it is not told apart from another one.
        """
        for cut in self.cuts:
            if exact is not None and cut.exact == exact:
                return cut
            if (exact is None or cut.exact is None) and cut.ball.overlaps(ball):
                raise UnclearError("two switching points are not told apart")
        self.cuts.append(Cut(ball, exact))
        return self.cuts[-1]


def _before(a: Cut | None, b: Cut | None) -> bool:
    if a is None or b is None:
        return b is None
    if a.ball < b.ball:
        return True
    if b.ball < a.ball:
        return False
    if a.exact is not None and b.exact is not None:
        return a.exact < b.exact
    raise UnclearError("two switching points are not told apart")


def _inside(a: Cut | None, b: Cut | None) -> Ball:
    if a is None:
        return arb(0) if b is None else b.ball - 1
    return a.ball + 1 if b is None else (a.ball + b.ball) / 2


def _check_constant(node: Node) -> None:
    if constant(node, ctx.prec).is_finite():
        return
    for part in postorder(node):
        if part.op == "pow" and part.data < 0 and constant(part.args[0], ctx.prec).is_zero():
            raise UndefinedError("a division by zero", None)
        if part.op in ("log", "log1p") or (part.op == "pow" and part.data.denominator != 1):
            inner = constant(part.args[0], ctx.prec) + (1 if part.op == "log1p" else 0)
            if inner < 0 or (inner.is_zero() and (part.op != "pow" or part.data < 0)):
                raise UndefinedError("a logarithm or root of a number that is not positive", None)
    raise UnclearError("a constant is not decided")


def rational_ball(value: Fraction) -> Ball:
    """Return the ball of a rational number, exact if it is dyadic and short."""
    return arb(fmpq(value.numerator, value.denominator))


def _is_zero(g: Node, place: Fraction) -> bool:
    found = exact_derivatives(g, place, 0)
    return found is not None and not found[0]


class _Signs:
    """One search for the signs of g between two cuts."""

    def __init__(self, owner: Cutting, g: Node, low: Cut | None, high: Cut | None) -> None:
        self.owner, self.g, self.low, self.high = owner, g, low, high
        self.count = 0
        self.cost = len(postorder(g))

    def run(self) -> list[Signed]:
        g = self.g
        if is_switching(g):
            raise UnclearError("a switch inside a switch is not resolved")
        if g.constant:
            return [(self.low, self.high, self._constant())]
        left, left_sign = self._end(self.low, -1)
        right, right_sign = self._end(self.high, 1)
        if left_sign == 0 or right_sign == 0:
            return [(self.low, self.high, 0)]
        self.spans: list[tuple[Ball, Ball, int]] = []
        roots = self._roots(left, right)
        return self._assembled(roots)

    def _constant(self) -> int:
        ball = constant(self.g, ctx.prec)
        if ball > 0:
            return 1
        if ball < 0:
            return -1
        if ball.is_zero() or _is_zero(self.g, Fraction(0)):
            return 0
        raise UnclearError("the sign of a constant is not decided")

    def _end(self, cut: Cut | None, side: int) -> tuple[Ball, int | None]:
        """Return an exact end of the bounded part, and the sign beyond it."""
        if cut is not None:
            return (cut.ball.lower() if side < 0 else cut.ball.upper()), None
        tail = Tail(self.g, side, order=0)
        for start in STARTS:
            made = tail.at(start)
            sign = sign_of(made[0]) if made else None
            if sign is not None:
                return arb(side * start), sign
        raise UnclearError(tail.why or "the sign at infinity is not decided")

    def _value(self, ball: Ball, order: int) -> list[Ball]:
        self.owner.budget.spend(self.cost)
        return derivatives(self.g, ball, order)

    def _roots(self, left: Ball, right: Ball) -> list[tuple[Cut, int, int]]:
        """Return the roots with the signs to their left and right."""
        found: list[tuple[Cut, int, int]] = []
        waiting = [(left, right)]
        while waiting:
            a, b = waiting.pop()
            self.count += 1
            if self.count > _MOST:
                raise UnclearError("a sign is not decided within the work allowed")
            ball = a.union(b)
            d = self._value(ball, 1)
            if d[0] != 0:
                self.spans.append((a, b, 1 if d[0] > 0 else -1))
                continue
            if self._simple(ball, a, b, d, found) or self._multiple(ball, a, b, found):
                continue
            if b - a < arb(2) ** -100 * (1 + abs(a)):
                raise UnclearError("a root is not resolved")
            middle = _split(a, b)
            waiting.extend([(middle, b), (a, middle)])
        return found

    def _simple(
        self, ball: Ball, a: Ball, b: Ball, d: list[Ball], found: list[tuple[Cut, int, int]]
    ) -> bool:
        """Settle a box on which g is strictly monotone."""
        if d[1].contains(0):
            return False
        first, last = self._value(a, 0)[0], self._value(b, 0)[0]
        if not (first != 0 and last != 0):
            return False
        if (first > 0) == (last > 0):
            self.spans.append((a, b, 1 if first > 0 else -1))
            return True
        place = self._refined(a, b)
        exact = self._exact(place)
        if exact is not None:
            place = rational_ball(exact)
        sign = 1 if last > 0 else -1
        found.append((self.owner.cut_at(place, exact), -sign, sign))
        return True

    def _refined(self, a: Ball, b: Ball) -> Ball:
        """Enclose the root of a strictly monotone function by the interval Newton method."""
        ball = a.union(b)
        for _ in range(80):
            slope = self._value(ball, 1)[1]
            middle = ball.mid()
            step = middle - self._value(middle, 0)[0] / slope
            low, high = ball.lower().max(step.lower()), ball.upper().min(step.upper())
            narrow = low.union(high) if low <= high else ball
            if not narrow.rad() * 2 < ball.rad():
                return narrow
            ball = narrow
        return ball

    def _exact(self, ball: Ball) -> Fraction | None:
        for guess in _guesses(ball):
            if _is_zero(self.g, guess):
                return guess
        return None

    def _multiple(self, ball: Ball, a: Ball, b: Ball, found: list[tuple[Cut, int, int]]) -> bool:
        """Settle a box with a rational root at which enough derivatives are exactly zero."""
        if b - a > 4:
            return False
        for guess in _candidates(a, b):
            d = exact_derivatives(self.g, guess, _MULTIPLICITY)
            if d is None or d[0]:
                continue
            order = next((k for k, c in enumerate(d) if c), None)
            if order is None:
                continue
            top = self._value(ball, order)[order]
            if top != 0:
                sign = 1 if top > 0 else -1
                cut = self.owner.cut_at(rational_ball(guess), guess)
                found.append((cut, sign * (-1) ** order, sign))
                return True
        return False

    def _assembled(self, roots: list[tuple[Cut, int, int]]) -> list[Signed]:
        if not roots:
            if not self.spans:
                raise UnclearError("a sign is not decided")
            return [(self.low, self.high, self.spans[0][2])]
        inner = [r for r in roots if r[0] is not self.low and r[0] is not self.high]
        for cut, _, _ in inner:
            for end in (self.low, self.high):
                if end is not None and cut.ball.overlaps(end.ball):
                    raise UnclearError("two switching points are not told apart")
        inner = sorted(inner, key=lambda r: float(r[0].ball.mid()))
        if not inner:
            cut, before, after = roots[0]
            return [(self.low, self.high, after if cut is self.low else before)]
        result: list[Signed] = []
        low = self.low
        for cut, before, _ in inner:
            result.append((low, cut, before))
            low = cut
        result.append((low, self.high, inner[-1][2]))
        return result


def _split(a: Ball, b: Ball) -> Ball:
    if a > 1 and b > 4 * a:
        return ((a * b).sqrt() * arb("1.01")).mid()
    if b < -1 and a < 4 * b:
        return -((a * b).sqrt() * arb("1.01")).mid()
    if a < 0 < b and b - a > 64:
        far = arb(0) if b - a < 1 << 12 else (b if b < -a else a) / 8
        return (far + arb("0.21")).mid()
    return (a + (b - a) * arb("0.4873")).mid()


def _candidates(a: Ball, b: Ball) -> Iterator[Fraction]:
    """Return the simplest rational numbers of a short interval."""
    low, high = _fraction(a), _fraction(b)
    for denominator in (1, 2, 3, 4, 5, 8, 10):
        first = -((-low * denominator).__floor__())
        for numerator in range(first, min(first + 3, (high * denominator).__floor__() + 1)):
            yield Fraction(numerator, denominator)


def _guesses(ball: Ball) -> Iterator[Fraction]:
    middle = _fraction(ball.mid())
    for limit in (1, 64, 10**4, 10**9):
        guess = middle.limit_denominator(limit)
        if ball.contains(fmpq(guess.numerator, guess.denominator)):
            yield guess


def _fraction(x: Ball) -> Fraction:
    mantissa, exponent = x.man_exp()
    if abs(exponent) > MOST_BITS:
        raise UnclearError("a switching point is too close to zero")
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
