"""Functions of the restricted subset as C text, for a CUDA device or for the host.

`translate` prints the functions asked for, what they call, and for each a loop over points with
one signature: n, the arguments as one array of shape (arguments, n), the results as one of shape
(results, n). Operations are printed one by one in the order of the source; no algebra is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from verify.errors import InputError
from verify_kernels.cuda.body import Body, Term, kind_of, number
from verify_kernels.cuda.dialects import DIALECTS, Dialect
from verify_kernels.cuda.subset import (
    DOUBLE,
    INTEGER,
    TRUTH,
    Constant,
    Function,
    Library,
    Source,
)


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
            self._results[name], text = Body(self, function).print()
            self._open.discard(name)
            self.printed.append(text)
        return self._results[name]

    def constant(self, constant: Constant) -> Term:
        """Define a constant once; return its name."""
        kind = DOUBLE if isinstance(constant.value, float) else INTEGER
        line = f"#define {constant.c_name} {number(constant.value)}\n"
        if line not in self.defined:
            self.defined.append(line)
        literal = constant.value if isinstance(constant.value, int) else None
        return Term(constant.c_name, kind, literal)

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
            given.append(f"v_to_int({value})" if kind_of(argument) == INTEGER else value)
        call = f"{function.c_name}({', '.join(given)})"
        if len(kinds) == 1:
            number = f"v_to_float({call})" if kinds[0] == INTEGER else call
            body = [f"    found[i] = {number};"]
        else:
            body = [f"    const struct v_tuple_{len(kinds)} r = {call};"]
            body += [f"    found[{k} * n + i] = r.e{k};" for k in range(len(kinds))]
        head = self.dialect.loop_head.format(name=f"loop_{function.c_name}")
        return "\n".join([f"{head} {{", f"  {self.dialect.loop_over} {{", *body, "  }", "}", ""])
