"""Constants of the losses l(q, y) as functions of the network's output q in R^m_y.

The theorems need l convex in q with a gradient that is Lipschitz in the Euclidean norm; a global
constant of strong convexity gives a linear rate. J(w) = (1/n) sum_i l(f(x_i, w), y_i) throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from verify.errors import InputError, SettingsError
from verify.exact import parse_exact
from verify.network import Graph
from verify_conditions.expressivity.formulas import M_Y

ENTROPY = "entropy of the target"


@dataclass(frozen=True)
class LossConstants:
    """What is proved of one loss per sample.

    Args:
        name: its key in `LOSSES`.
        formula: l(q, y) in words of the field.
        smoothness: L_l, the least Lipschitz constant of q -> grad l(q, y) that holds for every
            y and q, in the symbol m_y.
        strong_convexity: mu > 0 with l - (mu/2) |q|^2 convex, in the symbol m_y, or None: no
            global constant exists.
        infimum: inf_q l(q, y): ``"0"`` or ``"entropy of the target"``.
        attained: whether every admissible target attains it.
        why: the proofs in a sentence.
        example: targets of two samples, for messages.
    """

    name: str
    formula: str
    smoothness: sp.Expr
    strong_convexity: sp.Expr | None
    infimum: str
    attained: bool
    why: str
    example: str

    def smoothness_at(self, outputs: int) -> Fraction:
        """Return L_l for m_y outputs."""
        return _number(self.smoothness, outputs)

    def strong_convexity_at(self, outputs: int) -> Fraction | None:
        """Return mu for m_y outputs, or None."""
        return None if self.strong_convexity is None else _number(self.strong_convexity, outputs)


def _number(formula: sp.Expr, outputs: int) -> Fraction:
    value = sp.Rational(formula.subs(M_Y.symbol, outputs))
    return Fraction(int(value.p), int(value.q))


_m = M_Y.symbol
_SOFTMAX = (
    "with p = softmax(q) the Hessian is diag(p) - p p^T, the covariance of the unit vectors, and "
    "v^T H v = Var_p(v) <= (max v - min v)^2/4 <= |v|^2/2, with equality at p = (1/2, 1/2, 0, ...)"
)
_FLAT = "the Hessian tends to 0 at infinity, so no constant holds for every q"

LOSSES: Mapping[str, LossConstants] = {
    entry.name: entry
    for entry in (
        LossConstants(
            "half-squares", "1/2 |q - y|^2", sp.Integer(1), sp.Integer(1), "0", True,
            "the Hessian is the identity", "[[0.5], [1]]",
        ),
        LossConstants(
            "mean-squares", "(1/m_y) |q - y|^2", 2 / _m, 2 / _m, "0", True,
            "the Hessian is 2/m_y times the identity", "[[0.5], [1]]",
        ),
        LossConstants(
            "cross-entropy", "log sum_k exp(q_k) - q_y", sp.Rational(1, 2), None, "0", False,
            f"{_SOFTMAX}; {_FLAT}; l > 0 tends to 0 where q_y exceeds the others without bound",
            "[0, 2]",
        ),
        LossConstants(
            "logistic", "log(1 + exp(-y q))", sp.Rational(1, 4), None, "0", False,
            "l'' = p (1 - p) <= 1/4 with p = 1/(1 + exp(y q)), with equality at q = 0; it tends "
            "to 0 at infinity, so no constant holds for every q; l > 0 tends to 0 where y q grows",
            "[-1, 1]",
        ),
        LossConstants(
            "soft-cross-entropy", "log sum_k exp(q_k) - sum_k y_k q_k", sp.Rational(1, 2), None,
            ENTROPY, False,
            f"{_SOFTMAX}; {_FLAT}, also across the all-ones direction, along which l is constant; "
            "l is the entropy of y plus the divergence of p from y, which vanishes at q = log y "
            "if every y_k > 0 and is never 0 otherwise",
            "[[1/10, 9/10], [1/2, 1/2]]",
        ),
    )
}  # fmt: skip

_ENDS = {
    "cross-entropy": {"softmax", "log_softmax"},
    "soft-cross-entropy": {"softmax", "log_softmax"},
    "logistic": {"sigmoid"},
}

_NOT_SMOOTH = frozenset({"l1", "mae", "hinge", "absolute", "quantile", "pinball", "multi-margin"})


def loss_named(name: str) -> LossConstants:
    """Return the entry of a loss.

    Raises:
        SettingsError: a loss that is not smooth, or one without an entry.
    """
    if name in LOSSES:
        return LOSSES[name]
    kink = name.lower().removesuffix("loss").rstrip("-_ ") in _NOT_SMOOTH
    raise SettingsError(
        f"loss: expected one of {', '.join(LOSSES)}, but got {name[:80]!r}"
        + (", which is not smooth and not covered" if kink else "")
    )


def after_last_layer(graph: Graph) -> list[str]:
    """Return the operations after the last affine layer of a graph, by name."""
    nodes = graph.nodes[(graph.last_affine or 0) + 1 :]
    return [n.attributes["activation"].name if n.op == "activation" else n.op for n in nodes]


def belongs_to(loss: str, after: Sequence[str]) -> bool:
    """Return whether a loss of the outputs of the last layer takes these operations in.

    Squares of the outputs of a softmax or sigmoid are no convex function of the last layer.
    """
    return len(after) <= 1 and set(after) <= _ENDS.get(loss, set())


def check_targets(loss: str, y: Any, n: int, m_y: int) -> None:
    """Check that targets are what a loss needs; numbers are taken exactly.

    Args:
        loss: a name in `LOSSES`.
        y: squares: numbers of shape (n, m_y), or (n,) for one output; cross-entropy: n labels in
            0 ... m_y - 1; logistic: n numbers -1 or 1; soft-cross-entropy: n rows of m_y numbers
            >= 0 that add up to 1 exactly, since a sum s makes the constant s/2. `Fraction`s and
            texts such as ``"1/10"`` say what floats cannot.
        n: samples.
        m_y: outputs of the network.

    Raises:
        InputError: they are not. SettingsError: an unknown loss.
    """
    entry = loss_named(loss)
    _CHECKS[loss](entry, _rows(entry, y, n), m_y)


def is_infimum_attained(loss: str, y: Any) -> bool:
    """Return whether some q attains inf_q l(q, y_i) for every sample of admissible targets.

    Raises:
        SettingsError: an unknown loss.
    """
    entry = loss_named(loss)
    if entry.infimum != ENTROPY:
        return entry.attained
    return all(value > 0 for row in _rows(entry, y, len(y)) for value in row)


def _unfit(loss: LossConstants, expected: str, got: object) -> InputError:
    return InputError(
        f"targets of {loss.name}: expected {expected}, such as {loss.example}, but got {got}"
    )


def _rows(loss: LossConstants, y: Any, n: int) -> list[list[Fraction]]:
    """Return the targets of each sample as exact numbers."""
    given: Any = y.tolist() if isinstance(y, np.ndarray) else y
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != n:
        size = len(given) if isinstance(given, Sequence) else given
        raise _unfit(loss, f"targets of {n} samples", f"{size!r}"[:80])
    return [
        [_exact(loss, entry) for entry in row] if _is_row(row) else [_exact(loss, row)]
        for row in given
    ]


def _is_row(entry: Any) -> bool:
    return isinstance(entry, Sequence | np.ndarray) and not isinstance(entry, str)


def _exact(loss: LossConstants, entry: Any) -> Fraction:
    try:
        if isinstance(entry, np.generic):
            entry = entry.item()
        return parse_exact(entry, where="targets") if isinstance(entry, str) else Fraction(entry)
    except (TypeError, ValueError, OverflowError, SettingsError) as error:
        raise _unfit(loss, "finite numbers", f"{entry!r}"[:80]) from error


def _squares(loss: LossConstants, rows: list[list[Fraction]], m_y: int) -> None:
    for i, row in enumerate(rows):
        if len(row) != m_y:
            raise _unfit(loss, f"{m_y} number(s) for each sample", f"{len(row)} for sample {i}")


def _labels(loss: LossConstants, rows: list[list[Fraction]], m_y: int) -> None:
    if m_y < 2:
        raise _unfit(loss, "a network with at least 2 outputs", f"{m_y}, where the loss is 0")
    for i, row in enumerate(rows):
        if len(row) != 1 or row[0].denominator != 1 or not 0 <= row[0] < m_y:
            got = f"{_shown(row)} for sample {i}"
            raise _unfit(loss, f"one whole number from 0 to {m_y - 1} for each sample", got)


def _signs(loss: LossConstants, rows: list[list[Fraction]], m_y: int) -> None:
    if m_y != 1:
        raise _unfit(loss, "a network with one output", m_y)
    for i, row in enumerate(rows):
        if len(row) != 1 or abs(row[0]) != 1:
            raise _unfit(loss, "-1 or 1 for each sample", f"{_shown(row)} for sample {i}")


def _distributions(loss: LossConstants, rows: list[list[Fraction]], m_y: int) -> None:
    if m_y < 2:
        raise _unfit(loss, "a network with at least 2 outputs", f"{m_y}, where the loss is 0")
    expected = f"{m_y} numbers >= 0 for each sample that add up to 1 exactly"
    for i, row in enumerate(rows):
        total = sum(row, Fraction(0))
        if len(row) != m_y or min(row) < 0 or total != 1:
            shaped = len(row) == m_y and min(row) >= 0
            off = f", whose sum differs from 1 by {_decimal(total - 1, 3)}" if shaped else ""
            raise _unfit(loss, expected, f"{_shown(row)} for sample {i}{off}")


def _shown(row: list[Fraction]) -> str:
    shown = (str(v) if v.denominator < 1000 > abs(v) else _decimal(v, 6) for v in row[:6])
    return f"[{', '.join(shown)}]"


def _decimal(value: Fraction, digits: int) -> str:
    try:
        return f"{float(value):.{digits}g}"
    except OverflowError:
        return "a number beyond 1.8e308"


_CHECKS = {
    "half-squares": _squares,
    "mean-squares": _squares,
    "cross-entropy": _labels,
    "logistic": _signs,
    "soft-cross-entropy": _distributions,
}
