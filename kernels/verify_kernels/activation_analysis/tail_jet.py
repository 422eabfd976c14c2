"""Jets of formulas at infinity: derivatives in z as expansions in w = |z| on a half-line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import factorial

from verify_kernels.activation_analysis import tail_functions as of
from verify_kernels.activation_analysis.coefficients import Coefficient, UnclearError
from verify_kernels.activation_analysis.constant_functions import of_node
from verify_kernels.activation_analysis.expansions import Expansion, HalfLine, W
from verify_kernels.activation_analysis.tree import Node, postorder

Jet = list[Expansion]  # Taylor coefficients


def derivatives_at_infinity(root: Node, side: int, line: HalfLine, order: int) -> list[Expansion]:
    """Return sigma, ..., sigma^(order) at z = side w for w on the half-line.

    Args:
        root: a tree without switches.
        side: 1 for +infinity, -1 for -infinity.
        line: the half-line of w.
        order: the number of derivatives.

    Raises:
        UnclearError: the rules do not decide something.
        NeedLargerError: they do further out.
    """
    w = Expansion(line, {W: Coefficient.rational(side)})
    found = _jets(root, w, order)
    return [found[k].scaled(factorial(k)) for k in range(order + 1)]


def jets_from(root: Node, place: Coefficient, line: HalfLine, order: int) -> Jet:
    """Return the Taylor coefficients of a tree at a constant place.

    Raises:
        UnclearError: no rule gives one of them.
    """
    return _jets(root, Expansion.constant(line, place), order)


def _jets(root: Node, z: Expansion, order: int) -> Jet:
    n, line = order + 1, z.line
    zero = Expansion(line, {})
    values: dict[Node, Jet] = {}
    for node in postorder(root):
        if node.op == "z":
            values[node] = ([z, Expansion.constant(line, 1)] + [zero] * n)[:n]
        elif node.constant:
            values[node] = [Expansion.constant(line, of_node(node))] + [zero] * (n - 1)
        else:
            values[node] = _apply(node, [values[arg] for arg in node.args], n)
    return values[root]


def _product(a: Jet, b: Jet, n: int) -> Jet:
    result = []
    for k in range(n):
        total = Expansion(a[0].line, {})
        for i in range(k + 1):
            if not a[i].is_zero and not b[k - i].is_zero:
                total = total + a[i] * b[k - i]
        result.append(total.trimmed())
    return result


def _integrated(
    value: Expansion, slope: Callable[[list[Expansion], int], Expansion], n: int
) -> Jet:
    """Return the jet from its value and a rule for (k+1) times the next coefficient."""
    result = [value]
    for k in range(n - 1):
        result.append(slope(result, k).scaled(Fraction(1, k + 1)).trimmed())
    return result


def _times_slope(outer: Sequence[Expansion], f: Jet, k: int) -> Expansion:
    """Return the k-th coefficient of outer times f'."""
    total = Expansion(f[0].line, {})
    for i in range(k + 1):
        if not f[i + 1].is_zero:
            total = total + (outer[k - i] * f[i + 1]).scaled(i + 1)
    return total.trimmed()


def _inverse(f: Jet, n: int) -> Jet:
    first = of.inverse(f[0])
    result = [first]
    for k in range(1, n):
        total = Expansion(f[0].line, {})
        for i in range(1, k + 1):
            if not f[i].is_zero:
                total = total + f[i] * result[k - i]
        result.append(-(total * first))
    return result


def _exp(f: Jet, n: int) -> Jet:
    return _integrated(of.exp(f[0]), lambda found, k: _times_slope(found, f, k), n)


def _minus_one(f: Jet) -> Jet:
    return [f[0] - Expansion.constant(f[0].line, 1), *f[1:]]


def _plus_one(f: Jet) -> Jet:
    return [f[0] + Expansion.constant(f[0].line, 1), *f[1:]]


def _log(f: Jet, n: int) -> Jet:
    turned = _inverse(f, n - 1) if n > 1 else []
    return _integrated(of.log(f[0]), lambda _, k: _times_slope(turned, f, k), n)


def _power(f: Jet, p: Fraction, n: int) -> Jet:
    if p.denominator == 1:
        base = f if p > 0 else _inverse(f, n)
        total: Jet | None = None
        count = abs(int(p))
        while count:
            if count & 1:
                total = base if total is None else _product(total, base, n)
            count >>= 1
            if count:
                base = _product(base, base, n)
        return total if total is not None else [Expansion.constant(f[0].line, 1)]
    value = of.power(f[0], p)
    turned = of.inverse(f[0])
    result = [value]
    for k in range(1, n):
        total_k = Expansion(f[0].line, {})
        for i in range(1, k + 1):
            if not f[i].is_zero:
                total_k = total_k + (f[i] * result[k - i]).scaled(i * p - (k - i))
        result.append((total_k * turned).scaled(Fraction(1, k)))
    return result


def _sin_cos(f: Jet, n: int) -> tuple[Jet, Jet]:
    s, c = of.sin_cos(f[0])
    sines, cosines = [s], [c]
    for k in range(n - 1):
        next_s = _times_slope(cosines, f, k).scaled(Fraction(1, k + 1))
        next_c = _times_slope(sines, f, k).scaled(Fraction(-1, k + 1))
        sines.append(next_s)
        cosines.append(next_c)
    return sines, cosines


def _atan(f: Jet, n: int) -> Jet:
    turned = _inverse(_plus_one(_product(f, f, n)), n - 1) if n > 1 else []
    return _integrated(of.atan(f[0]), lambda _, k: _times_slope(turned, f, k), n)


def _asinh(f: Jet, n: int) -> Jet:
    slope = _power(_plus_one(_product(f, f, n)), Fraction(-1, 2), n - 1) if n > 1 else []
    return _integrated(of.asinh(f[0]), lambda _, k: _times_slope(slope, f, k), n)


def _logistic(f: Jet, n: int) -> tuple[Jet, Jet]:
    """Return the jets of p = 1/(1 + exp(-f)) and q = 1 - p, from p' = p q f'."""
    p, q = of.logistic(f[0])
    large, small = [p], [q]
    for k in range(n - 1):
        product = _product(large, small, k + 1)
        step = _times_slope(product, f, k).scaled(Fraction(1, k + 1))
        large.append(step)
        small.append(-step)
    return large, small


def _tanh(f: Jet, n: int) -> Jet:
    p, q = _logistic([x.scaled(2) for x in f], n)
    return [a - b for a, b in zip(p, q, strict=True)]


def _softplus(f: Jet, n: int) -> Jet:
    value = of.log(Expansion.constant(f[0].line, 1) + of.exp(f[0]))
    p = _logistic(f, n - 1)[0] if n > 1 else []
    return _integrated(value, lambda _, k: _times_slope(p, f, k), n)


def _cosh_parts(f: Jet, n: int) -> tuple[Jet, Jet]:
    up = [x.scaled(Fraction(1, 2)) for x in _exp(f, n)]
    down = [x.scaled(Fraction(1, 2)) for x in _exp([-x for x in f], n)]
    return up, down


def _sinh(f: Jet, n: int) -> Jet:
    up, down = _cosh_parts(f, n)
    return [a - b for a, b in zip(up, down, strict=True)]


def _cosh(f: Jet, n: int) -> Jet:
    up, down = _cosh_parts(f, n)
    return [a + b for a, b in zip(up, down, strict=True)]


def _logcosh(f: Jet, n: int) -> Jet:
    value = of.log(_cosh(f[:1], 1)[0])
    slope = _tanh(f, n - 1) if n > 1 else []
    return _integrated(value, lambda _, k: _times_slope(slope, f, k), n)


def _density(f: Jet, n: int) -> Jet:
    """Return 2 exp(-f^2)/sqrt(pi)."""
    scale = Coefficient.named(("pi",), Fraction(-1, 2)).scaled(2)
    square = _product(f, f, n)
    return [x.scaled(scale) for x in _exp([-x for x in square], n)]


def _erf(f: Jet, n: int) -> Jet:
    density = _density(f[: n - 1], n - 1) if n > 1 else []
    return _integrated(of.erf(f[0]), lambda _, k: _times_slope(density, f, k), n)


def _erfc(f: Jet, n: int) -> Jet:
    density = [-x for x in _density(f[: n - 1], n - 1)] if n > 1 else []
    return _integrated(of.erfc(f[0]), lambda _, k: _times_slope(density, f, k), n)


_RULES: dict[str, Callable[[Jet, int], Jet]] = {
    "exp": _exp,
    "expm1": lambda f, n: _minus_one(_exp(f, n)),
    "log": _log,
    "log1p": lambda f, n: _log(_plus_one(f), n),
    "sin": lambda f, n: _sin_cos(f, n)[0],
    "cos": lambda f, n: _sin_cos(f, n)[1],
    "sinh": _sinh,
    "cosh": _cosh,
    "logcosh": _logcosh,
    "atan": _atan,
    "asinh": _asinh,
    "tanh": _tanh,
    "sigmoid": lambda f, n: _logistic(f, n)[0],
    "softplus": _softplus,
    "erf": _erf,
    "erfc": _erfc,
}


def _apply(node: Node, parts: Sequence[Jet], n: int) -> Jet:
    if node.op == "add":
        total = parts[0]
        for part in parts[1:]:
            total = [a + b for a, b in zip(total, part, strict=True)]
        return [x.trimmed() for x in total]
    if node.op == "mul":
        total = parts[0]
        for part in parts[1:]:
            total = _product(total, part, n)
        return total
    if node.op == "pow":
        found = _power(parts[0], node.data, n)
        return (found + [Expansion(found[0].line, {})] * n)[:n]
    rule = _RULES.get(node.op)
    if rule is None:
        raise UnclearError(f"{node.op} is not decided at infinity")
    return rule(parts[0], n)
