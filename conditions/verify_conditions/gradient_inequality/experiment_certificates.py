"""Certificates of the condition for stored runs of students, and whether they are as expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from verify.certificate import Certificate
from verify.enclosure import endpoint_from_hex
from verify.engine import check
from verify.network import Run
from verify.readers import read_network, read_run
from verify.verdict import Verdict
from verify_conditions.gradient_inequality.experiment_cases import OBLIQUE, Special
from verify_conditions.gradient_inequality.experiment_runs import Comparison
from verify_conditions.gradient_inequality.training import TrainingRun, save_run

CONDITION = "gradient-inequality"
KAPPA = "1/2"
_KAPPA_LINEAR = "1/5"
_CHECKPOINTS = 8


def certificates_of(
    cases: Sequence[Comparison], special: Sequence[Special], place: Path
) -> list[Certificate]:
    """Return certificates along runs of seed 0, and of the students at their ends.

    Along the runs ||grad L|| >= (1/2) L^(2/3) is decided with the same constant for every number
    of students, and ||grad L|| >= (1/5) L^(1/2) for as many students as teachers. The runs are
    stored and read back as `verify check --run` reads them.
    """
    found = []
    for case in cases:
        most = max(c.width for c in cases if (c.name, c.activation) == (case.name, case.activation))
        training = case.descents[0].training
        if case.exact and case.teachers == 2:
            found.append(along(training, "1/2", _KAPPA_LINEAR, place / stem(case)))
        elif case.width == most:
            found.append(along(training, "2/3", KAPPA, place / stem(case)))
            if case.activation == "abs" and case.name != OBLIQUE:
                found.append(_certificate(place / stem(case), {}, along_run=False))
    for number, run in enumerate(special):
        exponent = "2/3" if run.slope == -3.0 else "3/4"
        found.append(along(run.descent.training, exponent, KAPPA, place / f"special-{number}"))
    return found


def stem(case: Comparison) -> str:
    """Return the name of the folder of a run."""
    kind = "-oblique" if case.name == OBLIQUE else ""
    return f"{case.activation}-teachers-{case.teachers}{kind}-students-{case.width}"


def along(training: TrainingRun, exponent: str, kappa: str, folder: Path) -> Certificate:
    """Store a run and decide ||grad L|| >= kappa L^exponent at its end and its checkpoints.

    Args:
        training: the run; every eighth or so of its checkpoints is stored, and the last.
        exponent: between 1/2 and 1, exact text.
        kappa: positive, exact text.
        folder: where to store it.
    """
    every = max(1, len(training.checkpoints) // _CHECKPOINTS)
    kept = training.checkpoints[::-1][::every][::-1]
    save_run(replace(training, checkpoints=kept), folder)
    settings = {"scope": "trajectory", "exponent": exponent, "kappa": kappa}
    return _certificate(folder, settings, along_run=True)


def _certificate(folder: Path, settings: Mapping[str, str], *, along_run: bool) -> Certificate:
    path = max(folder.glob("step-*.npz"))
    loaded = read_network(path)
    run: Run | None = read_run(folder, loaded) if along_run else None
    told = {f"{CONDITION}.{key}": text for key, text in settings.items()}
    [certificate] = check(
        loaded.network, None, run, conditions=[CONDITION], settings=told,
        provenance={"file": f"{folder.name}/{path.name}", "sha256": loaded.sha256},
    )  # fmt: skip
    words = ["verify", "check", str(path), "--condition", CONDITION]
    words += ["--run", str(folder)] if along_run else []
    words += [word for name, text in told.items() for word in ("--set", f"{name}={text}")]
    return replace(certificate, provenance={**certificate.provenance, "command": " ".join(words)})


def unmet_certificates(found: Sequence[Certificate]) -> list[str]:
    """Return a sentence where an inequality is not proved, or a proved angle is not kept."""
    unmet = []
    for certificate in found:
        name = certificate.provenance["file"]
        if certificate.verdict is not Verdict.PASS:
            unmet.append(f"{name}: expected {CONDITION} to pass, but got {certificate.verdict}")
        for row in certificate.claim["samples"]["rows"]:
            bound, angle = row.get("angle_bound"), row.get("angle")
            if bound and angle and endpoint_from_hex(angle[0]) > endpoint_from_hex(bound):
                unmet.append(f"{name}: expected student {row['student']} within its bound")
    return unmet
