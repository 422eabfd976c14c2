"""Functions of the restricted subset as C text, for a CUDA device or for the host.

`translate` prints the functions asked for, what they call, and for each a loop over points with
one signature: n, the arguments as one array of shape (arguments, n), the results as one of shape
(results, n). Operations are printed one by one in the order of the source; no algebra is done.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from verify.errors import InputError
from verify_kernels.cuda.dialects import DIALECTS, Dialect
from verify_kernels.cuda.subset import (
    DOUBLE,
    INTEGER,
    PRIMITIVES,
    TRUTH,
    Constant,
    Function,
    Library,
    Source,
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


def translate(
    sources: Sequence[Source], *, target: str, functions: Iterable[str] | None = None
) -> str:
    """Print functions of the sources as C.

    Args:
        sources: modules in the subset; their names are looked up among each other.
        target: "cuda" or "host".
        functions: `module:function` or `function` where that is unique; all when not given. Each
            gets a loop over points named `loop_<module>_<function>`.

    Returns:
        One translation unit, with the primitives in front.

    Raises:
        InputError: an unknown target or function, or anything outside the subset.
    """
    if target not in DIALECTS:
        raise InputError(f"translate: expected one of {sorted(DIALECTS)}, but got {target!r}")
    library = Library(sources)
    if functions is None:
        chosen = [f for module in library.modules.values() for f in module.functions.values()]
    else:
        chosen = [library.function(name) for name in functions]
    printer = _Printer(library, DIALECTS[target])
    for function in chosen:
        printer.result_of(function)
    loops = [printer.loop(function) for function in chosen]
    return "\n".join(
        [printer.dialect.prelude, *printer.structures(), *printer.defined, *printer.printed, *loops]
    )


def loop_name(module: str, function: str) -> str:
    """Return the name of the loop over points of a function."""
    return f"loop_{module.rpartition('.')[2]}_{function}"


class _Printer:
    """The functions printed so far, each after those that it calls."""

    def __init__(self, library: Library, dialect: Dialect) -> None:
        self.library = library
        self.dialect = dialect
        self.defined: list[str] = []
        self.printed: list[str] = []
        self._results: dict[str, tuple[str, ...]] = {}
        self._open: set[str] = set()

    def result_of(self, function: Function) -> tuple[str, ...]:
        """Print a function once; return the kinds of its results."""
        name = function.c_name
        if name in self._open:
            raise function.refused("a function that does not call itself")
        if name not in self._results:
            self._open.add(name)
            self._results[name], text = _Body(self, function).print()
            self._open.discard(name)
            self.printed.append(text)
        return self._results[name]

    def constant(self, constant: Constant) -> Term:
        """Define a constant once; return its name."""
        kind = DOUBLE if isinstance(constant.value, float) else INTEGER
        line = f"#define {constant.c_name} {self.number(constant.value)}\n"
        if line not in self.defined:
            self.defined.append(line)
        literal = constant.value if isinstance(constant.value, int) else None
        return Term(constant.c_name, kind, literal)

    @staticmethod
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

    def structures(self) -> list[str]:
        """Print the structures of the tuples returned."""
        sizes = sorted({len(kinds) for kinds in self._results.values() if len(kinds) > 1})
        return [
            f"struct v_tuple_{size} {{ double {', '.join(f'e{k}' for k in range(size))}; }};\n"
            for size in sizes
        ]

    def loop(self, function: Function) -> str:
        """Print the loop over points of a printed function."""
        kinds = self._results[function.c_name]
        if TRUTH in kinds:
            raise function.refused("a result that is a number")
        given = []
        for k, argument in enumerate(function.node.args.args):
            value = f"given[{k} * n + i]"
            given.append(f"v_to_int({value})" if _kind_of(argument) == INTEGER else value)
        call = f"{function.c_name}({', '.join(given)})"
        if len(kinds) == 1:
            number = f"v_to_float({call})" if kinds[0] == INTEGER else call
            body = [f"    found[i] = {number};"]
        else:
            body = [f"    const struct v_tuple_{len(kinds)} r = {call};"]
            body += [f"    found[{k} * n + i] = r.e{k};" for k in range(len(kinds))]
        head = self.dialect.loop_head.format(name=f"loop_{function.c_name}")
        return "\n".join([f"{head} {{", f"  {self.dialect.loop_over} {{", *body, "  }", "}", ""])


def _kind_of(argument: ast.arg) -> str:
    name = ast.unparse(argument.annotation).strip("'\"").lower() if argument.annotation else ""
    if name.startswith("int"):
        return INTEGER
    return TRUTH if name == "bool" else DOUBLE


class _Body:
    """One function on its way to C; every assignment makes a new constant."""

    def __init__(self, printer: _Printer, function: Function) -> None:
        self.printer = printer
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
            term = self._fresh(argument.arg, _kind_of(argument))
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
            return Term(self.printer.number(float(term.literal)), DOUBLE)
        raise self.function.refusal(node, f"a {kind}, not a {term.kind},")

    def expression(self, node: ast.expr) -> Term:
        """Print one expression that is a single number or truth value."""
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            value = node.value
            if isinstance(value, float):
                return Term(self.printer.number(value), DOUBLE)
            if isinstance(value, int):
                return Term(self.printer.number(value), INTEGER, value)
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
        found = self.printer.library.find(self.function.module, node)
        if isinstance(found, Constant):
            return self.printer.constant(found)
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
            pattern = self.printer.dialect.operators[_ARITHMETIC[operator]]
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
        found = self.printer.library.find(self.function.module, node.func)
        if isinstance(found, Function):
            kinds: Sequence[str] = [_kind_of(part) for part in found.node.args.args]
            results, name = self.printer.result_of(found), found.c_name
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
