"""`verify reproduce villani`: train two-layer networks on real data, prove, measure, compare.

Four networks are trained, stored as files and read back as `verify check --run` reads them: three
with a frozen outer layer (the Villani property is proved), one with both layers trained (it is
refuted by a pair of neurons that cancel). Beside the certificates stand experiments whose measured
numbers have to respect the proved ones. Anything that comes out otherwise is named, and the exit
code is 1.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from verify.certificate import Certificate, write_certificates
from verify.errors import InputError
from verify.readers import read_network, read_run
from verify.verdict import Verdict
from verify_conditions.checkpoints import replace_file
from verify_conditions.reproduction import (
    Echo,
    click_echo,
    one_thread,
    outcome,
    tell_table,
    write_report,
)
from verify_conditions.villani.experiment_data import breast_cancer, diabetes
from verify_conditions.villani.experiment_gaps import GAP_CASES, TEMPERATURES, gaps
from verify_conditions.villani.experiment_model import Model
from verify_conditions.villani.experiment_outcome import (
    Outcome,
    certify,
    interval_text,
    numbers_of,
    sides_of,
)
from verify_conditions.villani.experiments import drift, gibbs, growth, outer_layer, sweep
from verify_conditions.villani.training import (
    TrainingRun,
    save_run,
    train_langevin,
    train_sgd,
)

TITLE = "Two-layer networks on real data: the Villani property"
WITNESS = "outer-layer-ray"
TEMPERATURE = Fraction(1, 1000)


@dataclass(frozen=True)
class Example:
    """A trained network with what is expected of its certificate.

    Args:
        name: of its folder and certificate.
        run: how it was trained.
        verdict: the expected one.
        sides: side statements with the truth that is expected, ``absent`` where there is none.
    """

    name: str
    run: TrainingRun
    verdict: Verdict
    sides: Mapping[str, str]


def run(
    quick: bool = False,
    json_dir: str | Path | None = None,
    report: str | Path | None = None,
    echo: Echo | None = None,
) -> int:
    """Train, certify and compare.

    Args:
        quick: fewer steps and cases, for a look; the expectations are the same.
        json_dir: where to write certificates, the stored runs and ``experiments.json``.
        report: where to write the HTML page.
        echo: takes a line of text.

    Returns:
        0 if every verdict, side statement and comparison came out as expected; 1 otherwise.
    """
    with one_thread(), _folder(json_dir) as place:
        return _run(quick, place, json_dir is not None, report, echo or click_echo())


@contextmanager
def _folder(json_dir: str | Path | None) -> Iterator[Path]:
    """Return the folder for files, a temporary one if none is asked for."""
    if json_dir is not None:
        yield Path(json_dir)
        return
    with tempfile.TemporaryDirectory(prefix="verify-villani-") as name:
        yield Path(name)


def _run(quick: bool, place: Path, keep: bool, report: str | Path | None, say: Echo) -> int:
    started = time.perf_counter()
    examples, chains, unmet = _train_all(quick, say)
    say("")
    certificates = []
    for example in examples:
        found, missed = _certified(example, place, say)
        certificates.append(found)
        unmet += missed
    say("")
    experiments = _experiments(quick, examples, chains, certificates, say)
    for experiment in experiments:
        _tell(experiment, say)
        unmet += experiment.unmet
    swept = next(e for e in experiments if e.certificates)
    if keep:
        for number, certificate in enumerate(swept.certificates):
            write_certificates([certificate], place, f"villani-lambda-{number}")
        text = json.dumps({e.title: e.rows for e in experiments}, indent=1, ensure_ascii=False)
        replace_file(place / "experiments.json", text.encode())
        say(f"certificates, runs and experiments.json: {place}")
    write_report([*certificates, *swept.certificates], report, TITLE, say)
    say(f"in {time.perf_counter() - started:.0f} s")
    return outcome(unmet, say)


def _train_all(quick: bool, say: Echo) -> tuple[list[Example], list[TrainingRun], list[str]]:
    """Train the four networks and the further noisy runs; say what each is told beforehand."""
    patients, tumours = diabetes(), breast_cancer()
    for task in (patients, tumours):
        say(f"{task.name}: {len(task.X)} samples of {task.X.shape[1]} features; {task.preparation}")
    passes, steps = (10, 800) if quick else (60, 4000)
    bounded = Model(patients, "tanh", 16, Fraction(1, 100))
    unbounded = Model(patients, "softplus", 16, Fraction(1, 100))
    logistic = Model(tumours, "sigmoid", 20, Fraction(1, 10_000))
    both = Model(patients, "tanh", 16, Fraction(1, 100), outer_trained=True)
    noisy = {"step": Fraction(2), "s": TEMPERATURE, "steps": steps, "burn_in": steps // 4}
    examples = [
        Example(
            "diabetes-tanh-sgd",
            train_sgd(bounded, step=Fraction(4), passes=passes),
            Verdict.PASS,
            {"step-size": "proved", "isotropic-noise": "undecided", "initial-law": "proved"},
        ),
        Example(
            "diabetes-softplus-langevin",
            train_langevin(unbounded, tau=Fraction(1, 10), **noisy),  # type: ignore[arg-type]
            Verdict.PASS,
            {"step-size": "refuted", "isotropic-noise": "proved", "initial-law": "proved"},
        ),
        Example(
            "breast-cancer-sigmoid-sgd",
            train_sgd(logistic, step=Fraction(16), passes=passes),
            Verdict.PASS,
            {"step-size": "proved", "isotropic-noise": "refuted"},
        ),
    ]
    unmet = _refusal(both, say)
    trained = train_sgd(both, step=Fraction(1), passes=passes, despite_refutation=True)
    examples.append(Example("diabetes-both-layers-sgd", trained, Verdict.FAIL, {}))
    chains = [
        train_langevin(bounded, seed=seed, **noisy)  # type: ignore[arg-type]
        for seed in range(2 if quick else 4)
    ]
    for example in examples:
        _tell_training(example, say)
    return examples, chains, unmet


def _refusal(model: Model, say: Echo) -> list[str]:
    """Ask for training of both layers, which is to be refused."""
    try:
        train_sgd(model, step=Fraction(1), passes=1)
    except InputError as refusal:
        say(f"both layers trained: refused before the first step: {str(refusal)[:200]} ...")
        return []
    return ["both layers trained: expected a refusal before the first step, but got a run"]


def _tell_training(example: Example, say: Echo) -> None:
    first, last = example.run.checkpoints[0], example.run.checkpoints[-1]
    say(
        f"{example.name}: f {first.value:.4f} -> {last.value:.4f} in {last.step} steps, "
        f"{len(example.run.checkpoints)} checkpoints"
    )
    for warning in example.run.asked.warnings:
        say(f"  told before training: {warning}")


def _certified(example: Example, place: Path, say: Echo) -> tuple[Certificate, list[str]]:
    """Store the run, read it back, decide, and compare with what is expected."""
    folder = place / example.name
    path = save_run(example.run, folder)
    loaded = read_network(path)
    if loaded.data is None:
        raise InputError(f"{path.name}: expected its data beside it, but got none")
    found = certify(
        loaded.network,  # type: ignore[arg-type]
        loaded.data,
        loaded.settings,
        str(path),
        read_run(folder, loaded),
    )
    again = {"command": f"verify check {path} --run {folder}", "sha256": loaded.sha256}
    found = replace(found, provenance={**found.provenance, **again})
    write_certificates([found], place, example.name)
    say(f"{example.name}: {found.verdict}. {found.claim['sentence']}")
    for name, value in numbers_of(found).items():
        say(f"    {name}: {interval_text(value)}")
    return found, _unmet(example, found)


def _unmet(example: Example, found: Certificate) -> list[str]:
    unmet = []
    if found.verdict is not example.verdict:
        unmet.append(f"{example.name}: expected {example.verdict}, but got {found.verdict}")
    sides = sides_of(found)
    unmet += [
        f"{example.name}: expected {name} {truth}, but got {sides.get(name, 'absent')}"
        for name, truth in example.sides.items()
        if sides.get(name, "absent") != truth
    ]
    if sides.get("declaration") == "refuted":
        unmet.append(f"{example.name}: expected checkpoints that agree with what is frozen")
    if example.verdict is Verdict.FAIL and WITNESS not in _witness_kinds(found):
        unmet.append(f"{example.name}: expected a witness {WITNESS!r}, but got none")
    return unmet


def _witness_kinds(certificate: Certificate) -> set[str]:
    """Return the kinds of all witnesses of the routes."""
    return {
        item["witness"]["kind"]
        for route in certificate.claim["routes"]
        for item in (*route["quantities"].values(), *route["facts"].values())
        if item.get("witness")
    }


def _experiments(
    quick: bool,
    examples: Sequence[Example],
    chains: Sequence[TrainingRun],
    certificates: Sequence[Certificate],
    say: Echo,
) -> list[Outcome]:
    """Run the experiments; the one with certificates for the report is the sweep."""
    bounded, unbounded, _, both = (example.run for example in examples)
    found = [
        drift(each, numbers_of(certificate)["drift constant b"])
        for each, certificate in zip((bounded, unbounded), certificates, strict=False)
    ]
    say("stored trajectories evaluated; spectral gaps ...")
    measured = gaps(*((GAP_CASES[:2], TEMPERATURES[1:2]) if quick else (GAP_CASES, TEMPERATURES)))
    return [
        *found,
        outer_layer(both.model, both.checkpoints[-1].weights),
        replace(measured, certificates=[]),
        sweep(bounded.model, bounded.checkpoints[-1].weights, s=TEMPERATURE),
        growth(bounded.model, bounded.checkpoints[-1].weights),
        gibbs(chains),
    ]


def _tell(experiment: Outcome, say: Echo) -> None:
    say("")
    say(experiment.title)
    if experiment.rows:
        tell_table(experiment.rows, say)
