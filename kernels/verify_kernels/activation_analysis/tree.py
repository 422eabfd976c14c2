"""Formulas as trees of few operations, with the combinations that are unstable when spelled out.

``1/(1 + exp(-u))`` becomes one logistic node, ``log(1 + exp(u))`` one softplus node, ``1 + erf(u)``
becomes ``erfc(-u)``. Nothing is cancelled: ``z/z`` stays a quotient, with its hole at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from verify.errors import InputError

UNARY = frozenset({
    "exp", "expm1", "log", "log1p", "sin", "cos", "atan", "tanh", "sinh", "cosh", "sigmoid",
    "softplus", "logcosh", "erf", "erfc", "abs", "sign",
})  # fmt: skip
SWITCHES = frozenset({"abs", "sign", "max", "min", "piecewise"})


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One operation; equal subformulas of one tree are one object.

    Args:
        op: ``z``, ``number`` (data: Fraction), ``pi``, ``add``, ``mul``, ``pow`` (data: the
            rational exponent), a name of `UNARY`, ``max``, ``min`` or ``piecewise`` (args: value
            and difference of each case; data: the relation of each difference to zero).
        constant: whether z does not occur.
    """

    op: str
    args: tuple[Node, ...]
    data: Any
    constant: bool


class Forest:
    """Makes nodes; equal ones are made once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Node] = {}

    def node(self, op: str, *args: Node, data: Any = None) -> Node:
        """Return the one node for an operation and its operands."""
        key = (op, tuple(map(id, args)), data)
        found = self._known.get(key)
        if found is None:
            constant = op != "z" and all(arg.constant for arg in args)
            found = self._known[key] = Node(op, args, data, constant)
        return found

    def number(self, value: int | Fraction) -> Node:
        """Return a rational number."""
        return self.node("number", data=Fraction(value))

    def add(self, *terms: Node) -> Node:
        """Return the sum, with the rational numbers joined."""
        flat: list[Node] = []
        total = Fraction(0)
        for term in terms:
            for part in term.args if term.op == "add" else (term,):
                if part.op == "number":
                    total += part.data
                else:
                    flat.append(part)
        if not flat:
            return self.number(total)
        if total == 0:
            return flat[0] if len(flat) == 1 else self.node("add", *flat)
        return self._shifted(total, flat)

    def _shifted(self, total: Fraction, flat: list[Node]) -> Node:
        """Return total + flat, without the cancellation where it has a name."""
        if len(flat) != 1:
            return self.node("add", *flat, self.number(total))
        one, scale = flat[0], Fraction(1)
        if one.op == "mul" and one.args[0].op == "number" and len(one.args) == 2:
            scale, one = one.args[0].data, one.args[1]
        if one.op in ("erf", "tanh") and abs(total) == 1 == abs(scale):
            inner = self.scaled(scale * total, one.args[0])
            if one.op == "erf":
                return self.scaled(total, self.node("erfc", self.scaled(-1, inner)))
            return self.scaled(2 * total, self.node("sigmoid", self.scaled(2, inner)))
        if one.op == "exp" and scale == -total:
            return self.scaled(scale, self.node("expm1", one.args[0]))
        if one.op == "sigmoid" and scale == -2 * total:
            half = self.scaled(Fraction(1, 2), one.args[0])
            return self.scaled(-total, self.node("tanh", half))
        return self.node("add", *flat, self.number(total))

    def scaled(self, factor: int | Fraction, x: Node) -> Node:
        """Return a rational multiple."""
        return self.mul(self.number(factor), x)

    def mul(self, *factors: Node) -> Node:
        """Return the product; rational factors are joined in front."""
        scale, flat = Fraction(1), []
        for factor in factors:
            for part in factor.args if factor.op == "mul" else (factor,):
                if part.op == "number":
                    scale *= part.data
                else:
                    flat.append(part)
        if not flat:
            return self.number(scale)
        if scale != 1:
            flat.insert(0, self.number(scale))
        return flat[0] if len(flat) == 1 else self.node("mul", *flat)

    def power(self, base: Node, exponent: Fraction) -> Node:
        """Return a rational power."""
        if exponent == 1:
            return base
        if exponent == 0:
            return self.add(self.node("mul", self.number(0), base), self.number(1))
        if base.op == "number" and exponent.denominator == 1 and (base.data or exponent > 0):
            return self.number(base.data**exponent.numerator)
        if base.op == "pow" and base.data.denominator == 1 and base.data % 2 == 0:
            joint = base.data * exponent  # (u^n)^p = |u|^(n p) for even n
            inner = base.args[0]
            if base.data > 0 and exponent > 0 and joint.denominator == 1:
                return self.power(inner if joint % 2 == 0 else self.node("abs", inner), joint)
        power = _one_plus_exp(base)
        if power is not None and exponent.denominator == 1 and exponent < 0:
            logistic = self.node("sigmoid", self.scaled(-1, power))
            return logistic if exponent == -1 else self.node("pow", logistic, data=-exponent)
        return self.node("pow", base, data=exponent)

    def log(self, x: Node) -> Node:
        """Return the logarithm, in the form that neither overflows nor cancels."""
        power = _one_plus_exp(x)
        if power is not None:
            return self.node("softplus", power)
        if x.op == "add" and x.args[-1].op == "number" and x.args[-1].data == 1:
            return self.node("log1p", self.add(*x.args[:-1]))
        operand = _plus_root(x)
        if operand is not None:
            return self.node("asinh", operand)
        if x.op == "cosh":
            return self.node("logcosh", x.args[0])
        return self.node("log", x)

    def rebuilt(self, node: Node, args: Sequence[Node]) -> Node:
        """Return the node with other operands."""
        if all(new is old for new, old in zip(args, node.args, strict=True)):
            return node
        if node.op == "add":
            return self.add(*args)
        if node.op == "mul":
            return self.mul(*args)
        if node.op == "pow":
            return self.power(args[0], node.data)
        return self.node(node.op, *args, data=node.data)

    def unary(self, op: str, x: Node) -> Node:
        """Return a function of one operand."""
        if op == "log":
            return self.log(x)
        if op == "tan":
            return self.mul(
                self.node("sin", x), self.node("pow", self.node("cos", x), data=Fraction(-1))
            )
        return self.node(op, x)


def _plus_root(x: Node) -> Node | None:
    """Return u if the node is u + sqrt(1 + u^2)."""
    if x.op != "add" or len(x.args) != 2:
        return None
    for u, root in (x.args, x.args[::-1]):
        if root.op == "pow" and root.data == Fraction(1, 2) and root.args[0].op == "add":
            inner = root.args[0].args
            if len(inner) == 2 and inner[1].op == "number" and inner[1].data == 1:
                square = inner[0]
                if square.op == "pow" and square.data == 2 and square.args[0] is u:
                    return u
    return None


def _one_plus_exp(x: Node) -> Node | None:
    """Return u if the node is 1 + exp(u)."""
    if x.op == "add" and len(x.args) == 2 and x.args[0].op == "exp":
        last = x.args[1]
        if last.op == "number" and last.data == 1:
            return x.args[0].args[0]
    return None


@lru_cache(maxsize=256)
def tree_of(expression: Any) -> Node:
    """Return the tree of an exact SymPy expression in one real variable.

    Raises:
        InputError: another operation, an inexact number or a second variable.
    """
    symbols = expression.free_symbols
    if len(symbols) > 1:
        raise InputError(f"tree_of: expected a formula in one variable, but got {expression!s}")
    return _Reading(Forest()).node(expression)


_NAMES = {"Abs": "abs", "ExpBase": "exp"}
_RELATIONS = {
    "StrictGreaterThan": ">",
    "GreaterThan": ">=",
    "StrictLessThan": "<",
    "LessThan": "<=",
}


class _Reading:
    def __init__(self, forest: Forest) -> None:
        self.forest = forest
        self.known: dict[int, Node] = {}

    def node(self, x: Any) -> Node:
        found = self.known.get(id(x))
        if found is None:
            found = self.known[id(x)] = self._new(x)
        return found

    def _new(self, x: Any) -> Node:
        forest, name = self.forest, type(x).__name__
        if x.is_Symbol:
            return forest.node("z")
        if x.is_Rational:
            return forest.number(Fraction(int(x.p), int(x.q)))
        if name == "Pi":
            return forest.node("pi")
        if name == "Exp1":
            return forest.node("exp", forest.number(1))
        if name == "Piecewise":
            return self._piecewise(x)
        args = [self.node(arg) for arg in x.args]
        if x.is_Add:
            return forest.add(*args)
        if x.is_Mul:
            return forest.mul(*args)
        if x.is_Pow:
            return self._power(x, args)
        if name in ("Max", "Min"):
            return forest.node(name.lower(), *args) if len(args) > 1 else args[0]
        op = _NAMES.get(name, name)
        if (op in UNARY or op == "tan") and len(args) == 1:
            return forest.unary(op, args[0])
        raise InputError(f"tree_of: expected known functions and exact numbers, but got {name}")

    def _power(self, x: Any, args: list[Node]) -> Node:
        if x.exp.is_Rational:
            return self.forest.power(args[0], Fraction(int(x.exp.p), int(x.exp.q)))
        if type(x.base).__name__ == "Exp1":
            return self.forest.node("exp", args[1])
        logarithm = self.forest.log(args[0])
        return self.forest.node("exp", self.forest.mul(args[1], logarithm))

    def _piecewise(self, x: Any) -> Node:
        forest, parts, relations = self.forest, [], []
        for value, condition in x.args:
            parts.append(self.node(value))
            if condition == True:  # noqa: E712  # SymPy's own truth value
                relations.append("")
                break
            name = type(condition).__name__
            if name not in _RELATIONS:
                raise InputError(f"tree_of: expected a comparison, but got {condition!s}")
            left, right = (self.node(side) for side in condition.args)
            parts.append(forest.add(left, forest.scaled(-1, right)))
            relations.append(_RELATIONS[name])
        if relations[-1]:
            raise InputError("tree_of: expected a last case that always holds, but got none")
        return forest.node("piecewise", *parts, data=tuple(relations))


@lru_cache(maxsize=4096)
def postorder(root: Node) -> tuple[Node, ...]:
    """Return every node once, operands first."""
    seen: set[Node] = set()
    order: list[Node] = []

    def visit(node: Node) -> None:
        if node in seen:
            return
        seen.add(node)
        for arg in node.args:
            visit(arg)
        order.append(node)

    visit(root)
    return tuple(order)


@lru_cache(maxsize=4096)
def is_switching(root: Node) -> bool:
    """Return whether a switch (Abs, sign, Max, Min, Piecewise) occurs."""
    return any(node.op in SWITCHES for node in postorder(root))


def parity(root: Node) -> int:
    """Return 1 for a tree that is proved even by its structure, -1 for odd, 0 if it is not shown.

    The tree at z and the tree at -z are brought to one form, in which odd functions hand their
    sign outward, even ones drop it, and the order of terms does not count.
    """
    forms = _Forms()
    (sign, form), (mirrored, image) = forms.of(root, 1), forms.of(root, -1)
    if form != image:
        return 0
    return 1 if form == 0 or sign == mirrored else -1


class _Forms:
    """Numbers for signed forms; 0 is the number of zero."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {("number", Fraction(0)): 0}

    def of(self, root: Node, mirror: int) -> tuple[int, int]:
        """Return (sign, form) of the tree at mirror x z."""
        found: dict[Node, tuple[int, int]] = {}
        for node in postorder(root):
            found[node] = self._new(node, [found[arg] for arg in node.args], mirror)
        return found[root]

    def number(self, key: Any) -> int:
        return self.numbers.setdefault(key, len(self.numbers))

    def _new(self, node: Node, below: list[tuple[int, int]], mirror: int) -> tuple[int, int]:
        op = node.op
        if op == "z":
            return mirror, self.number("z")
        if op == "number":
            return (1 if node.data >= 0 else -1), self.number(("number", abs(node.data)))
        signs = [sign for sign, _ in below]
        forms = [form for _, form in below]
        if op == "mul":
            total = 1
            for sign in signs:
                total *= sign
            one = self.number(("number", Fraction(1)))
            kept = sorted(form for form in forms if form != one)
            if len(kept) == 1:
                return total, kept[0]
            return total, self.number(("mul", tuple(kept)))
        if op == "add":
            order = sorted(zip(forms, signs, strict=True))
            lead = order[0][1]
            return lead, self.number(("add", tuple((f, s * lead) for f, s in order)))
        if op == "pow" and node.data.denominator == 1:
            sign = signs[0] if node.data % 2 else 1
            return sign, self.number(("pow", node.data, forms[0]))
        if op in _ODD:
            return signs[0], self.number((op, forms[0]))
        if op in _EVEN:
            return 1, self.number((op, forms[0]))
        if op in ("max", "min"):
            lead = 1 if op == "max" else -1  # min(a, b) = -max(-a, -b)
            order = sorted((f, s * lead) for s, f in below)
            return lead, self.number(("max", tuple(order)))
        return 1, self.number((op, node.data, tuple(below)))


_RISING = frozenset({
    "exp", "expm1", "log", "log1p", "sinh", "tanh", "sigmoid", "softplus", "erf", "atan",
    "asinh", "sign",
})  # fmt: skip


def direction(root: Node) -> int:
    """Return 1 for a tree that is nondecreasing by its structure, -1 nonincreasing, 0 neither.

    Sums, multiples and compositions of monotone functions, where they are defined.
    """
    known: dict[Node, int | None] = {}
    for node in postorder(root):
        below = [known[arg] for arg in node.args]
        known[node] = _direction(node, below)
    return known[root] or 0


def _direction(node: Node, below: list[int | None]) -> int | None:
    """Return the direction, None for a constant."""
    if node.op == "z":
        return 1
    if node.constant:
        return None
    moving = {sign for sign in below if sign is not None}
    if len(moving) != 1:
        return 0
    sign = moving.pop()
    if node.op in ("add", "max", "min") or node.op in _RISING:
        return sign
    if node.op == "erfc":
        return -sign
    if node.op == "mul" and len(node.args) == 2 and node.args[0].op == "number":
        return sign if node.args[0].data > 0 else -sign
    if node.op == "pow" and node.data.denominator == 1 and node.data > 0 and node.data % 2:
        return sign
    return 0


_ODD = frozenset({"sin", "atan", "asinh", "tanh", "sinh", "erf", "sign"})
_EVEN = frozenset({"cos", "cosh", "logcosh", "abs"})
