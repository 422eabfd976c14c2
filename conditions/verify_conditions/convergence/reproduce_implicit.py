"""`verify reproduce implicit-relu`: the implicit network of Gao et al. is trained and certified.

On real data the smallest eigenvalue lambda_0 of the Gram matrix of infinite width is proved
positive, gradient descent with a small step stands for the gradient flow, and the condition
`converges-from-here` is decided at the first checkpoint whose h, estimated in floats, promises that
Theorem I fires: from there the flow is proved to reach zero loss. Then it is walked on: path, norm
and rate have to keep what was certified. The decay rates of the paper are shown as recalled, and
nothing depends on them. Networks on random directions are trained until they fire as well, and h of
untrained ones is enclosed and shown against the width. What comes out otherwise than expected is
named, and the exit code is 1.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from verify.certificate import Certificate, write_certificates
from verify_conditions.checkpoints import replace_file
from verify_conditions.convergence import implicit_pages as pages
from verify_conditions.convergence.implicit_real import Case, RealRun, run_case
from verify_conditions.convergence.implicit_runs import (
    TABLE,
    Start,
    TableRow,
    at_the_start,
    table_row,
)
from verify_conditions.convergence.implicit_tasks import real
from verify_conditions.figures import html_table
from verify_conditions.reproduction import (
    Echo,
    click_echo,
    one_thread,
    outcome,
    tell_table,
    write_report,
)

TITLE = "Implicit ReLU networks: training proved to reach zero loss"


def run(
    quick: bool = False,
    json_dir: str | Path | None = None,
    report: str | Path | None = None,
    echo: Echo | None = None,
) -> int:
    """Train, certify until Theorem I fires, walk on and compare.

    Args:
        quick: two data sets, two sizes and narrow untrained networks; same expectations.
        json_dir: where to write the certificates and ``implicit-relu.json`` with all tables.
        report: where to write the HTML page, with the curves.
        echo: takes a line of text.

    Returns:
        0 if lambda_0 > 0 is proved, the a-priori argument covers every step, Theorem I fires in
        every training and the flow walked from there keeps what it certifies; 1 otherwise.

    Raises:
        InputError: scikit-learn is not installed.
    """
    with one_thread():
        return _run(quick, json_dir, report, echo or click_echo())


@dataclass(frozen=True, eq=False)
class _Found:
    """Everything that was run."""

    runs: Sequence[RealRun]
    table: Sequence[TableRow]
    starts: Sequence[Start]

    def tables(self) -> dict[str, pages.Rows]:
        """Return all tables by title."""
        return {
            pages.FIRING: pages.firing_rows(self.runs),
            pages.WALKED: pages.walked_rows(self.runs),
            pages.A_PRIORI: pages.a_priori_rows(self.runs),
            pages.RECALLED: pages.recalled_rows(self.runs),
            pages.TRAINED: pages.trained_rows(self.table),
            pages.UNTRAINED: pages.untrained_rows(self.starts),
        }

    def certificates(self) -> Iterator[tuple[str, Certificate]]:
        """Yield the certificates of trained networks with the stems of their files."""
        for found in self.runs:
            stem = found.case.task.name.replace(" ", "-")
            if found.last.certified is not None:
                yield stem, found.last.certified.certificate
            yield stem, found.posed
        for row in self.table:
            if row.last is not None:
                n, d = row.task.X.shape
                yield f"sphere-{n}-{d}-{row.width}", row.last.certificate

    def unmet(self) -> list[str]:
        """Return one sentence for each expected outcome that did not occur."""
        found = [sentence for run in self.runs for sentence in run.unmet()]
        return found + [sentence for row in self.table for sentence in row.unmet()]


def _run(quick: bool, json_dir: str | Path | None, report: str | Path | None, say: Echo) -> int:
    started = time.perf_counter()
    found = _Found(_real(quick, say), _table(quick, say), _starts(quick, say))
    tables = {title: rows for title, rows in found.tables().items() if rows}
    for title, rows in tables.items():
        say("")
        say(title)
        tell_table(rows, say)
    say("")
    named = list(found.certificates())
    if json_dir is not None:
        _write(Path(json_dir), named, tables, found)
        say(f"certificates and implicit-relu.json: {json_dir}")
    figures = [figure for each in found.runs for figure in pages.figures_of(each)]
    write_report(
        [certificate for _, certificate in named], report, TITLE, say,
        heading="Training, certificates and what was then measured",
        figures=[*figures, pages.start_figure(found.starts)],
        tables=[html_table(title, rows) for title, rows in tables.items()],
    )  # fmt: skip
    say(f"in {time.perf_counter() - started:.0f} s")
    return outcome(found.unmet(), say)


def cases_of(quick: bool) -> list[Case]:
    """Return the trainings on real data."""
    wine = Case(real("wine", 10), 50, flow=0.01)
    if quick:
        return [wine, Case(real("digits", 10, classes=(3, 8)), 50, flow=0.01)]
    return [
        Case(real("iris", 5), 20, flow=0.02),
        wine,
        Case(real("breast_cancer", 20), 100),
        Case(real("digits", 20, classes=(3, 8)), 100),
    ]


def _real(quick: bool, say: Echo) -> list[RealRun]:
    runs = []
    for case in cases_of(quick):
        started = time.perf_counter()
        runs.append(run_case(case))
        last, task = runs[-1].last, case.task
        state = "fires" if runs[-1].certified else "has not fired"
        say(
            f"{task.name}, n = {len(task.X)}, m = {case.width}: {task.preparation}; Theorem I "
            f"{state} at t = {last.time:.4g}, loss {last.loss:.3g} "
            f"({time.perf_counter() - started:.1f} s)"
        )
    return runs


def _table(quick: bool, say: Echo) -> list[TableRow]:
    rows = []
    for n, d, m, noted in TABLE[:2] if quick else TABLE:
        started = time.perf_counter()
        rows.append(table_row(n, d, m, noted))
        state = "fires" if rows[-1].last else "has not fired"
        spent = time.perf_counter() - started
        say(f"n = {n}, d = {d}, m = {m}: {state} at step {rows[-1].step} ({spent:.1f} s)")
    return rows


def _starts(quick: bool, say: Echo) -> list[Start]:
    started = time.perf_counter()
    widths, seeds = ((100, 400), 2) if quick else ((100, 400, 1600), 5)
    found = [at_the_start(m, seed=seed) for m in widths for seed in range(seeds)]
    say(f"{len(found)} untrained networks ({time.perf_counter() - started:.1f} s)")
    return found


def _write(
    folder: Path,
    named: Sequence[tuple[str, Certificate]],
    tables: dict[str, pages.Rows],
    found: _Found,
) -> None:
    stems: dict[str, list[Certificate]] = {}
    for stem, certificate in named:
        stems.setdefault(stem, []).append(certificate)
    for stem, certificates in stems.items():
        write_certificates(certificates, folder, stem)
    curves: dict[str, Any] = {
        run.case.task.name: {
            "measured along the flow": [asdict(record) for record in run.flow],
            "measured along gradient descent": [asdict(record) for record in run.descent],
            "measured from the certified point": [
                asdict(record) for record in (run.followed.records if run.followed else ())
            ],
        }
        for run in found.runs
    }
    text = json.dumps({"tables": tables, "curves": curves}, indent=1, ensure_ascii=False)
    replace_file(folder / "implicit-relu.json", text.encode())
