"""`verify reproduce teacher-student`: students that find their teachers, and how fast.

Students with tied output weights start near r = 1..5 orthogonal teachers and descend on the
population loss, with as many students as teachers and with more, for |.| and ReLU. Loss and
gradient are enclosed at every checkpoint. Shown are: the direction of every heavy student, bounded
from the loss alone; the decay, linear for m = r and t^-3 for every m > r; the exponent along the
run, 1/2 and 2/3; and the networks on which smaller exponents fail, a balanced pair (2/3) and a
stray light student (3/4). Slopes and exponents are measured and prove nothing. What comes out
otherwise than expected is named, and the exit code is 1.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from verify.certificate import Certificate, write_certificates
from verify_conditions.checkpoints import replace_file
from verify_conditions.figures import html_table
from verify_conditions.gradient_inequality.experiment_cases import (
    comparisons,
    special_runs,
    steps_of,
)
from verify_conditions.gradient_inequality.experiment_certificates import (
    certificates_of,
    unmet_certificates,
)
from verify_conditions.gradient_inequality.experiment_curves import figures
from verify_conditions.gradient_inequality.experiment_directions import directions_of
from verify_conditions.gradient_inequality.experiment_expectations import (
    unmet_directions,
    unmet_rates,
    unmet_special,
)
from verify_conditions.gradient_inequality.experiment_runs import Comparison
from verify_conditions.gradient_inequality.experiment_tables import (
    Row,
    direction_row,
    rate_row,
    ratio_rows,
    special_row,
)
from verify_conditions.reproduction import (
    Echo,
    click_echo,
    one_thread,
    outcome,
    tell_table,
    write_report,
)

TITLE = "Students and teachers: gradient inequalities along the descent"
RATES = "How fast: slopes and exponents, measured with 95 % intervals of the fits"
DIRECTIONS = "How near: angles in radians, proved from the loss alone and by themselves"
RATIOS = "Networks on which smaller exponents fail"
SPECIAL = "Descent from such networks, measured"
RECALLED = (
    "As recalled, not proved here and without constants that could be put in (Zhou, Ge, Jin 2021): "
    "below a threshold of the loss, ||grad L|| >= kappa L with a kappa that does not depend on the "
    "number of students, so that L <= eps within O(1/(eta kappa^2 eps)) steps, a decay of t^-1. "
    "What is measured here is faster."
)


def run(
    quick: bool = False,
    json_dir: str | Path | None = None,
    report: str | Path | None = None,
    echo: Echo | None = None,
) -> int:
    """Train, enclose, certify and compare.

    Args:
        quick: fewer teachers, students, seeds and steps, for a look; the expectations are the same.
        json_dir: where to write certificates, the certified runs and ``teacher-student.json``.
        report: where to write the HTML page, with the curves.
        echo: takes a line of text.

    Returns:
        0 if directions, rates, exponents and certificates came out as expected; 1 otherwise.
    """
    with one_thread(), _folder(json_dir) as place:
        return _run(quick, place, json_dir is not None, report, echo or click_echo())


@contextmanager
def _folder(json_dir: str | Path | None) -> Iterator[Path]:
    """Return the folder for files, a temporary one if none is asked for."""
    if json_dir is not None:
        yield Path(json_dir)
        return
    with tempfile.TemporaryDirectory(prefix="verify-teacher-student-") as name:
        yield Path(name)


def _run(quick: bool, place: Path, keep: bool, report: str | Path | None, say: Echo) -> int:
    started = time.perf_counter()
    cases, special = comparisons(quick, say), special_runs(steps_of(quick))
    found = [[directions_of(d.network) for d in case.descents] for case in cases]
    tables = {
        RATES: [rate_row(case) for case in cases],
        DIRECTIONS: [
            direction_row(case, each)
            for case, each in zip(cases, found, strict=True)
            if not each[0].reason
        ],
        RATIOS: ratio_rows(),
        SPECIAL: [special_row(run) for run in special],
    }
    for title, rows in tables.items():
        say("")
        say(title)
        tell_table(rows, say)
    say("")
    say(RECALLED)
    certificates = certificates_of(cases, special, place)
    say(f"certificates along stored runs and at their ends: {len(certificates)}")
    if keep:
        _write(place, cases, certificates, tables)
        say(f"certificates, runs and teacher-student.json: {place}")
    write_report(
        certificates, report, TITLE, say,
        heading="Descent on the population loss",
        figures=figures(cases, special, RECALLED),
        tables=[html_table(title, rows) for title, rows in tables.items()],
    )  # fmt: skip
    say(f"in {time.perf_counter() - started:.0f} s")
    unmet = [
        *unmet_special(special),
        *unmet_rates(cases),
        *unmet_directions(cases, found),
        *unmet_certificates(certificates),
    ]
    return outcome(unmet, say)


def _write(
    folder: Path,
    cases: Sequence[Comparison],
    certificates: Sequence[Certificate],
    tables: Mapping[str, Sequence[Row]],
) -> None:
    for number, certificate in enumerate(certificates):
        name = certificate.provenance["file"].partition("/")[0]
        write_certificates([certificate], folder, f"{number:02d}-{name}")
    curves = [
        {
            "teachers": case.name,
            "activation": case.activation,
            "m": case.width,
            "runs": [[asdict(record) for record in d.records] for d in case.descents],
        }
        for case in cases
    ]
    text = json.dumps({**tables, "curves": curves}, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(folder / "teacher-student.json", text.encode())
