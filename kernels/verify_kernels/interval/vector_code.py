"""The restricted subset as LLVM vector code: one instruction for all lanes, for Numba.

Functions of the subset are straight-line, so each becomes a straight line of vector instructions,
inlined at its calls: nothing is left to the automatic vectoriser. With AVX-512 the directed
operations are single instructions with their rounding mode inside, which neither read nor change
the mode of the thread; elsewhere they are the functions of `directed.py`.
"""

from __future__ import annotations
import __future__

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from llvmlite import ir
from numba.core.registry import cpu_target

from verify.errors import BackendError, InputError
from verify_kernels.interval import directed

DOUBLE, LONG, BIT = ir.DoubleType(), ir.IntType(64), ir.IntType(1)
_FUTURE = __future__.annotations.compiler_flag
_ROUNDING = {"dn": 9, "up": 10}  # towards -infinity, +infinity, no exceptions
_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "=="}
_FLOAT = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
_INTEGER = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.LShift: "shl",
    ast.RShift: "ashr",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
}
Values = tuple[Any, ...]


@cache
def has_embedded_rounding() -> bool:
    """Return whether the machine that Numba compiles for rounds as an instruction says."""
    features = str(cpu_target.target_context.codegen().magic_tuple()[2])
    return "+avx512f" in features.split(",")


@cache
def _definitions(filename: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(Path(filename).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


@cache
def _definition(function: FunctionType) -> ast.FunctionDef:
    """Return the syntax tree of a function, after comparing it with the code that is loaded.

    Raises:
        BackendError: the source file is not the one that was imported.
    """
    code = function.__code__
    found = _definitions(code.co_filename).get(function.__name__)
    if found is not None:
        module = ast.Module([found], [])
        parts = compile(
            module, code.co_filename, "exec", dont_inherit=True, flags=_FUTURE
        ).co_consts
        compiled = next(part for part in parts if isinstance(part, CodeType))
        if fingerprint(compiled) == fingerprint(code):
            return found
    raise BackendError(
        f"vector_code: expected the source of {function.__name__!r} as it was imported, but got "
        f"another one in {code.co_filename}; start again"
    )


def fingerprint(code: CodeType) -> tuple[object, ...]:
    """Return what a function does: its instructions, names and constants."""
    constants = tuple(
        fingerprint(part) if isinstance(part, CodeType) else repr(part) for part in code.co_consts
    )
    return code.co_code.hex(), code.co_names, code.co_varnames, constants


class Emitter:
    """Writes vector instructions of `lanes` lanes with a builder of llvmlite."""

    def __init__(self, builder: Any, lanes: int, *, embedded: bool) -> None:
        """Choose single instructions or the functions of `directed.py` for directed rounding."""
        self.builder = builder
        self.lanes = lanes
        self.embedded = embedded

    def statements(
        self, body: list[ast.stmt], names: dict[str, Any], known: Mapping[str, Any]
    ) -> Values:
        """Write assignments into `names`; return the values of the return at the end, if any."""
        for statement in body:
            if isinstance(statement, ast.Assign):
                target = statement.targets[0]
                if isinstance(target, ast.Name):
                    (names[target.id],) = self.several(statement.value, names, known)
                elif isinstance(target, ast.Tuple):
                    values = self.several(statement.value, names, known)
                    for part, value in zip(target.elts, values, strict=True):
                        names[ast.unparse(part)] = value
            elif isinstance(statement, ast.Return) and statement.value is not None:
                return self.several(statement.value, names, known)
        return ()

    def call(self, function: FunctionType, arguments: Values) -> Values:
        """Write the body of a function of the subset."""
        definition = _definition(function)
        names = {a.arg: v for a, v in zip(definition.args.args, arguments, strict=True)}
        return self.statements(definition.body, names, function.__globals__)

    def several(self, node: ast.expr, names: dict[str, Any], known: Mapping[str, Any]) -> Values:
        """Write an expression with one or more results."""
        if isinstance(node, ast.Tuple):
            return tuple(self.one(part, names, known) for part in node.elts)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            arguments = tuple(self.one(part, names, known) for part in node.args)
            return self._apply(node.func.id, known.get(node.func.id), arguments)
        return (self.one(node, names, known),)

    def one(self, node: ast.expr, names: dict[str, Any], known: Mapping[str, Any]) -> Any:
        """Write an expression with one result."""
        if isinstance(node, ast.Constant) and isinstance(node.value, float | int):
            return self.constant(node.value)
        if isinstance(node, ast.Name):
            return names[node.id] if node.id in names else self.constant(known[node.id])
        if isinstance(node, ast.IfExp):
            test, yes, no = (self.one(k, names, known) for k in (node.test, node.body, node.orelse))
            return self.builder.select(test, yes, no)
        if isinstance(node, ast.Call):
            return self.several(node, names, known)[0]
        if isinstance(node, ast.UnaryOp):
            value = self.one(node.operand, names, known)
            if isinstance(node.op, ast.Not):
                return self.builder.not_(value)
            return self.builder.fneg(value) if _is_float(value) else self.builder.neg(value)
        if isinstance(node, ast.BinOp):
            left, right = (self.one(k, names, known) for k in (node.left, node.right))
            table = _FLOAT if _is_float(left) else _INTEGER
            return getattr(self.builder, table[type(node.op)])(left, right)
        return self._logical(node, names, known)

    def _logical(self, node: ast.expr, names: dict[str, Any], known: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.BoolOp):
            join = self.builder.and_ if isinstance(node.op, ast.And) else self.builder.or_
            first, *others = (self.one(part, names, known) for part in node.values)
            for other in others:
                first = join(first, other)
            return first
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, right = (self.one(k, names, known) for k in (node.left, node.comparators[0]))
            compare = self.builder.fcmp_ordered if _is_float(left) else self.builder.icmp_signed
            return compare(_COMPARISONS[type(node.ops[0])], left, right)
        raise InputError(
            f"vector_code: expected an expression of the restricted subset, "
            f"but got {ast.unparse(node)!r}"
        )

    def constant(self, value: float | int) -> Any:
        """Return a vector of one number."""
        kind = DOUBLE if isinstance(value, float) else LONG
        return ir.Constant(ir.VectorType(kind, self.lanes), [value] * self.lanes)

    def _apply(self, name: str, function: Any, arguments: Values) -> Values:
        kind = self._primitive(name, arguments)
        if kind is not None:
            return (kind,)
        if not isinstance(function, FunctionType):
            raise InputError(f"vector_code: expected a function of the subset, but got {name!r}")
        embedded = self.embedded and function.__module__ == directed.__name__
        return (self._directed(name, arguments),) if embedded else self.call(function, arguments)

    def _primitive(self, name: str, arguments: Values) -> Any | None:
        vector = ir.VectorType(DOUBLE, self.lanes)
        integers = ir.VectorType(LONG, self.lanes)
        if name in ("fma", "sqrt", "abs"):
            intrinsic = {"abs": "fabs"}.get(name, name)
            return self._intrinsic(f"llvm.{intrinsic}.v{self.lanes}f64", vector, arguments)
        if name in ("bits", "from_bits"):
            return self.builder.bitcast(arguments[0], integers if name == "bits" else vector)
        if name == "to_int":
            return self.builder.fptosi(arguments[0], integers)
        return self.builder.sitofp(arguments[0], vector) if name == "to_float" else None

    def _directed(self, name: str, arguments: Values) -> Any:
        operation, _, way = name.partition("_")
        vector = ir.VectorType(DOUBLE, self.lanes)
        mode = ir.Constant(ir.IntType(32), _ROUNDING[way])
        intrinsic = f"llvm.x86.avx512.{operation}.pd.512"
        return self._intrinsic(intrinsic, vector, (*arguments, mode))

    def _intrinsic(self, name: str, result: Any, arguments: Values) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, kind, name)
        return self.builder.call(function, arguments)


def _is_float(value: Any) -> bool:
    return bool(value.type.element == DOUBLE)
