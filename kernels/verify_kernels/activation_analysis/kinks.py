"""What happens at the cuts: one-sided derivatives compared exactly, jumps, values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from flint import arb, arb_series, ctx

from verify.enclosure import Enclosure
from verify_kernels.activation_analysis.coefficients import Coefficient
from verify_kernels.activation_analysis.exact_points import exact_derivatives, polynomial_degree
from verify_kernels.activation_analysis.facts import Kink
from verify_kernels.activation_analysis.jet import _HOLDS, BREAKING, _apply, constant, derivatives
from verify_kernels.activation_analysis.pieces import Cut, Cutting, Piece
from verify_kernels.activation_analysis.tree import Node, postorder

Ball = Any
ORDER = 8
SMOOTH = 99  # all derivatives agree


@dataclass(frozen=True)
class Joint:
    """Two pieces meet at a cut.

    Args:
        cut: where.
        agree: derivatives 0..agree are proved continuous; -1 for a jump, `SMOOTH` for all, None
            if nothing is known.
        at_most: the largest order up to which they may agree (`SMOOTH` if not limited).
        left, right: one-sided derivatives 0..3.
        value: the value at the cut, not finite if it is not known.
    """

    cut: Cut
    agree: int | None
    at_most: int
    left: tuple[Ball, ...]
    right: tuple[Ball, ...]
    value: Ball

    def kink(self) -> Kink:
        """Return what is shown of a point that is not smooth."""
        left, right = (
            tuple(Enclosure.from_arb(ball) for ball in side) for side in (self.left, self.right)
        )
        return Kink(Enclosure.from_arb(self.cut.ball), left, right)


def joints(root: Node, pieces: Sequence[Piece], cutting: Cutting) -> list[Joint]:
    """Return how the pieces meet, from left to right."""
    breaking = any(node.op in BREAKING for node in postorder(root))
    result = []
    for before, after in pairwise(pieces):
        cut = before.high
        meeting = before.node is not after.node or breaking or cut in cutting.rough_cuts
        if cut is not None and meeting:
            result.append(_joint(root, cut, before, after, cutting, breaking))
    return result


def _joint(
    root: Node, cut: Cut, before: Piece, after: Piece, cutting: Cutting, breaking: bool
) -> Joint:
    left = derivatives(before.node, cut.ball, ORDER)
    right = derivatives(after.node, cut.ball, ORDER)
    if not breaking:
        value, exact_value = left[0], None
    else:
        value = value_at(root, cut, cutting)
        exact_value = _exact_value(root, cut, cutting)
    ends = (before.node, after.node)
    agree, at_most = _agreement(ends, cut, left, right, breaking, value, exact_value)
    return Joint(cut, agree, at_most, tuple(left[:4]), tuple(right[:4]), value)


def _agreement(
    ends: tuple[Node, Node],
    cut: Cut,
    left: Sequence[Ball],
    right: Sequence[Ball],
    breaking: bool,
    value: Ball,
    exact_value: Coefficient | None,
) -> tuple[int | None, int]:
    """Return the order up to which derivatives are proved equal, and may be equal.

    Balls tell numbers apart; only exact coefficients show that they are equal.
    """
    before, after = ends
    exact, meets = None, False
    if cut.exact is not None:
        a = exact_derivatives(before, cut.exact, ORDER)
        b = exact_derivatives(after, cut.exact, ORDER)
        if a is not None and b is not None:
            exact = [x + y.scaled(-1) for x, y in zip(a, b, strict=True)]
            meets = exact_value is not None and not (exact_value + a[0].scaled(-1)) and not exact[0]
    if breaking and (value != left[0] or value != right[0] or left[0] != right[0]):
        return -1, -1
    if breaking and not (value.is_finite() and meets):
        return None, SMOOTH
    proved, growing = 0, True
    for k in range(1, ORDER + 1):
        if left[k] != right[k] or (exact is not None and exact[k] and exact[k].ball() != 0):
            return proved, k - 1
        growing = growing and exact is not None and not exact[k]
        if growing:
            proved = k
    degrees = [polynomial_degree(node) for node in (before, after)]
    if growing and all(d is not None and d <= ORDER for d in degrees):
        return SMOOTH, SMOOTH
    return proved, SMOOTH


def value_at(root: Node, cut: Cut, cutting: Cutting, values: dict[Node, Any] | None = None) -> Ball:
    """Enclose the value at a cut, with the arguments that are known to be zero there.

    Args:
        root: the formula.
        cut: where.
        cutting: knows the zeros.
        values: takes the values of all nodes.
    """
    values = {} if values is None else values
    for node in postorder(root):
        if node.op == "z":
            found = cut.ball
        elif node.constant:
            found = constant(node, ctx.prec)
        elif node.op == "piecewise":
            found = _chosen(node, values, cut, cutting)
        elif node.op == "sign" and _vanishes(node.args[0], values, cut, cutting):
            found = arb(0)
        elif node.op == "sign" and values[node.args[0]].contains(0):
            found = arb("nan")
        else:
            found = _apply(node, [arb_series([values[arg]], 1) for arg in node.args], 1)[0]
        values[node] = found
    return values[root]


def _vanishes(node: Node, values: dict[Node, Any], cut: Cut, cutting: Cutting) -> bool:
    """Whether a node is proved to be zero at a cut, not only the formula beside it."""
    value = values[node]
    if value.is_zero():
        return True
    if not value.contains(0) or not value.is_finite() or cut not in cutting.zeros.get(node, ()):
        return False
    return not any(part.op in BREAKING for part in postorder(node))


def _chosen(node: Node, values: dict[Node, Any], cut: Cut, cutting: Cutting) -> Ball:
    k = _case(node, values, cut, cutting)
    return arb("nan") if k is None else values[node.args[2 * k]]


def _case(node: Node, values: dict[Node, Any], cut: Cut, cutting: Cutting) -> int | None:
    """Return the number of the case that holds at a cut, None if that is not decided."""
    for k, relation in enumerate(node.data):
        if not relation:
            return k
        difference = node.args[2 * k + 1]
        if _vanishes(difference, values, cut, cutting):
            if "=" in relation:
                return k
            continue
        ball = values[difference]
        if ball.contains(0):
            return None
        if _HOLDS[relation](ball):
            return k
    return None


def _exact_value(root: Node, cut: Cut, cutting: Cutting) -> Coefficient | None:
    """Return the value at a rational cut exactly, None if no rule gives it."""
    if cut.exact is None:
        return None
    values: dict[Node, Any] = {}
    value_at(root, cut, cutting, values)
    plain: dict[Node, Node | None] = {}
    for node in postorder(root):
        plain[node] = _without_switch(node, plain, values, cut, cutting)
    smooth = plain[root]
    if smooth is None:
        return None
    found = exact_derivatives(smooth, cut.exact, 0)
    return None if found is None else found[0]


def _without_switch(
    node: Node, plain: dict[Node, Node | None], values: dict[Node, Any], cut: Cut, cutting: Cutting
) -> Node | None:
    """Return a tree without switches that has the value of a node at a cut."""
    if node.op == "z" or not node.args:
        return node
    if node.op == "piecewise":
        k = _case(node, values, cut, cutting)
        return None if k is None else plain[node.args[2 * k]]
    args = [plain[arg] for arg in node.args]
    known = [arg for arg in args if arg is not None]
    if len(known) < len(args):
        return None
    forest = cutting.forest
    if node.op in ("abs", "sign"):
        at, zero = values[node.args[0]], _vanishes(node.args[0], values, cut, cutting)
        if not zero and at.contains(0):
            return None
        sign = 0 if zero else 1 if at > 0 else -1
        return forest.scaled(sign, known[0]) if node.op == "abs" else forest.number(sign)
    if node.op in ("max", "min"):
        return _largest(node, known, values, cut)
    return forest.rebuilt(node, known)


def _largest(node: Node, args: list[Node], values: dict[Node, Any], cut: Cut) -> Node | None:
    """Return an operand that is the maximum or minimum at a cut."""
    best, at = args[0], values[node.args[0]]
    for arg, original in zip(args[1:], node.args[1:], strict=True):
        ball = values[original]
        if ball != at:
            best, at = (arg, ball) if (ball > at) == (node.op == "max") else (best, at)
        elif arg is not best and not _equal(arg, best, cut):
            return None
    return best


def _equal(a: Node, b: Node, cut: Cut) -> bool:
    first, second = (exact_derivatives(node, cut.exact, 0) for node in (a, b))  # type: ignore[arg-type]
    if first is None or second is None:
        return False
    return not (first[0] + second[0].scaled(-1))
