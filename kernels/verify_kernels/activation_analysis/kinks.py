"""What happens at the cuts: one-sided derivatives compared exactly, jumps, values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from flint import arb, arb_series, ctx

from verify.enclosure import Enclosure
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
        if cut is not None and (before.node is not after.node or breaking):
            result.append(_joint(root, cut, before, after, cutting, breaking))
    return result


def _joint(
    root: Node, cut: Cut, before: Piece, after: Piece, cutting: Cutting, breaking: bool
) -> Joint:
    left = derivatives(before.node, cut.ball, ORDER)
    right = derivatives(after.node, cut.ball, ORDER)
    value = value_at(root, cut, cutting) if breaking else left[0]
    agree, at_most = _agreement(before.node, after.node, cut, left, right, breaking, value)
    return Joint(cut, agree, at_most, tuple(left[:4]), tuple(right[:4]), value)


def _agreement(
    before: Node,
    after: Node,
    cut: Cut,
    left: Sequence[Ball],
    right: Sequence[Ball],
    breaking: bool,
    value: Ball,
) -> tuple[int | None, int]:
    """Return the order up to which derivatives are proved equal, and may be equal."""
    exact = None
    if cut.exact is not None:
        a = exact_derivatives(before, cut.exact, ORDER)
        b = exact_derivatives(after, cut.exact, ORDER)
        if a is not None and b is not None:
            exact = [x + y.scaled(-1) for x, y in zip(a, b, strict=True)]
    if breaking and (value != left[0] or value != right[0] or left[0] != right[0]):
        return -1, -1
    if breaking and not (value.is_finite() and exact is not None and not exact[0]):
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


def value_at(root: Node, cut: Cut, cutting: Cutting) -> Ball:
    """Enclose the value at a cut, with the arguments that are known to be zero there."""
    values: dict[Node, Any] = {}
    for node in postorder(root):
        if node.op == "z":
            found = cut.ball
        elif node.constant:
            found = constant(node, ctx.prec)
        elif node.op == "piecewise":
            found = _chosen(node, values, cut, cutting)
        elif node.op == "sign" and cut in cutting.zeros.get(node.args[0], ()):
            found = arb(0)
        elif node.op == "sign" and values[node.args[0]].contains(0):
            found = arb("nan")
        else:
            found = _apply(node, [arb_series([values[arg]], 1) for arg in node.args], 1)[0]
        values[node] = found
    return values[root]


def _chosen(node: Node, values: dict[Node, Any], cut: Cut, cutting: Cutting) -> Ball:
    for k, relation in enumerate(node.data):
        if not relation:
            return values[node.args[2 * k]]
        difference = node.args[2 * k + 1]
        if cut in cutting.zeros.get(difference, ()):
            if "=" in relation:
                return values[node.args[2 * k]]
            continue
        ball = values[difference]
        if ball.contains(0):
            return arb("nan")
        if _HOLDS[relation](ball):
            return values[node.args[2 * k]]
    return arb("nan")
