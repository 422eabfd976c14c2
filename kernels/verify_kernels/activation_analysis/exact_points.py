"""Values and derivatives at rational points, exactly: as coefficients with names for constants."""

from __future__ import annotations

from fractions import Fraction
from math import factorial

from verify_kernels.activation_analysis.coefficients import (
    Coefficient,
    NeedLargerError,
    UnclearError,
)
from verify_kernels.activation_analysis.expansions import ONE, HalfLine
from verify_kernels.activation_analysis.tail_jet import jets_from
from verify_kernels.activation_analysis.tree import Node, postorder


def exact_derivatives(root: Node, place: Fraction, order: int) -> list[Coefficient] | None:
    """Return value and derivatives of a tree without switches, None if no rule gives them.

    A coefficient without terms is exactly zero.
    """
    try:
        line = HalfLine(16)  # constants do not depend on it
        found = jets_from(root, Coefficient.rational(place), line, order)
    except (UnclearError, NeedLargerError):
        return None
    result = []
    for k, part in enumerate(found):
        if part.rest or any(m is not ONE for m in part.terms):
            return None
        result.append(part.terms.get(ONE, Coefficient({})).scaled(factorial(k)))
    return result


def polynomial_degree(root: Node) -> int | None:
    """Return a bound of the degree of a tree that is a polynomial by its structure."""
    degrees: dict[Node, int | None] = {}
    for node in postorder(root):
        below = [degrees[arg] for arg in node.args]
        degree: int | None = None
        if node.op == "z":
            degree = 1
        elif node.constant:
            degree = 0
        elif None not in below:
            known = [d for d in below if d is not None]
            if node.op == "add":
                degree = max(known)
            elif node.op == "mul":
                degree = sum(known)
            elif node.op == "pow" and node.data.denominator == 1 and node.data > 0:
                degree = known[0] * int(node.data)
        degrees[node] = degree
    return degrees[root]
