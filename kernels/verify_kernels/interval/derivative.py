"""Forward mode on programs: nodes of the derivatives of a node by the inputs.

At a kink of abs, min, max and of a Piecewise the derivative is the hull of the one-sided ones of
the branches that are not excluded. A Piecewise that jumps has no derivative at the jump; there the
result says nothing about difference quotients. The sign function is undefined to a derivative at 0.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from verify_kernels.interval.program import Node, Program

Rule = Callable[[Program, int, int], int]  # program, operand, value -> derivative by the operand


def _of_tanh(p: Program, x: int, _: int) -> int:
    return p.apply("sech2", x)


def _of_sigmoid(p: Program, x: int, _: int) -> int:
    half = p.mul(p.constant(Fraction(1, 2)), x)
    return p.mul(p.constant(Fraction(1, 4)), p.apply("sech2", half))


def _of_sech2(p: Program, x: int, y: int) -> int:
    return p.mul(p.constant(-2), p.mul(p.apply("tanh", x), y))


def _of_erf(p: Program, x: int, _: int) -> int:
    root = p.apply("sqrt", p.named_constant("pi"))
    return p.mul(p.div(p.constant(2), root), p.apply("exp", p.neg(p.sqr(x))))


def _of_sqrt(p: Program, _: int, y: int) -> int:
    return p.div(p.constant(1), p.mul(p.constant(2), y))


def _of_atan(p: Program, x: int, _: int) -> int:
    return p.div(p.constant(1), p.add(p.constant(1), p.sqr(x)))


RULES: dict[str, Rule] = {
    "sqr": lambda p, x, y: p.mul(p.constant(2), x),
    "sqrt": _of_sqrt,
    "exp": lambda p, x, y: y,
    "expm1": lambda p, x, y: p.apply("exp", x),
    "log": lambda p, x, y: p.div(p.constant(1), x),
    "log1p": lambda p, x, y: p.div(p.constant(1), p.add(p.constant(1), x)),
    "tanh": _of_tanh,
    "sech2": _of_sech2,
    "sigmoid": _of_sigmoid,
    "softplus": lambda p, x, y: p.apply("sigmoid", x),
    "sin": lambda p, x, y: p.apply("cos", x),
    "cos": lambda p, x, y: p.neg(p.apply("sin", x)),
    "tan": lambda p, x, y: p.add(p.constant(1), p.sqr(y)),
    "atan": _of_atan,
    "sinh": lambda p, x, y: p.apply("cosh", x),
    "cosh": lambda p, x, y: p.apply("sinh", x),
    "erf": _of_erf,
    "erfc": lambda p, x, y: p.neg(_of_erf(p, x, y)),
    "abs": lambda p, x, y: p.apply("abs_slope", x),
}


class Derivatives:
    """Derivatives of the nodes of one program, each computed once."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._known: dict[tuple[int, int], int] = {}

    def gradient(self, value: int) -> list[int]:
        """Return the nodes of the first derivatives of a node."""
        return [self.by(value, k) for k in range(len(self.program.names))]

    def by(self, value: int, index: int) -> int:
        """Return the node of the derivative of a node by an input."""
        if (value, index) not in self._known:
            self._known[value, index] = self._by(value, index)
        return self._known[value, index]

    def _by(self, value: int, index: int) -> int:
        p = self.program
        node = p.nodes[value]
        if p.balls[value] is not None:
            return p.constant(0)
        if node.operation == "input":
            return p.constant(1 if node.number == index else 0)
        if node.operation == "select":
            one, other = (self.by(k, index) for k in node.arguments[1:])
            return one if one == other else p.apply("select", node.arguments[0], one, other)
        parts = [self.by(k, index) for k in node.arguments]
        if node.operation in ("min", "max"):
            return self._extreme(node, parts)
        if all(p.exact(part) == 0 for part in parts):
            return p.constant(0)
        return self._chain(value, node, parts)

    def _times(self, slope: int, factor: int) -> int:
        """Return a product; zero slopes drop faults that the value itself keeps."""
        p = self.program
        return p.constant(0) if p.exact(slope) == 0 else p.mul(slope, factor)

    def _extreme(self, node: Node, parts: list[int]) -> int:
        """Return the derivative of min or max: of the smaller or larger one, the hull at a tie."""
        p = self.program
        if parts[0] == parts[1]:
            return parts[0]
        a, b = node.arguments
        condition = p.apply("order", a, b) if node.operation == "min" else p.apply("order", b, a)
        return p.apply("select", condition, *parts)

    def _chain(self, value: int, node: Node, parts: list[int]) -> int:
        p = self.program
        if node.operation == "same":
            return parts[0]
        if node.operation == "neg":
            return p.neg(parts[0])
        if node.operation == "add":
            return p.add(*parts)
        if node.operation == "sub":
            return p.sub(*parts)
        x = node.arguments[0]
        if node.operation == "mul":
            return p.add(self._times(parts[0], node.arguments[1]), self._times(parts[1], x))
        if node.operation == "div":
            return p.div(p.sub(parts[0], self._times(parts[1], value)), node.arguments[1])
        if node.operation == "pown":
            slope = p.mul(p.constant(node.number), p.pown(x, node.number - 1))
            return p.mul(slope, parts[0])
        if node.operation == "powr":
            power = p.powr(x, node.number - 1)
            return p.mul(p.mul(p.constant(node.number), power), parts[0])
        if node.operation in ("abs_slope", "sign"):
            zero = p.constant(0)
            return (
                zero if node.operation == "abs_slope" else p.undefined_unless(zero, p.zero_check(x))
            )
        return p.mul(RULES[node.operation](p, x, value), parts[0])
