"""`verify reproduce convergence`: from which checkpoint on is convergence to zero loss proved?

Two-layer tanh networks are trained on real data by Adam until Theorem A (gradient flow) and
Theorem B (gradient descent with the best step found) are proved at a checkpoint. From there that
very gradient descent is walked, and held against what was certified: the length of its path and the
contraction of every step. Anything that comes out otherwise is named, and the exit code is 1.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

from verify.certificate import write_certificates
from verify_conditions.checkpoints import replace_file
from verify_conditions.convergence.dense_runs import FLOOR, Case, Run, run_case
from verify_conditions.convergence.experiment_data import (
    PREPARATION,
    breast_cancer,
    diabetes,
    digit_pair,
    digits,
)
from verify_conditions.figures import curves_figure, html_table
from verify_conditions.reproduction import (
    Echo,
    click_echo,
    one_thread,
    outcome,
    rounded_down,
    rounded_up,
    tell_table,
    write_report,
)
from verify_kernels._rounding import mul_up

TITLE = "From which checkpoint on is convergence proved?"
PROOFS = "The first checkpoint at which Theorems A and B are proved"
WALKS = "Gradient descent with the certified step, walked from there (measured, in binary64)"


def run(
    quick: bool = False,
    json_dir: str | Path | None = None,
    report: str | Path | None = None,
    echo: Echo | None = None,
) -> int:
    """Train, certify, walk, compare.

    Args:
        quick: fewer and smaller networks, for a look; the expectations are the same.
        json_dir: where to write certificates and ``convergence.json`` with all curves.
        report: where to write the HTML page, with the figures.
        echo: takes a line of text.

    Returns:
        0 if both theorems fire for every network and the walk respects what they say; 1 otherwise.
    """
    with one_thread():
        return _run(quick, json_dir, report, echo or click_echo())


def _run(quick: bool, json_dir: str | Path | None, report: str | Path | None, say: Echo) -> int:
    started = time.perf_counter()
    say(f"inputs: {PREPARATION}")
    runs = []
    for case in cases_of(quick):
        runs.append(run_case(case))
        _tell(runs[-1], say)
    rows = {PROOFS: [proof_row(one) for one in runs], WALKS: [walk_row(one) for one in runs]}
    for title, table in rows.items():
        say("")
        say(title)
        tell_table(table, say)
    certificates = [one.first[1].certificate for one in runs if one.first is not None]
    if json_dir is not None:
        _write(Path(json_dir), runs, rows)
        say(f"certificates and convergence.json: {json_dir}")
    tables = [html_table(title, table) for title, table in rows.items()]
    write_report(
        certificates, report, TITLE, say, heading="Certified and walked",
        figures=figures_of(runs), tables=tables,
    )  # fmt: skip
    say(f"in {time.perf_counter() - started:.0f} s")
    return outcome([sentence for one in runs for sentence in one.unmet()], say)


def cases_of(quick: bool) -> list[Case]:
    """Return the networks to be trained.

    The seeds are such that h is well below 1/2 at the first checkpoint at which it is below: next
    to 1/2 the certified steps become as small as one likes, and the walks as long.
    """
    small = [
        Case(diabetes(20), 50, seed=5),
        Case(breast_cancer(10), 50, seed=5),
        Case(digit_pair(20, (3, 8)), 50, seed=2),
    ]
    if quick:
        return small
    # Ten outputs of thirty samples: rounding errors of ||r|| are about 1e-13 there.
    return [
        *small,
        Case(diabetes(50), 200, seed=2),
        Case(breast_cancer(30), 100),
        Case(digit_pair(50, (4, 9)), 200, seed=5),
        Case(digits(30), 150, end=1e-12),
    ]


def _tell(one: Run, say: Echo) -> None:
    train, prove, walked = one.seconds
    asked = f"{len(one.asked)} certificate{'s' * (len(one.asked) > 1)}"
    say(
        f"{one.case.name}: {one.case.steps} steps of Adam in {train:.1f} s, {asked} "
        f"in {prove:.1f} s, descent in {walked:.1f} s; targets {one.case.task.targets}"
    )


def proof_row(one: Run) -> dict[str, str]:
    """Return what is proved at the first checkpoint at which it is, rounded to the safe side."""
    row = {
        "network": one.case.name,
        "d": str(one.case.task.X.shape[1]),
        "p": str(one.case.problem.net.parameters),
    }
    heads = ("step", "||r|| <=", "L <=", "sigma >=", "beta <=", "h <=", "l* <=", "rate >=",
             "B at step", "eta", "contraction <=")  # fmt: skip
    if one.first is None:
        return row | dict.fromkeys(heads, "-")
    point, a = one.first
    cells = [
        str(point.step),
        rounded_up(a.residual, 3),
        rounded_up(mul_up(0.5, mul_up(a.residual, a.residual)), 3),
        rounded_down(a.sigma, 4),
        rounded_up(a.beta, 4),
        rounded_up(a.h, 3),
        rounded_up(a.lstar, 3),
        rounded_down(a.rate, 3),
    ]
    if one.start is None:
        cells += ["-"] * 3
    else:
        point, b = one.start
        cells += [str(point.step), f"{b.eta:.3g}", rounded_up(b.contraction, 8)]
    return row | dict(zip(heads, cells, strict=True))


def walk_row(one: Run) -> dict[str, str]:
    """Return what was walked against what is certified."""
    row = {"network": one.case.name}
    heads = ("steps", "||r|| at the end", "path", "certified length <=", "distance",
             "slowest step, 1 - factor", "certified >=")  # fmt: skip
    if one.walk is None or one.start is None:
        return row | dict.fromkeys(heads, "-")
    proved = one.start[1]
    cells = [
        str(one.walk.steps),
        f"{one.walk.residual:.2g}",
        f"{one.walk.path:.4g}",
        rounded_up(proved.length, 4),
        f"{one.walk.distance:.4g}",
        f"{1.0 - one.walk.worst:.3g}",
        f"{1.0 - proved.contraction:.3g}",
    ]
    return row | dict(zip(heads, cells, strict=True))


def figures_of(runs: Sequence[Run]) -> list[str]:
    """Return h along the trainings, paths against their bounds, residuals against theirs."""
    walked = [one for one in runs if one.walk is not None and one.start is not None]
    h = curves_figure(
        "h along the training",
        {one.case.name: [(step, value) for step, _, value in one.training] for one in runs},
        x_label="steps of Adam", y_label="h", log_x=False, marks={"1/2": 0.5},
        words=["Measured: beta ||r|| / sigma^2 with beta on the ball of radius ||r|| / sigma. "
               "Theorem A is not proved where it is 1/2 or more."],
    )  # fmt: skip
    paths = curves_figure(
        "Path of gradient descent over its certified length",
        {one.case.name: _shares(one) for one in walked},
        x_label="steps of gradient descent, plus 1", y_label="share of the certified length",
        log_y=False, marks={"certified": 1.0},
    )  # fmt: skip
    return [h, paths, *(_residual_figure(one) for one in walked)]


def _shares(one: Run) -> list[tuple[float, float]]:
    if one.walk is None or one.start is None:
        return []
    return [(step + 1, path / one.start[1].length) for step, _, path in one.walk.curve]


def _residual_figure(one: Run) -> str:
    if one.walk is None or one.start is None:
        return ""
    proved, curve = one.start[1], one.walk.curve
    slow = math.log(proved.contraction)
    bound = [(step, proved.residual * math.exp(slow * step)) for step, _, _ in curve]
    return curves_figure(
        f"{one.case.name}: residual against its certified bound",
        {"certified bound": bound, "walked": [(step, norm) for step, norm, _ in curve]},
        x_label="steps of gradient descent", y_label="||r||", log_x=False,
        dashed=["certified bound"],
        words=[f"From step {one.start[0].step} of Adam; steps are compared one by one while ||r|| "
               f"is above {FLOOR:g}, and the walk ends at {one.case.end:g}."],
    )  # fmt: skip


def _write(folder: Path, runs: Sequence[Run], rows: dict[str, list[dict[str, str]]]) -> None:
    for one in runs:
        if one.first is not None:
            write_certificates([one.first[1].certificate], folder, _stem(one.case))
    curves = {
        one.case.name: {
            "training: step, ||r||, h": [[s, r, h if math.isfinite(h) else None]
                                         for s, r, h in one.training],
            "descent: step, ||r||, path": [] if one.walk is None else one.walk.curve,
        }
        for one in runs
    }  # fmt: skip
    tables: dict[str, object] = {**rows, "curves": curves}
    text = json.dumps(tables, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(folder / "convergence.json", text.encode())


def _stem(case: Case) -> str:
    return case.name.replace(",", "").replace(" = ", "").replace(" ", "-").lower()
