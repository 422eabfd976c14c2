"""`verify reproduce well-posedness` and `verify demo`: train on real digits, then prove.

The demo ends in three files that `verify check` reads like anyone else's: the implicit ReLU
network of Gao et al. (passes), a monotone network (passes, though its norm is far above 1), and the
monotone network's W scaled by a factor at which it is *not* well posed for every b, which is shown
by two equilibria in exact numbers.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from verify import registry
from verify.certificate import Certificate, write_certificates
from verify.condition import Effort
from verify.engine import check
from verify.errors import InputError
from verify.network import Data
from verify.readers import read_network
from verify.verdict import Truth, Verdict
from verify_conditions.checkpoints import replace_file, save_tensors
from verify_conditions.implicit_relu_training import Array
from verify_conditions.reproduction import (
    Echo,
    click_echo,
    one_thread,
    outcome,
    tell_table,
    write_report,
)
from verify_conditions.well_posedness.along_the_run import (
    CertifiedRun,
    certify_run,
    record,
    rows,
)
from verify_conditions.well_posedness.monotone_training import (
    MonotoneRun,
    state_weight,
    train_monotone,
)
from verify_conditions.well_posedness.training import (
    Digits,
    StepRecord,
    TrainingRun,
    digits,
    train_implicit_relu,
)
from verify_kernels.matrix import MatrixEnclosure, identity_minus
from verify_kernels.p_matrix import decide_p_matrix

FOLDER = Path("demo-output")
CONDITION = "well-posedness"
WANTED_ACCURACY = 0.9
"""What a full run has to reach on the held-out digits."""

BUDGET = 60.0
"""Seconds for the expensive routes: far more than they need, so that a busy machine decides too."""

SAMPLES = 25
"""Held-out digits that are stored beside the models for the per-sample part."""


def run(
    quick: bool = False,
    json_dir: str | Path | None = None,
    report: str | Path | None = None,
    echo: Echo | None = None,
) -> int:
    """Train the implicit ReLU network and certify it at every stored step.

    Args:
        quick: 30 steps, for a look; the accuracy is then not held against 90 %.
        json_dir: where to write one certificate for each stored step.
        report: where to write the HTML page.
        echo: takes a line of text.

    Returns:
        0 if every stored step is proved well posed, the a-priori argument covers every step, and
        a full run exceeds 90 % on the held-out digits; 1 otherwise.
    """
    with one_thread():
        return _run(quick, json_dir, report, echo or click_echo())


def _run(quick: bool, json_dir: str | Path | None, report: str | Path | None, say: Echo) -> int:
    data = digits()
    trained = _train_implicit_relu(data, quick, say)
    certified = certify_run(trained)
    _tell_run(certified, say)
    certificates = []
    for point in trained.checkpoints:
        found = check(
            point.parameters.network(trained.gamma),
            conditions=[CONDITION],
            provenance={"file": f"implicit-relu, step {point.step}"},
        )
        certificates += found
        if json_dir is not None:
            write_certificates(found, Path(json_dir), f"implicit-relu-step-{point.step:04d}")
    write_report(certificates, report, "Implicit ReLU network, certified along its training", say)
    unmet = _unmet_of_run(trained, certified, quick)
    unmet += [
        f"{certificate.provenance['file']}: expected pass, but got {certificate.verdict}"
        for certificate in certificates
        if certificate.verdict is not Verdict.PASS
    ]
    return outcome(unmet, say)


def run_demo(
    quick: bool = False,
    json_dir: str | Path | None = None,
    report: str | Path | None = None,
    echo: Echo | None = None,
    folder: str | Path = FOLDER,
) -> int:
    """Train, save, read back and certify the bundled examples; write one report.

    Args:
        quick: fewer steps; the accuracies are then not held against 90 %.
        json_dir: certificates go here; ``<folder>/certificates`` by default.
        report: the page goes here; ``<folder>/report.html`` by default.
        echo: takes a line of text.
        folder: where models, samples and ``training-run.json`` go.

    Returns:
        0 if the three verdicts are pass, pass and fail with two equilibria, and the run is proved
        well posed at every step; 1 otherwise.
    """
    place = Path(folder)
    with one_thread():
        return _run_demo(
            quick,
            Path(json_dir or place / "certificates"),
            Path(report or place / "report.html"),
            echo or click_echo(),
            place,
        )


def _run_demo(quick: bool, json_dir: Path, report: Path, say: Echo, place: Path) -> int:
    started = time.perf_counter()
    data = digits()
    implicit = _train_implicit_relu(data, quick, say)
    certified = certify_run(implicit)
    _tell_run(certified, say)
    monotone = _train_monotone(data, quick, say)
    factor, scaled = scale_until_refuted(state_weight(monotone.parameters, monotone.margin))
    say(f"W of the monotone network, times {factor}, is not well posed for every b.")
    examples = _save_models(place, data, implicit, monotone, scaled)
    text = json.dumps(record(certified), indent=1, ensure_ascii=False)
    replace_file(place / "training-run.json", text.encode())
    certificates, unmet = _check_saved(examples, json_dir)
    say("")
    width = shutil.get_terminal_size().columns
    say(registry.load("reports", "terminal")(certificates, width=width, details=False).rstrip())
    write_report(certificates, report or place / "report.html", "Three equilibrium networks", say)
    say(f"models, samples and certificates: {place} (in {time.perf_counter() - started:.0f} s)")
    unmet += _unmet_of_run(implicit, certified, quick)
    seen = monotone.history[-1].held_out_accuracy or 0.0
    if not quick and seen <= WANTED_ACCURACY:
        unmet.append(f"monotone network: expected more than 90 % of digits, but got {seen:.1%}")
    return outcome(unmet, say)


def _train_implicit_relu(data: Digits, quick: bool, say: Echo) -> TrainingRun:
    every = 15
    steps = 2 * every if quick else 10 * every
    say(
        f"Training the implicit ReLU network of Gao et al. (width 256) on {len(data.X_train):,} "
        f"handwritten digits, plain gradient descent, {steps} steps ..."
    )
    started = time.perf_counter()

    def progress(record: StepRecord) -> None:
        if record.step and record.step % (2 * every) == 0:
            mean = record.loss / len(data.X_train)
            spent = time.perf_counter() - started
            say(f"  step {record.step:4d}   loss a sample {mean:.3f}   {spent:.0f} s")

    trained = train_implicit_relu(
        data.X_train,
        data.y_train,
        steps=steps,
        every=every,
        held_out=(data.X_test, data.y_test),
        on_step=progress,
    )
    seen = trained.checkpoints[-1].held_out_accuracy or 0.0
    spent = time.perf_counter() - started
    say(f"  {seen:.1%} of {len(data.X_test)} held-out digits, {spent:.0f} s")
    return trained


def _train_monotone(data: Digits, quick: bool, say: Echo) -> MonotoneRun:
    epochs = 4 if quick else 20
    say(f"Training a monotone equilibrium network (width 100), Adam, {epochs} epochs ...")
    started = time.perf_counter()
    trained = train_monotone(
        data.X_train, data.y_train, epochs=epochs, held_out=(data.X_test, data.y_test)
    )
    seen = trained.history[-1].held_out_accuracy or 0.0
    spent = time.perf_counter() - started
    say(f"  {seen:.1%} of {len(data.X_test)} held-out digits, {spent:.0f} s")
    return trained


def _tell_run(certified: CertifiedRun, say: Echo) -> None:
    """Say the table of stored steps and the sentence about all steps."""
    say("")
    say("Along the run (loss and accuracies are measured, the bounds are proved):")
    tell_table(rows(certified), say)
    say(
        f"All {certified.total_steps} steps of the run, by the a-priori argument: "
        f"{certified.at_every_step.value} ({certified.statement.text()})."
    )
    say("That the loss goes to zero is the paper's claim for far wider networks, not made here.")
    say("")


def scale_until_refuted(
    weight: Array, *, step: Fraction = Fraction(1, 4), most: Fraction = Fraction(8)
) -> tuple[Fraction, Array]:
    """Return the first factor 1 + k step at which s W is proved not well posed for ReLU, and s W.

    Args:
        weight: W (m, m).
        step: between two factors.
        most: the last factor that is tried.

    Returns:
        The factor s, and s W rounded to binary32 (that rounded matrix is the one refuted: I minus
        it has an exact principal minor <= 0).

    Raises:
        InputError: no factor up to ``most`` is refuted.
    """
    factor = Fraction(1)
    while factor < most:
        factor += step
        scaled = np.asarray(np.float32(float(factor) * weight), dtype=np.float64)
        matrix = identity_minus(MatrixEnclosure(scaled), Fraction(1))
        if decide_p_matrix(matrix, nodes=500).value is Truth.REFUTED:
            return factor, scaled
    raise InputError(
        f"scale_until_refuted: expected a factor up to {most} at which W is not well posed, "
        f"but got none"
    )


@dataclass(frozen=True)
class Example:
    """A saved model with the verdict that the demo expects, and the kind of its witness."""

    path: Path
    expected: Verdict
    witness: str = ""


def _save_models(
    folder: Path, data: Digits, implicit: TrainingRun, monotone: MonotoneRun, scaled: Array
) -> list[Example]:
    """Write three models with their declarations, and the samples beside them."""
    X, y = data.X_test[:SAMPLES], data.y_test[:SAMPLES]
    digest = save_tensors(folder / "digits.npz", {"X": X, "y": y})
    beside = {"activation": "relu", "data": "digits.npz", "data_sha256": digest}
    p = implicit.parameters
    save_tensors(
        folder / "implicit-relu.npz",
        {"A": p.A, "W": p.W, "u": p.u, "v": p.v},
        {"family": "implicit-relu", "gamma": str(implicit.gamma), **beside},
    )
    q = monotone.parameters
    save_tensors(
        folder / "monotone.safetensors",
        {
            "mon.linear_module.A.weight": q["A"],
            "mon.linear_module.B.weight": q["B"],
            "mon.linear_module.U.weight": q["U"],
            "mon.linear_module.U.bias": q["b"],
            "Wout.weight": q["R"].T,
            "Wout.bias": q["c"],
        },
        {"family": "mondeq", "m": str(monotone.margin), **beside},
    )
    save_tensors(
        folder / "scaled.npz", {"W": scaled}, {"family": "equilibrium", "activation": "relu"}
    )
    return [
        Example(folder / "implicit-relu.npz", Verdict.PASS),
        Example(folder / "monotone.safetensors", Verdict.PASS),
        Example(folder / "scaled.npz", Verdict.FAIL, "two-equilibria"),
    ]


def _check_saved(
    examples: Sequence[Example], json_dir: Path
) -> tuple[list[Certificate], list[str]]:
    """Read each file and decide it as `verify check` does; return what differs from expected."""
    certificates: list[Certificate] = []
    unmet: list[str] = []
    for example in examples:
        certificate = check_file(example.path)
        certificates.append(certificate)
        write_certificates([certificate], json_dir, example.path.stem)
        name = example.path.name
        if certificate.verdict is not example.expected:
            unmet.append(f"{name}: expected {example.expected}, but got {certificate.verdict}")
        elif example.witness and example.witness not in _witness_kinds(certificate):
            unmet.append(f"{name}: expected a witness {example.witness!r}, but got none")
    return certificates, unmet


def check_file(path: Path) -> Certificate:
    """Read a model file with its own declaration and decide well-posedness."""
    loaded = read_network(path)
    data: Data | None = loaded.data
    [certificate] = check(
        loaded.network,
        data,
        conditions=[CONDITION],
        settings=loaded.settings,
        effort=Effort(budget=BUDGET),
        provenance={"file": loaded.file, "sha256": loaded.sha256, "format": loaded.format},
    )
    again = {"command": f"verify check {loaded.file}"}
    return replace(certificate, provenance={**certificate.provenance, **again})


def _witness_kinds(certificate: Certificate) -> set[str]:
    """Return the kinds of all witnesses of the routes."""
    found: list[Mapping[str, Any]] = []
    for route in certificate.claim["routes"]:
        found += [*route["quantities"].values(), *route["facts"].values()]
    return {item["witness"]["kind"] for item in found if item.get("witness")}


def _unmet_of_run(trained: TrainingRun, certified: CertifiedRun, quick: bool) -> list[str]:
    """Return which expectations about the training run did not come true."""
    unmet = []
    if certified.at_stored_steps is not Truth.PROVED:
        unmet.append("training run: expected well-posedness proved at every stored step")
    if certified.at_every_step is not Truth.PROVED:
        unmet.append("training run: expected the a-priori argument to cover every step")
    seen = trained.checkpoints[-1].held_out_accuracy or 0.0
    if not quick and seen <= WANTED_ACCURACY:
        unmet.append(f"training run: expected more than 90 % of digits, but got {seen:.1%}")
    return unmet
