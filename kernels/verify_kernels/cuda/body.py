"""One function of the restricted subset as C text: assignments, expressions and their kinds."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from verify_kernels.cuda.dialects import Dialect
from verify_kernels.cuda.subset import (
    DOUBLE,
    INTEGER,
    PRIMITIVES,
    TRUTH,
    Constant,
    Function,
    Library,
)

_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
}
_INTEGER: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


@dataclass(frozen=True)
class Term:
    """An expression in C, its kind, and its value if it is an integer that may become a float."""

    text: str
    kind: str
    literal: int | None = None


def number(value: float | int) -> str:
    """Print a number without rounding it."""
    if isinstance(value, int):
        return f"({value}LL)"
    if math.isnan(value):
        return "v_from_bits(0x7ff8000000000000LL)"
    if math.isinf(value):
        sign = "" if value > 0 else "-"
        return f"({sign}v_from_bits(0x7ff0000000000000LL))"
    return f"({value.hex()})"


class Unit(Protocol):
    """The translation unit around a function: what its names mean and how they are printed."""

    library: Library
    dialect: Dialect

    def result_of(self, function: Function) -> tuple[str, ...]:
        """Print a function before this one; return the kinds of its results."""

    def constant(self, constant: Constant) -> Term:
        """Define a constant; return its name."""


def kind_of(argument: ast.arg) -> str:
    """Return the kind of an argument by its annotation; a number is a double."""
    name = ast.unparse(argument.annotation).strip("'\"").lower() if argument.annotation else ""
    if name.startswith("int"):
        return INTEGER
    return TRUTH if name == "bool" else DOUBLE


class Body:
    """One function on its way to C; every assignment makes a new constant."""

    def __init__(self, unit: Unit, function: Function) -> None:
        self.unit = unit
        self.function = function
        self.names: dict[str, Term] = {}
        self.count: dict[str, int] = {}
        self.lines: list[str] = []

    def print(self) -> tuple[tuple[str, ...], str]:
        """Return the kinds of the results and the text of the function."""
        node = self.function.node
        arguments = node.args
        if node.decorator_list or any(
            (arguments.vararg, arguments.kwarg, arguments.kwonlyargs, arguments.posonlyargs)
        ):
            raise self.function.refused("plain arguments and no decorators")
        if arguments.defaults:
            raise self.function.refused("arguments without defaults")
        heads = []
        for argument in arguments.args:
            term = self._fresh(argument.arg, kind_of(argument))
            heads.append(f"const {term.kind} {term.text}")
        first = node.body[0]
        body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
        for statement in body[:-1]:
            self._assign(statement)
        last = body[-1]
        if not isinstance(last, ast.Return) or last.value is None:
            raise self.function.refusal(last, "one return at the end")
        kinds, text = self._result(last.value)
        struct = f"struct v_tuple_{len(kinds)}" if len(kinds) > 1 else kinds[0]
        comment = [f"// {line}" for line in _first_line(first)]
        head = f"V_FUNCTION {struct} {self.function.c_name}({', '.join(heads)}) {{"
        return kinds, "\n".join([*comment, head, *self.lines, f"  return {text};", "}", ""])

    def _result(self, node: ast.expr) -> tuple[tuple[str, ...], str]:
        if isinstance(node, ast.Tuple):
            terms = [self._as(self.expression(part), DOUBLE, part) for part in node.elts]
            name = self._fresh("result_", DOUBLE).text
            values = ", ".join(term.text for term in terms)
            self.lines.append(f"  const struct v_tuple_{len(terms)} {name} = {{{values}}};")
            return (DOUBLE,) * len(terms), name
        if isinstance(node, ast.Call):
            kinds, text = self._call(node)
            return kinds, text
        term = self.expression(node)
        return (term.kind,), term.text

    def _fresh(self, name: str, kind: str) -> Term:
        self.count[name] = self.count.get(name, -1) + 1
        term = Term(f"{name}_{self.count[name]}", kind)
        self.names[name] = term
        return term

    def _assign(self, node: ast.stmt) -> None:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            raise self.function.refusal(node, "a plain assignment")
        target, given = node.targets[0], node.value
        if isinstance(target, ast.Name):
            self._line(target, self.expression(given))
        elif isinstance(target, ast.Tuple) and isinstance(given, ast.Tuple | ast.Call):
            terms = self._several(given)
            if len(terms) != len(target.elts):
                raise self.function.refusal(node, f"{len(terms)} names for {len(terms)} results")
            for part, term in zip(target.elts, terms, strict=True):
                self._line(part, term)
        else:
            raise self.function.refusal(node, "a name, or names and a call or a tuple,")

    def _line(self, target: ast.expr, term: Term) -> None:
        if not isinstance(target, ast.Name):
            raise self.function.refusal(target, "a name")
        fresh = self._fresh(target.id, term.kind)
        self.lines.append(f"  const {fresh.kind} {fresh.text} = {term.text};")

    def _several(self, node: ast.Tuple | ast.Call) -> list[Term]:
        """Print what is assigned to several names; every name on the right is the old one."""
        if isinstance(node, ast.Tuple):
            return [self.expression(part) for part in node.elts]
        kinds, text = self._call(node)
        if len(kinds) == 1:
            return [Term(text, kinds[0])]
        whole = self._fresh("several_", "").text
        self.lines.append(f"  const struct v_tuple_{len(kinds)} {whole} = {text};")
        return [Term(f"{whole}.e{k}", kind) for k, kind in enumerate(kinds)]

    def _as(self, term: Term, kind: str, node: ast.AST) -> Term:
        """Return a term of the kind asked for; only an integer literal changes its kind."""
        if term.kind == kind:
            return term
        if kind == DOUBLE and term.literal is not None and abs(term.literal) <= 2**53:
            return Term(number(float(term.literal)), DOUBLE)
        raise self.function.refusal(node, f"a {kind}, not a {term.kind},")

    def expression(self, node: ast.expr) -> Term:
        """Print one expression that is a single number or truth value."""
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            value = node.value
            if isinstance(value, float):
                return Term(number(value), DOUBLE)
            if isinstance(value, int):
                return Term(number(value), INTEGER, value)
        if isinstance(node, ast.Name | ast.Attribute):
            return self._name(node)
        if isinstance(node, ast.UnaryOp):
            return self._unary(node)
        if isinstance(node, ast.BinOp):
            return self._binary(node)
        if isinstance(node, ast.Compare):
            return self._compare(node)
        if isinstance(node, ast.BoolOp):
            sign = " && " if isinstance(node.op, ast.And) else " || "
            parts = [self._as(self.expression(part), TRUTH, part).text for part in node.values]
            return Term(f"({sign.join(parts)})", TRUTH)
        if isinstance(node, ast.IfExp):
            test = self._as(self.expression(node.test), TRUTH, node.test)
            yes, no = self._alike(node.body, node.orelse)
            return Term(f"({test.text} ? {yes.text} : {no.text})", yes.kind)
        if isinstance(node, ast.Call):
            kinds, text = self._call(node)
            if len(kinds) == 1:
                return Term(text, kinds[0])
            raise self.function.refusal(node, "a call with one result")
        raise self.function.refusal(node, "an expression of the restricted subset")

    def _name(self, node: ast.Name | ast.Attribute) -> Term:
        if isinstance(node, ast.Name) and node.id in self.names:
            return self.names[node.id]
        found = self.unit.library.find(self.function.module, node)
        if isinstance(found, Constant):
            return self.unit.constant(found)
        raise self.function.refusal(node, "a name that was assigned or a module's constant")

    def _alike(self, left: ast.expr, right: ast.expr) -> tuple[Term, Term]:
        one, two = self.expression(left), self.expression(right)
        if one.kind == DOUBLE:
            return one, self._as(two, DOUBLE, right)
        if two.kind == DOUBLE:
            return self._as(one, DOUBLE, left), two
        return one, self._as(two, one.kind, right)

    def _unary(self, node: ast.UnaryOp) -> Term:
        term = self.expression(node.operand)
        if isinstance(node.op, ast.Not):
            return Term(f"(!{self._as(term, TRUTH, node.operand).text})", TRUTH)
        if isinstance(node.op, ast.USub) and term.kind != TRUTH:
            negated = None if term.literal is None else -term.literal
            return replace(term, text=f"(-{term.text})", literal=negated)
        raise self.function.refusal(node, "a unary minus or not")

    def _binary(self, node: ast.BinOp) -> Term:
        one, two = self._alike(node.left, node.right)
        operator = type(node.op)
        if one.kind == DOUBLE and operator in _ARITHMETIC:
            pattern = self.unit.dialect.operators[_ARITHMETIC[operator]]
            return Term(pattern.format(one.text, two.text), DOUBLE)
        if one.kind == INTEGER and operator in _INTEGER:
            sign = _INTEGER[operator]
            if operator in (ast.RShift, ast.BitAnd, ast.BitOr):
                return Term(f"({one.text} {sign} {two.text})", INTEGER)
            # Wrapping, as the compiled Python does: overflow of a signed number is undefined in C.
            wrapped = f"(unsigned long long){one.text} {sign} (unsigned long long){two.text}"
            return Term(f"((long long)({wrapped}))", INTEGER)
        raise self.function.refusal(node, f"an operation of the subset on a {one.kind}")

    def _compare(self, node: ast.Compare) -> Term:
        sides = [node.left, *node.comparators]
        parts = []
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            if type(operator) not in _COMPARISONS:
                raise self.function.refusal(node, "a comparison of numbers")
            one, two = self._alike(left, right)
            parts.append(f"({one.text} {_COMPARISONS[type(operator)]} {two.text})")
        return Term(parts[0] if len(parts) == 1 else f"({' && '.join(parts)})", TRUTH)

    def _call(self, node: ast.Call) -> tuple[tuple[str, ...], str]:
        if node.keywords or any(isinstance(part, ast.Starred) for part in node.args):
            raise self.function.refusal(node, "a call with plain arguments")
        found = self.unit.library.find(self.function.module, node.func)
        if isinstance(found, Function):
            kinds: Sequence[str] = [kind_of(part) for part in found.node.args.args]
            results, name = self.unit.result_of(found), found.c_name
        elif isinstance(found, str):
            kinds, result = PRIMITIVES[found]
            results, name = (result,), f"v_{found}"
        else:
            raise self.function.refusal(node, "a call of a function of the sources or a primitive")
        if len(kinds) != len(node.args):
            raise self.function.refusal(node, f"{len(kinds)} arguments")
        given = [
            self._as(self.expression(part), kind, part).text
            for part, kind in zip(node.args, kinds, strict=True)
        ]
        return results, f"{name}({', '.join(given)})"


def _first_line(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return [str(node.value.value).strip().partition("\n")[0].rstrip("\\")]
    return []
