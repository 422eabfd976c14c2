"""Straight-line programs of interval operations, numbered by value.

A `Program` is a list of nodes; equal nodes are one node, so common subexpressions are computed
once. Each node has a static sign (of the exact values, not of the ends of their enclosures) and a
fault: under which condition at the operands the node, or one that it needs, may be undefined. A
fault travels with the value: a branch of a selection passes its fault on only where it is not
excluded, whatever else uses the same subexpression.

Constants carry a ball of 320 bits, computed recursively from exact numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from verify.errors import InputError
from verify_kernels.interval.reference import BALL_OPERATIONS, exact_ball, precision

PLUS, MINUS, UNKNOWN = "+", "-", "?"

# f(x) has the sign of x.
ODD = frozenset({"tanh", "atan", "sinh", "expm1", "erf", "log1p"})
NONNEGATIVE = frozenset(
    {"exp", "sigmoid", "softplus", "sech2", "cosh", "sqr", "sqrt", "abs", "powr", "erfc",
     "lt", "le", "order", "not", "and", "or"}
)  # fmt: skip
# Fault of a node by its own operands: the check and which operand it looks at.
FAULTS = {
    "div": ("zero_fault", 1),
    "sqrt": ("negative_fault", 0),
    "log": ("not_positive_fault", 0),
    "log1p": ("not_above_minus_one_fault", 0),
    "tan": ("pole_fault", 0),
}


@dataclass(frozen=True)
class Node:
    """One operation on earlier nodes; `number` is an exponent, an input or what else it needs."""

    operation: str
    arguments: tuple[int, ...] = ()
    number: Any = None


@dataclass
class Program:
    """A growing list of nodes; its methods return the index of a node."""

    names: tuple[str, ...]
    nodes: list[Node] = field(default_factory=list)
    signs: list[str] = field(default_factory=list)
    positive: list[bool] = field(default_factory=list)  # the lower end computed is > 0
    balls: list[Any] = field(default_factory=list)  # of constants, else None
    faults: list[int | None] = field(default_factory=list)
    checks: list[Node] = field(default_factory=list)
    _known: dict[tuple[Node, int | None], int] = field(default_factory=dict)
    _known_checks: dict[Node, int] = field(default_factory=dict)

    def input(self, index: int) -> int:
        """Return the node of an input."""
        return self._enter(Node("input", (), index), UNKNOWN, None, None)

    def constant(self, value: Fraction | int) -> int:
        """Return the node of an exact number."""
        exact = Fraction(value)
        return self._constant(Node("constant", (), exact), exact_ball(exact), None)

    def named_constant(self, name: str) -> int:
        """Return the node of pi or e."""
        with precision():
            return self._constant(Node(name), BALL_OPERATIONS[name](), None)

    def exact(self, index: int) -> Fraction | None:
        """Return the rational number that a node is, None if it is not known to be one."""
        node = self.nodes[index]
        return node.number if node.operation == "constant" else None

    def _constant(self, node: Node, ball: Any, fault: int | None) -> int:
        sign = PLUS if ball >= 0 else (MINUS if ball <= 0 else UNKNOWN)
        return self._enter(node, sign, ball, fault)

    def _enter(self, node: Node, sign: str, ball: Any, fault: int | None) -> int:
        if (node, fault) not in self._known:
            self._known[node, fault] = len(self.nodes)
            self.nodes.append(node)
            self.signs.append(sign)
            self.balls.append(ball)
            self.faults.append(fault)
            self.positive.append(self._is_positive(node, ball))
        return self._known[node, fault]

    def _is_positive(self, node: Node, ball: Any) -> bool:
        if ball is not None:
            return bool(ball > exact_ball(Fraction(1, 2**1000)))
        parts = node.arguments
        if node.operation == "add":
            some = any(self.positive[k] for k in parts)
            return some and all(self.signs[k] == PLUS for k in parts)
        if node.operation in ("sqrt", "max"):
            return any(self.positive[k] for k in parts)
        return False

    def apply(self, operation: str, *arguments: int, number: Any = None) -> int:
        """Return the node of an operation, folded if it is trivial or all operands are constant.

        Raises:
            InputError: a constant is undefined, such as log(-1) or 1/0.
        """
        node = Node(operation, arguments, number)
        fault = self._fault(node)
        balls = [self.balls[k] for k in arguments]
        if None not in balls:
            with precision():
                ball = BALL_OPERATIONS[operation](*balls, *(() if number is None else (number,)))
            if not ball.is_finite():
                raise InputError(
                    f"interval_kernel: expected constants that are real numbers, but got "
                    f"{operation} of {', '.join(ball_text(b) for b in balls)}"
                )
            return self._constant(node, ball, None)
        return self._enter(node, self._sign(node), None, fault)

    def _sign(self, node: Node) -> str:
        signs = [self.signs[k] for k in node.arguments]
        operation = node.operation
        if operation in NONNEGATIVE:
            return PLUS
        if operation in ODD:
            return signs[0]
        if operation == "neg":
            return {PLUS: MINUS, MINUS: PLUS}.get(signs[0], UNKNOWN)
        if operation in ("mul", "div"):
            if UNKNOWN in signs:
                return UNKNOWN
            return PLUS if signs[0] == signs[1] else MINUS
        if operation in ("add", "select", "min", "max"):
            both = signs[-1] if signs[-1] == signs[-2] else UNKNOWN
            if operation == "max" and PLUS in signs:
                return PLUS
            return MINUS if operation == "min" and MINUS in signs else both
        return UNKNOWN

    # Faults

    def _check(self, operation: str, *arguments: int) -> int:
        node = Node(operation, arguments)
        if node not in self._known_checks:
            self._known_checks[node] = len(self.checks)
            self.checks.append(node)
        return self._known_checks[node]

    def either(self, *faults: int | None) -> int | None:
        """Return the fault that holds where one of several does."""
        result: int | None = None
        for fault in faults:
            if fault is None or fault == result:
                continue
            result = fault if result is None else self._check("either", result, fault)
        return result

    def _fault(self, node: Node) -> int | None:
        faults = [self.faults[k] for k in node.arguments]
        if node.operation == "select":
            if faults[1] is None and faults[2] is None:
                return faults[0]
            one, other = (-1 if fault is None else fault for fault in faults[1:])
            chosen = self._check("select_fault", node.arguments[0], one, other)
            return self.either(faults[0], chosen)
        if node.operation == "powr":
            name = "negative_fault" if node.number > 0 else "not_positive_fault"
            return self.either(*faults, self._check(name, node.arguments[0]))
        if node.operation in FAULTS:
            name, position = FAULTS[node.operation]
            operand = node.arguments[position]
            if not self._never(name, operand):
                faults.append(self._check(name, operand))
        return self.either(*faults)

    def _never(self, check: str, operand: int) -> bool:
        """Return whether a check can never fire, by the static sign of its operand."""
        ball = self.balls[operand]
        if ball is not None:
            if check == "zero_fault":
                return not ball.contains(0)
            return bool(ball >= 0) if check == "negative_fault" else bool(ball > 0)
        if check == "negative_fault" and self.signs[operand] == PLUS:
            return True
        if check == "not_above_minus_one_fault":
            return self.signs[operand] == PLUS
        return self.positive[operand] and check != "pole_fault"

    def undefined_unless(self, value: int, fault: int | None) -> int:
        """Return a node of the same value that also has a fault."""
        together = self.either(self.faults[value], fault)
        if together == self.faults[value]:
            return value
        return self._enter(Node("same", (value,)), self.signs[value], None, together)

    def always(self, condition: int) -> int:
        """Return the fault that holds where a condition may hold."""
        return self._check("possible_fault", condition)

    def zero_check(self, a: int) -> int | None:
        """Return the fault that holds where a node may be zero."""
        return None if self._never("zero_fault", a) else self._check("zero_fault", a)

    # Operations with their foldings

    def neg(self, a: int) -> int:
        """Return -a."""
        if (exact := self.exact(a)) is not None:
            return self.constant(-exact)
        node = self.nodes[a]
        return node.arguments[0] if node.operation == "neg" else self.apply("neg", a)

    def add(self, a: int, b: int) -> int:
        """Return a + b."""
        first, second = self.exact(a), self.exact(b)
        if first is not None and second is not None:
            return self.constant(first + second)
        if first == 0 or second == 0:
            return b if first == 0 else a
        if self.nodes[b].operation == "neg":
            return self.apply("sub", a, self.nodes[b].arguments[0])
        if self.nodes[a].operation == "neg":
            return self.apply("sub", b, self.nodes[a].arguments[0])
        if second is not None and second < 0:
            return self.apply("sub", a, self.constant(-second))
        return self.apply("add", *sorted((a, b)))

    def sub(self, a: int, b: int) -> int:
        """Return a - b."""
        return self.add(a, self.neg(b))

    def mul(self, a: int, b: int) -> int:
        """Return a b; a factor that is exactly zero leaves the faults of the other."""
        first, second = self.exact(a), self.exact(b)
        if first is not None and second is not None:
            return self.constant(first * second)
        if second is not None:
            a, b, first, second = b, a, second, first
        if first == 0:
            return self.undefined_unless(a, self.faults[b])
        if first == 1:
            return b
        if a == b:
            return self.sqr(a)
        if first == -1 or self.signs[a] == MINUS:
            return self.neg(self.mul(self.neg(a), b))
        if self.signs[b] == MINUS or self.nodes[b].operation == "neg":
            return self.neg(self.mul(a, self.neg(b)))
        if self.nodes[a].operation == "neg":
            return self.neg(self.mul(self.nodes[a].arguments[0], b))
        return self.apply("mul", *sorted((a, b)))

    def div(self, a: int, b: int) -> int:
        """Return a / b, undefined at b = 0."""
        first, second = self.exact(a), self.exact(b)
        if second is not None and second != 0:
            if first is not None:
                return self.constant(first / second)
            if second.numerator in (1, -1) or second.numerator & (second.numerator - 1) == 0:
                return self.mul(a, self.constant(1 / second))
        if self.signs[b] == MINUS or self.nodes[b].operation == "neg":
            return self.neg(self.div(a, self.neg(b)))
        if self.signs[a] == MINUS or self.nodes[a].operation == "neg":
            return self.neg(self.div(self.neg(a), b))
        return self.apply("div", a, b)

    def sqr(self, a: int) -> int:
        """Return a^2."""
        if (exact := self.exact(a)) is not None:
            return self.constant(exact * exact)
        node = self.nodes[a]
        if node.operation in ("neg", "abs") and self.faults[a] == self.faults[node.arguments[0]]:
            a = node.arguments[0]
        return self.apply("sqr", a)

    def pown(self, a: int, n: int) -> int:
        """Return a^n for an integer n, as squares and products where that is tight."""
        if n < 0:
            return self.div(self.constant(1), self.pown(a, -n))
        if n == 0:
            return self.undefined_unless(self.constant(1), self.faults[a])
        if (exact := self.exact(a)) is not None:
            return self.constant(exact**n)
        if n == 1:
            return a
        if n % 2 == 0:
            return self.pown(self.sqr(a), n // 2)
        if self.signs[a] == PLUS:
            return self.mul(a, self.pown(self.sqr(a), n // 2))
        if self.signs[a] == MINUS:
            return self.neg(self.pown(self.neg(a), n))
        return self.apply("pown", a, number=n)

    def powr(self, a: int, exponent: Fraction) -> int:
        """Return a^(p/q), defined for a >= 0, and for p/q < 0 only for a > 0."""
        if exponent.denominator == 1:
            return self.pown(a, exponent.numerator)
        if exponent.denominator == 2:
            return self.pown(self.apply("sqrt", a), exponent.numerator)
        return self.apply("powr", a, number=exponent)


def ball_text(ball: Any) -> str:
    """Return a short decimal form of a ball."""
    return str(ball.str(8, radius=False))


def live(program: Program, outputs: Sequence[int], faults: Sequence[int | None]) -> set[int]:
    """Return the nodes that outputs and faults need; constants need nothing."""
    needed: set[int] = set()
    checked: set[int] = set()
    waiting = list(outputs)
    pending = [fault for fault in faults if fault is not None]
    while waiting or pending:
        if pending:
            check = pending.pop()
            if check in checked:
                continue
            checked.add(check)
            node = program.checks[check]
            if node.operation == "either":
                pending.extend(node.arguments)
            elif node.operation == "select_fault":
                waiting.append(node.arguments[0])
                pending.extend(k for k in node.arguments[1:] if k >= 0)
            else:
                waiting.extend(node.arguments)
            continue
        index = waiting.pop()
        if index in needed:
            continue
        needed.add(index)
        if program.balls[index] is None:
            waiting.extend(program.nodes[index].arguments)
    return needed
