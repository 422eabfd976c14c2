"""Tables and curves of the implicit ReLU runs; certified numbers are rounded outward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from statistics import median

from verify_conditions.convergence.implicit_real import RealRun
from verify_conditions.convergence.implicit_runs import Start, TableRow
from verify_conditions.convergence.implicit_training import Record
from verify_conditions.figures import curves_figure
from verify_conditions.reproduction import rounded_down, rounded_up

Rows = list[dict[str, str]]

FIRING = "Real data: the first checkpoint of the flow at which Theorem I fires"
WALKED = "From there: what Theorem I certifies (<=, >=) and what the walked flow shows (measured)"
RECALLED = (
    "Decay from the start against the paper's, as recalled; measured, nothing is proved by it"
)
A_PRIORI = "The norm of A at every step against its bound: the a-priori argument, proved"
TRAINED = "Trained on random directions with random labels until Theorem I fires (gamma = 1/4)"
UNTRAINED = "Theorem I at the start, n = d = 5, before any training (gamma = 1/4)"


def firing_rows(runs: Sequence[RealRun]) -> Rows:
    """Return where Theorem I fires first, and what it then certifies."""
    rows = []
    for run in runs:
        task, last, known = run.case.task, run.last, run.certified
        rows.append(
            {
                "data": task.name,
                "n": str(len(task.X)),
                "d": str(task.X.shape[1]),
                "m": str(run.case.width),
                "lambda_0 >=": rounded_down(run.lambda_0.lo_float, 4),
                "h at t = 0": f"{run.checkpoints[0].estimate.h:.3g}",
                "checkpoints": str(len(run.checkpoints)),
                "fires at t": "never" if known is None else f"{last.time:.4g}",
                "by": "-" if known is None else known.by,
                "loss": f"{last.loss:.3g}",
                "h <=": "-" if known is None else known.h_text,
                "well posed": str(run.posed.verdict),
            }
        )
    return rows


def walked_rows(runs: Sequence[RealRun]) -> Rows:
    """Return certified numbers beside the measured ones."""
    rows = []
    for run in runs:
        known, seen = run.certified, run.followed
        if known is not None and seen is not None:
            rows.append(
                {
                    "data": run.case.task.name,
                    "path": f"{seen.path:.4g}",
                    "l* <=": rounded_up(known.path.hi_float, 4),
                    "||gA||": f"{seen.contraction:.4f}",
                    "q <=": rounded_up(known.contraction.hi_float, 4),
                    "rate": f"{seen.rate:.4g}",
                    "rate >=": rounded_down(known.rate.lo_float, 4),
                    "largest ||r|| / its bound": f"{seen.worst:.4g}",
                    "||r|| at the end": f"{seen.residual:.2g}",
                    "after t": f"{seen.records[-1].time:.4g}",
                }
            )
    return rows


def recalled_bounds(run: RealRun) -> tuple[list[float], list[float]]:
    """Return the recalled bounds of ||r||^2 at the records of the flow and of the descent.

    exp(-lambda_0 t) ||r(0)||^2 and (1 - eta lambda_0 / 2)^k ||r(0)||^2, with the lower end of the
    enclosure of lambda_0.
    """
    slow, eta = run.lambda_0.lo_float, run.case.descent
    flow = [run.flow[0].squares * math.exp(-slow * record.time) for record in run.flow]
    factor = 1.0 - eta * slow / 2.0
    return flow, [run.descent[0].squares * factor**record.step for record in run.descent]


def recalled_rows(runs: Sequence[RealRun]) -> Rows:
    """Return how many records lie under the recalled bounds."""
    rows = []
    for run in runs:
        flow, descent = recalled_bounds(run)
        least = min(record.smallest for record in run.flow)
        rows.append(
            {
                "data": run.case.task.name,
                "lambda_0": f"{run.lambda_0.lo_float:.4g}",
                "flow under exp(-lambda_0 t)": _share(run.flow, flow),
                "descent under (1 - eta lambda_0/2)^k": _share(run.descent, descent),
                "eta": f"{run.case.descent:g}",
                "lambda_min(G(0)) / lambda_0": _ratio(run.flow[0].smallest, run),
                "least lambda_min(G(t)) / lambda_0": _ratio(least, run),
            }
        )
    return rows


def _share(records: Sequence[Record], bounds: Sequence[float]) -> str:
    under = sum(record.squares <= bound for record, bound in zip(records, bounds, strict=True))
    return f"{under} of {len(records)}"


def _ratio(value: float, run: RealRun) -> str:
    low = run.lambda_0.lo_float
    return f"{value / low:.3f}" if low > 0.0 else "-"


def a_priori_rows(runs: Sequence[RealRun]) -> Rows:
    """Return the enclosed norms of the a-priori argument."""
    return [
        {
            "data": run.case.task.name,
            "||A(0)|| <=": rounded_up(run.a_priori.norm.hi_float, 5),
            "||A(k) - A(0)||_F <=": rounded_up(run.a_priori.displacement.hi_float, 4),
            "both at most": run.a_priori.limit_text,
            "steps": str(run.a_priori.steps),
            "truth": run.a_priori.truth.value,
            "then ||g A(k)|| <=": f"{float(run.a_priori.bound):g}",
            "measured": f"{max(r.contraction for r in (*run.flow, *run.descent)):.4f}",
        }
        for run in runs
    ]


def trained_rows(table: Sequence[TableRow]) -> Rows:
    """Return the rows of trained networks; one that does not fire is told with its h."""
    rows = []
    for row in table:
        known, seen = row.last, row.followed
        n, d = row.task.X.shape
        shown = {
            "n": str(n),
            "d": str(d),
            "m": str(row.width),
            "h at the start": f"{row.first.h:.3g}",
            "fires": f"not in {row.step} steps" if known is None else f"step {row.step}",
            "by": "-" if known is None else known.by,
            "loss": f"{row.loss:.3g}",
            "seen before at": f"{row.noted:.3g}",
            "h <=": f"({row.here.h:.3g})" if known is None else known.h_text,
        }
        if known is None or seen is None:
            shown |= dict.fromkeys(("q <=", "path", "l* <=", "rate", "rate >="), "-")
        else:
            shown |= {
                "q <=": rounded_up(known.contraction.hi_float, 4),
                "path": f"{seen.path:.4g}",
                "l* <=": rounded_up(known.path.hi_float, 4),
                "rate": f"{seen.rate:.3g}",
                "rate >=": rounded_down(known.rate.lo_float, 3),
            }
        rows.append(shown)
    return rows


def untrained_rows(starts: Sequence[Start]) -> Rows:
    """Return h at the start by width, over the seeds."""
    rows = []
    for width, found in groupby(starts, key=lambda start: start.width):
        group = list(found)
        values = [start.h.hi_float for start in group]
        rows.append(
            {
                "m": str(width),
                "seeds": str(len(group)),
                "h, median": f"{median(values):.3g}",
                "least": f"{min(values):.3g}",
                "largest": f"{max(values):.3g}",
                "h sqrt(m), median": f"{median(values) * math.sqrt(width):.3g}",
                "h < 1/2": f"{sum(value < 0.5 for value in values)} of {len(group)}",
            }
        )
    return rows


def figures_of(run: RealRun) -> list[str]:
    """Return the curves of one case."""
    name = run.case.task.name
    bounds = recalled_bounds(run)
    title = (
        f"{name}: ||r||^2 from the start, and its decay in the paper as recalled (a measurement)"
    )
    start = {
        "flow": _squares(run.flow),
        "exp(-lambda_0 t), as recalled": _bound(run.flow, bounds[0]),
        f"descent, eta = {run.case.descent:g}": _squares(run.descent),
        "(1 - eta lambda_0/2)^k, as recalled": _bound(run.descent, bounds[1]),
    }
    recalled = [key for key in start if key.endswith("recalled")]
    figures = [
        curves_figure(
            title, start, x_label="t (steps times eta)", y_label="||r||^2", log_x=False,
            dashed=recalled, words=[f"lambda_0 >= {run.lambda_0.lo_float:.6g} is proved."],
        ),
        curves_figure(
            f"{name}: h of Theorem I at the checkpoints, up to the first that is certified",
            {"h, measured": [(c.time, c.estimate.h) for c in run.checkpoints]},
            x_label="t", y_label="h", marks={"1/2": 0.5},
        ),
    ]  # fmt: skip
    return [*figures, *_figures_of_walk(run)]


def _figures_of_walk(run: RealRun) -> list[str]:
    known, seen = run.certified, run.followed
    if known is None or seen is None:
        return []
    name = run.case.task.name
    begun = run.last.time
    first, rate = math.sqrt(seen.records[0].squares), known.rate.lo_float
    decay = [(r.time + begun, first * math.exp(-rate * r.time)) for r in seen.records]
    walked = [(r.time + begun, math.sqrt(r.squares)) for r in seen.records]
    along = [(r.time, r.contraction) for r in run.flow]
    along += [(r.time + begun, r.contraction) for r in seen.records]
    marks = {
        "2 c gamma, proved at every step": float(run.a_priori.bound),
        "q of Theorem I, proved for all later times": known.contraction.hi_float,
    }
    return [
        curves_figure(
            f"{name}: ||r|| of the flow from the certified point and its certified decay",
            {"||r||": walked, "certified": decay},
            x_label="t", y_label="||r||", log_x=False, dashed=["certified"],
            words=[
                f"Path {seen.path:.4g}, certified at most {known.path.hi_float:.4g}; measured rate "
                f"{seen.rate:.4g}, certified at least {rate:.4g}."
            ],
        ),
        curves_figure(
            f"{name}: ||g A(t)|| along the flow and its bounds",
            {"||g A(t)||, measured": along},
            x_label="t", y_label="||g A||", log_x=False, log_y=False, marks=marks,
        ),
    ]  # fmt: skip


def start_figure(starts: Sequence[Start]) -> str:
    """Return h at the start against the width, with the slope m^(-1/2) through its first median."""
    by_width = {
        width: [start.h.hi_float for start in found]
        for width, found in groupby(starts, key=lambda start: start.width)
    }
    middles = [(float(width), median(values)) for width, values in by_width.items()]
    first, value = middles[0]
    lines = {"h, median over the seeds": middles}
    lines["m^(-1/2)"] = [(m, value * math.sqrt(first / m)) for m, _ in middles]
    return curves_figure(
        f"{UNTRAINED}: h against the width m",
        lines, x_label="m", y_label="h", marks={"1/2": 0.5}, dashed=["m^(-1/2)"],
    )  # fmt: skip


def _squares(records: Sequence[Record]) -> list[tuple[float, float]]:
    return [(record.time, record.squares) for record in records]


def _bound(records: Sequence[Record], values: Sequence[float]) -> list[tuple[float, float]]:
    return [(record.time, value) for record, value in zip(records, values, strict=True)]
