"""Tables of the reproduction with students and teachers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import sympy as sp

from verify.decide import evaluate
from verify.network import TeacherStudent
from verify_conditions.gradient_inequality.experiment_cases import Special
from verify_conditions.gradient_inequality.experiment_directions import HEAVY, Directions
from verify_conditions.gradient_inequality.experiment_runs import Comparison
from verify_conditions.gradient_inequality.experiment_teachers import (
    balanced_pair,
    stray_ratio,
    stray_student,
)
from verify_conditions.reproduction import rounded_down, rounded_up
from verify_kernels.teacher_student import enclose_population

Row = dict[str, str]
TWO_THIRDS = 2.0 / 3.0
PAIR_LIMIT = (2.0 / math.pi) / (2.0 / (3.0 * math.pi)) ** TWO_THIRDS
_SMALL = 1e-30


def rate_row(case: Comparison) -> Row:
    """Return how fast the loss of a comparison falls, and the exponent along its runs."""
    exponent = 0.5 if case.exact else TWO_THIRDS
    least, most = case.constant(exponent)
    return {
        "r": case.name.removesuffix(", orthogonal"),
        "activation": case.activation,
        "m": str(case.width),
        "law": "exp(-c t)" if case.exact else "t^-s",
        "c, s": _negated(case),
        "exponent": str(case.exponent()),
        "predicted": "1/2" if case.exact else "s = 3, 2/3",
        "||grad L|| / L^exponent": f"{least:.3g} .. {most:.3g}",
        "L at the end <=": _above(max(d.loss for d in case.descents)),
    }


def _negated(case: Comparison) -> str:
    fit = case.decay()
    return "-" if fit is None else str(replace(fit, slope=-fit.slope))


def direction_row(case: Comparison, found: Sequence[Directions]) -> Row:
    """Return how near the students of a comparison are to their teachers at the end."""
    heavy, bounded = sum(d.heavy for d in found), sum(d.bounded for d in found)
    return {
        "r": case.name.removesuffix(", orthogonal"),
        "activation": case.activation,
        "m": str(case.width),
        f"students of norm >= {HEAVY}": str(heavy),
        "with a proved bound": str(bounded),
        "widest bound <=": _above(max(d.widest_bound for d in found)),
        "widest angle <=": _above(max(d.widest_angle for d in found)),
        "mass off by <=": _above(max(d.mass_gap for d in found)),
    }


def _above(value: float) -> str:
    """Return a number not below the value; of the smallest ones only that they are below 1e-30."""
    if value <= _SMALL:
        return f"{_SMALL:g}"
    return rounded_up(value, 3) if math.isfinite(value) else "-"


def ratio_rows() -> list[Row]:
    """Return the enclosed ratios of the balanced pair and of the stray student."""
    rows = [
        _ratio_row(f"balanced pair, {d} rad off", balanced_pair(d), sp.Rational(2, 3), PAIR_LIMIT)
        for d in (0.1, 0.01, 0.001)
    ]
    return rows + [
        _ratio_row(f"stray student of norm {norm}, 1 rad off", stray_student(norm, 1.0),
                   sp.Rational(3, 4), stray_ratio(1.0))
        for norm in (0.1, 0.01, 0.001)
    ]  # fmt: skip


def _ratio_row(name: str, network: TeacherStudent, power: sp.Rational, limit: float) -> Row:
    found = enclose_population(network)
    loss, norm = sp.Symbol("L", real=True), sp.Symbol("G", real=True)
    known = {loss: found.loss.enclosure(), norm: found.gradient_norm.enclosure()}
    ratio = evaluate(norm / loss**power, known)
    return {
        "network": name,
        "ratio": f"||grad L|| / L^({power})",
        "enclosed": f"[{rounded_down(ratio.lo_float, 8)}, {rounded_up(ratio.hi_float, 8)}]",
        "limit": f"{limit:.6f}",
    }


def special_row(special: Special) -> Row:
    """Return how a run from a special network falls."""
    return {
        "start": special.case.name,
        "L ~ t^slope": str(special.case.decay()),
        "exponent": str(special.case.exponent()),
        "predicted": special.law,
        "L at the end <=": _above(special.descent.loss),
    }
