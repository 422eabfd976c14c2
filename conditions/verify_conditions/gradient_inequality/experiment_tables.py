"""Tables and curves of the reproduction with students and teachers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import sympy as sp

from verify.decide import evaluate
from verify.network import TeacherStudent
from verify_conditions.figures import curves_figure
from verify_conditions.gradient_inequality.experiment_cases import Special
from verify_conditions.gradient_inequality.experiment_directions import HEAVY, Directions
from verify_conditions.gradient_inequality.experiment_runs import Comparison, Descent
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
_PREDICTED = {"t^-3": 3.0, "t^-2": 2.0, "t^-1": 1.0}
_EXPONENTS = {"slope 2/3": TWO_THIRDS, "slope 3/4": 0.75, "slope 1": 1.0}


def rate_row(case: Comparison) -> Row:
    """Return how fast the loss of a comparison falls, and the exponent along its runs."""
    exponent = 0.5 if case.exact else TWO_THIRDS
    least, most = case.constant(exponent)
    return {
        "teachers": case.name,
        "activation": case.activation,
        "m": str(case.width),
        "law": "L = exp(-c t)" if case.exact else "L = c t^-s",
        "c or s": _negated(case),
        "exponent": str(case.exponent()),
        "predicted": "1/2" if case.exact else "s = 3, 2/3",
        "||grad L|| / L^exponent": f"{least:.3g} .. {most:.3g}",
        "L at the end <=": _above(max(d.loss for d in case.descents)),
    }


def _negated(case: Comparison) -> str:
    fit = case.decay()
    return "-" if fit is None else f"{-fit.slope:.3f} ± {fit.half_width:.3f}"


def direction_row(case: Comparison, found: Sequence[Directions]) -> Row:
    """Return how near the students of a comparison are to their teachers at the end."""
    heavy, bounded = sum(d.heavy for d in found), sum(d.bounded for d in found)
    return {
        "teachers": case.name,
        "activation": case.activation,
        "m": str(case.width),
        f"students of norm >= {HEAVY}": str(heavy),
        "with a proved bound": str(bounded),
        "widest bound <=": _above(max(d.widest_bound for d in found)),
        "widest angle <=": _above(max(d.widest_angle for d in found)),
        "mass off by <=": _above(max(d.mass_gap for d in found)),
    }


def _above(value: float) -> str:
    """Return a number not below the value; the smallest ones say no more than 1e-30."""
    return rounded_up(max(value, 1e-30), 3) if math.isfinite(value) else "-"


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


def figures(cases: Sequence[Comparison], special: Sequence[Special], words: str) -> list[str]:
    """Return the curves: decay and exponents by the number of students, and special networks."""
    found = []
    for activation in ("abs", "relu"):
        numbers = sorted({c.teachers for c in cases if "orthogonal" in c.name})
        for r in (numbers[0], numbers[-1]):
            chosen = {
                f"m = {c.width}": c.descents[0] for c in cases
                if c.activation == activation and c.name == f"{r}, orthogonal"
            }  # fmt: skip
            who = f"{activation}, {r} teacher{'s' * (r > 1)}, seed 0"
            found.append(decay_figure(f"Loss against time: {who}", chosen, (words,)))
            found.append(exponent_figure(f"Gradient against loss: {who}", chosen, ()))
    starts = {run.case.name: run.descent for run in special}
    found.append(decay_figure("Loss against time from special networks, |.|", starts, ()))
    found.append(exponent_figure("Gradient against loss from special networks, |.|", starts, ()))
    return found


def decay_figure(title: str, cases: Mapping[str, Descent], words: Sequence[str]) -> str:
    """Return the enclosed loss against time, with the three predicted slopes."""
    lines = {name: _decay(descent) for name, descent in cases.items()}
    slow = max(lines.values(), key=lambda points: points[-1][1])
    start = slow[len(slow) // 2]
    end = max(points[-1][0] for points in lines.values())
    slopes = {
        name: [start, (end, start[1] * (end / start[0]) ** -power)]
        for name, power in _PREDICTED.items()
    }
    return curves_figure(
        title, {**lines, **slopes}, x_label="t = step size times steps",
        y_label="population loss L", words=words, dashed=tuple(slopes),
    )  # fmt: skip


def _decay(descent: Descent) -> list[tuple[float, float]]:
    return [(r.time, r.loss) for r in descent.records if r.time > 0.0 and r.loss > 1e-26]


def exponent_figure(title: str, cases: Mapping[str, Descent], words: Sequence[str]) -> str:
    """Return ||grad L|| against L along runs, with lines of the three exponents."""
    lines = {
        name: [(r.loss, r.gradient) for r in descent.records if r.loss > 1e-26]
        for name, descent in cases.items()
    }
    low = min(points[-1][0] for points in lines.values())
    high = max(points[0] for points in lines.values())
    slopes = {
        name: [high, (low, high[1] * (low / high[0]) ** power)]
        for name, power in _EXPONENTS.items()
    }
    return curves_figure(
        title, {**lines, **slopes}, x_label="population loss L", y_label="||grad L||",
        words=words, dashed=tuple(slopes),
    )  # fmt: skip
