"""The restricted subset of Python that every dialect shares, read by Python's `ast`.

A source is the text of a module: imports, constants in upper case and functions of float64 or
int64 scalars with straight-line bodies. Nothing is imported or executed here; a name is looked up
in the sources that were handed over, or it is one of the primitives that each dialect provides.
What lies outside the subset is refused where it is used, with one sentence.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from verify.errors import InputError

DOUBLE = "double"
INTEGER = "long long"
TRUTH = "bool"

# Kinds of the arguments, kind of the result; every prelude defines each of them.
PRIMITIVES: dict[str, tuple[tuple[str, ...], str]] = {
    "fma": ((DOUBLE, DOUBLE, DOUBLE), DOUBLE),
    "sqrt": ((DOUBLE,), DOUBLE),
    "abs": ((DOUBLE,), DOUBLE),
    "bits": ((DOUBLE,), INTEGER),
    "from_bits": ((INTEGER,), DOUBLE),
    "to_int": ((DOUBLE,), INTEGER),
    "to_float": ((INTEGER,), DOUBLE),
    **{
        f"{operation}_{way}": ((DOUBLE,) * (1 if operation == "sqrt" else 2), DOUBLE)
        for operation in ("add", "sub", "mul", "div", "sqrt")
        for way in ("dn", "up")
    },
}


@dataclass(frozen=True)
class Source:
    """The text of one module in the subset; `name` is its dotted name."""

    name: str
    text: str

    @classmethod
    def of(cls, module: ModuleType) -> Source:
        """Read the source of an imported module.

        Raises:
            InputError: the module has no source file.
        """
        if not module.__file__:
            raise InputError(f"translate: expected a module with a file, but got {module.__name__}")
        return cls(module.__name__, Path(module.__file__).read_text(encoding="utf-8"))

    @property
    def short(self) -> str:
        """Return the last part of the name, the prefix of its names in C."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class Function:
    """A function definition and the module in which its names are looked up."""

    module: Module
    node: ast.FunctionDef

    @property
    def c_name(self) -> str:
        """Return the name in C, unique among all sources."""
        return f"{self.module.source.short}_{self.node.name}"

    def refusal(self, node: ast.AST, expected: str) -> InputError:
        """Build the one sentence that refuses a node of this function."""
        return self.module.refusal(node, expected, self.node.name)

    def refused(self, expected: str) -> InputError:
        """Build the one sentence that refuses this function as a whole."""
        head = f"def {self.node.name}({ast.unparse(self.node.args)})"
        return self.module.refusal(ast.Name(head, lineno=self.node.lineno), expected)


@dataclass(frozen=True)
class Constant:
    """A number of a module, float or int."""

    module: Module
    name: str
    value: float | int

    @property
    def c_name(self) -> str:
        """Return the name in C, unique among all sources."""
        return f"{self.module.source.short}_{self.name}"


class Module:
    """One parsed source: its functions, the texts of its constants and what it imports."""

    def __init__(self, source: Source) -> None:
        """Parse the text.

        Raises:
            InputError: the text is not Python.
        """
        self.source = source
        try:
            tree = ast.parse(source.text)
        except SyntaxError as error:
            raise InputError(
                f"translate: expected Python in {source.name}, but got {error.msg!r} "
                f"in line {error.lineno}"
            ) from error
        self.functions: dict[str, Function] = {}
        self.imports: dict[str, str] = {}
        self._values: dict[str, ast.expr] = {}
        for node in tree.body:
            self._enter(node)

    def _enter(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef):
            self.functions[node.name] = Function(self, node)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                self.imports[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                self.imports[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            self._values[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            self._values[node.target.id] = node.value

    def refusal(self, node: ast.AST, expected: str, place: str = "") -> InputError:
        """Build the one sentence that refuses a node."""
        shown = ast.unparse(node)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        where = f"{self.source.name}.{place}" if place else self.source.name
        line = getattr(node, "lineno", "?")
        return InputError(f"{where}, line {line}: expected {expected}, but got {shown!r}")

    def constant(self, name: str) -> Constant | None:
        """Return a constant of this module, or None if there is none of the name."""
        if name not in self._values:
            return None
        return Constant(self, name, self._number(self._values[name]))

    def _number(self, node: ast.expr) -> float | int:
        if isinstance(node, ast.Constant) and type(node.value) in (float, int):
            value = node.value
            return value if isinstance(value, float | int) else 0
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._number(node.operand)
        if isinstance(node, ast.Name) and node.id in self._values:
            return self._number(self._values[node.id])
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "math.inf":
            return math.inf
        if isinstance(node, ast.Call) and len(node.args) == 1:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                if ast.unparse(node.func) == "float.fromhex":
                    return float.fromhex(argument.value)
                if ast.unparse(node.func) == "float" and argument.value in ("inf", "-inf", "nan"):
                    return float(argument.value)
        raise self.refusal(node, "a number or float.fromhex of a text as a module's constant")


class Library:
    """All sources together: what a name means in a module."""

    def __init__(self, sources: Iterable[Source]) -> None:
        """Parse every source.

        Raises:
            InputError: two sources share the last part of their names, or one is not Python.
        """
        self.modules: dict[str, Module] = {}
        for source in sources:
            if any(source.short == known.source.short for known in self.modules.values()):
                raise InputError(
                    f"translate: expected sources with different last names, "
                    f"but got {source.short!r} twice"
                )
            self.modules[source.name] = Module(source)

    def find(self, module: Module, node: ast.expr) -> Function | Constant | str | None:
        """Return what a name stands for: a function, a constant, a primitive's name or None."""
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            return self._dotted(f"{module.imports.get(owner, owner)}.{node.attr}")
        if not isinstance(node, ast.Name):
            return None
        if node.id in module.functions:
            return module.functions[node.id]
        constant = module.constant(node.id)
        if constant is not None:
            return constant
        if node.id in module.imports:
            return self._dotted(module.imports[node.id])
        return node.id if node.id in PRIMITIVES else None

    def _dotted(self, name: str) -> Function | Constant | str | None:
        owner, _, last = name.rpartition(".")
        if owner in self.modules:
            home = self.modules[owner]
            return self.find(home, ast.Name(last))
        return last if last in PRIMITIVES else None

    def function(self, name: str) -> Function:
        """Return the function of a name, `module:function` or `function` if that is unique.

        Raises:
            InputError: no such function, or several.
        """
        owner, _, last = name.rpartition(":")
        found = [
            module.functions[last]
            for module in self.modules.values()
            if last in module.functions and owner in ("", module.source.name, module.source.short)
        ]
        if len(found) != 1:
            raise InputError(
                f"translate: expected the name of one function of the sources, but got {name!r}, "
                f"which stands for {len(found)}"
            )
        return found[0]
