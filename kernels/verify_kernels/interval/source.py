"""Programs as Python source: one straight line of calls of operations, for one point."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from verify_kernels.interval.program import PLUS, Node, Program, live
from verify_kernels.interval.reference import exact_ball, outward


def _literal(value: float) -> str:
    """Return a literal of a number; one that overflows stands for an infinity."""
    return f"({value!r})".replace("inf", "1e999")


class Printer:
    """Prints the nodes that the outputs need; `lines` is the body, without indentation."""

    def __init__(
        self, program: Program, outputs: Sequence[int], faults: Sequence[int | None]
    ) -> None:
        self.program = program
        self.lines: list[str] = []
        self._fault_names: dict[int, str] = {}
        self._needed = sorted(live(program, outputs, faults))
        for index in self._needed:
            if program.balls[index] is None:
                self._print(index, program.nodes[index])

    def pair(self, index: int) -> tuple[str, str]:
        """Return the texts of the two ends of a node."""
        ball = self.program.balls[index]
        if ball is not None:
            lo, hi = outward(ball)
            return _literal(lo), _literal(hi)
        return f"v{index}l", f"v{index}h"

    def _ends(self, *indices: int) -> str:
        return ", ".join(end for index in indices for end in self.pair(index))

    def _line(self, name: str, call: str) -> None:
        self.lines.append(f"{name}l, {name}h = {call}")

    def _print(self, index: int, node: Node) -> None:
        name, arguments = f"v{index}", node.arguments
        if node.operation == "input":
            self._line(name, f"x{node.number}l, x{node.number}h")
        elif node.operation == "same":
            self._line(name, self._ends(*arguments))
        elif node.operation == "mul":
            self._line(name, self._product(*arguments))
        elif node.operation == "div":
            self._line(name, self._quotient(*arguments))
        elif node.operation in ("and", "or"):
            operation = "iv_min" if node.operation == "and" else "iv_max"
            self._line(name, f"{operation}({self._ends(*arguments)})")
        elif node.operation == "pown":
            self._odd_power(name, arguments[0], node.number)
        elif node.operation == "powr":
            lo, hi = outward(exact_ball(node.number))
            self._line(name, f"iv_powr({self._ends(*arguments)}, {lo!r}, {hi!r})")
        else:
            self._line(name, f"iv_{node.operation}({self._ends(*arguments)})")

    def _product(self, a: int, b: int) -> str:
        first, second = self.program.signs[a], self.program.signs[b]
        for constant, other in ((a, b), (b, a)):
            ball = self.program.balls[constant]
            if ball is not None and self.program.positive[constant] and outward(ball)[1] < inf:
                return f"iv_scale({self._ends(constant, other)})"
        if first == PLUS and second == PLUS:
            return f"iv_mul_pp({self._ends(a, b)})"
        if first == PLUS:
            return f"iv_mul_pg({self._ends(a, b)})"
        return f"iv_mul_pg({self._ends(b, a)})" if second == PLUS else f"iv_mul({self._ends(a, b)})"

    def _quotient(self, a: int, b: int) -> str:
        if self.program.signs[b] != PLUS:
            return f"iv_div({self._ends(a, b)})"
        kind = "pp" if self.program.signs[a] == PLUS else "gp"
        return f"iv_div_{kind}({self._ends(a, b)})"

    def _odd_power(self, name: str, base: int, n: int) -> None:
        """Print x^n for odd n: the powers of the moduli of both ends, joined by their signs."""
        for end in ("lower", "upper"):
            letter = f"{name}{end[0]}"
            self._line(letter, f"iv_{end}_end({self._ends(base)})")
            square, power, rest = letter, letter, n // 2
            count = 0
            while rest:
                count += 1
                new = f"{letter}s{count}"
                self._line(new, f"iv_sqr({square}l, {square}h)")
                square = new
                if rest & 1:
                    product = f"{letter}p{count}"
                    self._line(product, f"iv_mul_pp({power}l, {power}h, {square}l, {square}h)")
                    power = product
                rest >>= 1
            self._line(f"{letter}z", f"{power}l, {power}h")
        ends = f"{name}lzl, {name}lzh, {name}uzl, {name}uzh"
        self._line(name, f"iv_odd({self._ends(base)}, {ends})")

    def fault(self, index: int | None) -> str:
        """Print what a fault needs and return its text, 1.0 or 0.0 at run time."""
        if index is None or index < 0:
            return "0.0"
        if index not in self._fault_names:
            check = self.program.checks[index]
            if check.operation == "either":
                text = f"largest({', '.join(self.fault(k) for k in check.arguments)})"
            elif check.operation == "select_fault":
                parts = ", ".join(self.fault(k) for k in check.arguments[1:])
                text = f"select_fault({self._ends(check.arguments[0])}, {parts})"
            elif check.operation == "possible_fault":
                text = self.pair(check.arguments[0])[1]
            else:
                text = f"{check.operation}({self._ends(*check.arguments)})"
            self._fault_names[index] = f"f{index}"
            self.lines.append(f"f{index} = {text}")
        return self._fault_names[index]


def body(
    program: Program, outputs: Sequence[int], faults: Sequence[int | None]
) -> tuple[list[str], list[str]]:
    """Return the lines from the ends of the inputs to the ends of the outputs, and their names.

    Every output has its own fault; where it holds, or an end is NaN or the ends are out of order,
    the output is (-inf, inf).
    """
    printer = Printer(program, outputs, faults)
    results: list[str] = []
    for k, (output, fault) in enumerate(zip(outputs, faults, strict=True)):
        lo, hi = printer.pair(output)
        text = printer.fault(fault)
        printer.lines.append(f"r{k}l, r{k}h = iv_or_nothing({lo}, {hi}, {text})")
        results += [f"r{k}l", f"r{k}h"]
    return printer.lines, results


def point_function(
    program: Program, outputs: Sequence[int], faults: Sequence[int | None], *, name: str = "point"
) -> str:
    """Return the source of a function of the restricted subset for one point."""
    lines, results = body(program, outputs, faults)
    given = ", ".join(f"x{k}{end}: float" for k in range(len(program.names)) for end in "lh")
    text = "\n".join(f"    {line}" for line in lines)
    kinds = ", ".join(["float"] * len(results))
    head = f"def {name}({given}) -> tuple[{kinds}]:"
    return f"{head}\n{text}\n    return {', '.join(results)}\n"
