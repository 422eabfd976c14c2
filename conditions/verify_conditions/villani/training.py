r"""Two-layer networks trained by SGD and by noise-injected gradient descent, in plain floats.

Two procedures for the risk f of `experiment_model`:

    SGD:      W <- W - eta (gradient of the loss on a batch + lambda W), batches without
              replacement, every pass shuffled anew;
    Langevin: W <- W - eta grad f(W) + sqrt(s eta) xi, xi ~ N(0, I), the full gradient: the step
              eta and the temperature s are chosen apart. It is the Euler scheme of
              dW = -grad f dt + sqrt(s) dB, whose invariant law is exp(-2 f/s).

The numbers of this module prove nothing. Before a step is taken, a certificate is asked for what
the theory needs: the Villani property, step <= 1/gLip with the enclosed gLip, the noise and the
initial law (`ask`). A refuted Villani property stops the training; what is only unproved is said.

Source: Gopalani and Mukherjee, *Global convergence of SGD on two layer neural nets*,
arXiv:2210.11452, for the setting; Kumar, Jha, Mukherjee, arXiv:2503.10428, for the step apart from
the temperature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verify.certificate import Certificate
from verify.enclosure import Measurement
from verify.engine import check
from verify.errors import InputError
from verify.network import Run, StoredCheckpoint, TwoLayer
from verify.verdict import Verdict
from verify_conditions.checkpoints import save_tensors
from verify_conditions.villani.experiment_model import CONDITION, Model, Weights


@dataclass(frozen=True, eq=False)
class Asked:
    """The certificate that was asked for before training, and what it leaves open."""

    certificate: Certificate
    warnings: tuple[str, ...]


def ask(model: Model, weights: Weights, settings: Mapping[str, str]) -> Asked:
    """Ask for a certificate of the risk, and say what the theory does not cover.

    Args:
        model: the risk.
        weights: the network as it is before training.
        settings: declarations of the procedure by full name (step, noise, s, init).

    Returns:
        The certificate and one sentence for each hypothesis that is not proved. A step above the
        enclosed bound is not refuted (gLip is only bounded from above), it is not covered.
    """
    [certificate] = check(
        model.network(weights),
        model.task.data,
        conditions=[CONDITION],
        settings={**model.settings(), **settings},
        provenance={"file": f"{model.task.name}, {model.activation}, before training"},
    )
    found = {side["name"]: side["truth"] for side in certificate.claim["side_statements"]}
    warnings = []
    if certificate.verdict is not Verdict.PASS:
        warnings.append(f"the Villani property is {_OUTCOME[certificate.verdict]}")
    if f"{CONDITION}.step" in settings:
        warnings += _unless_proved(found.get("step-size"), _STEP)
    if f"{CONDITION}.noise" in settings:
        warnings += _unless_proved(found.get("isotropic-noise"), _NOISE)
    if f"{CONDITION}.init" in settings:
        warnings += _unless_proved(found.get("initial-law"), _START)
    return Asked(certificate, tuple(warnings))


_OUTCOME = {
    Verdict.FAIL: "refuted",
    Verdict.UNDECIDED: "undecided",
    Verdict.NOT_APPLICABLE: "not applicable",
}
_STEP = {
    None: "no Lipschitz constant of the gradient is stated: statements in continuous time only",
    "undecided": "that the step is at most 1/gLip is not proved (gLip is bounded from above only)",
    "refuted": "the gradient has no Lipschitz constant: statements in continuous time only",
}
_NOISE = {
    None: "nothing is known of the noise",
    "undecided": "that the noise of the mini-batches is isotropic is not proved",
    "refuted": "the noise of the mini-batches is not isotropic: the model with N(0, I) is refuted",
}
_START = {
    None: "nothing is known of the initial law",
    "undecided": "that the initial law has a square-integrable density is not proved",
    "refuted": "the initial law is not square-integrable relative to the Gibbs law",
}


def _unless_proved(truth: str | None, sentences: Mapping[str | None, str]) -> list[str]:
    return [] if truth == "proved" else [sentences[truth]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Stored weights with the value of f there, a float."""

    step: int
    weights: Weights
    value: float


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """A finished run.

    Args:
        model: the risk.
        procedure: sgd or langevin.
        checkpoints: the first and the last step included.
        asked: what was asked for before the first step.
        settings: the declarations of the procedure, by full name.
        stationary: mean of f after burn-in and its standard error (Langevin only).
    """

    model: Model
    procedure: str
    checkpoints: tuple[Checkpoint, ...]
    asked: Asked
    settings: Mapping[str, str] = field(default_factory=dict)
    stationary: Measurement | None = None

    def network(self) -> TwoLayer:
        """Return the trained network."""
        return self.model.network(self.checkpoints[-1].weights)

    def run(self) -> Run:
        """Return the stored checkpoints as a condition reads them."""
        stored = [
            StoredCheckpoint(point.step, f"step {point.step}", self.model.network(point.weights))
            for point in self.checkpoints
        ]
        return Run({"procedure": self.procedure}, tuple(stored))


def train_sgd(
    model: Model,
    *,
    step: Fraction,
    batch: int = 32,
    passes: int = 30,
    stored: int = 5,
    tau: Fraction = Fraction(1, 4),
    seed: int = 0,
    despite_refutation: bool = False,
) -> TrainingRun:
    """Train by mini-batch stochastic gradient descent.

    Args:
        model: the risk.
        step: eta, positive; it is the temperature s of the theory's model of SGD as well.
        batch: samples a step; the last batch of a pass may be smaller.
        passes: over the data.
        stored: checkpoints beside the start, evenly spaced in passes.
        tau: standard deviation of the Gaussian initial law.
        seed: of the start and of the order of the samples.
        despite_refutation: train although the Villani property is refuted.

    Raises:
        InputError: settings out of range, a run that leaves binary64, or a refuted property.
    """
    n = len(model.task.X)
    _positive("train_sgd", step=step, batch=batch, passes=passes, stored=stored, tau=tau)
    weights = model.start(float(tau), seed)
    eta = str(Fraction(float(step)))
    declared = {"step": eta, "s": eta, "noise": "minibatch", "init": f"gaussian({tau})"}
    asked = _permitted(model, weights, declared, despite_refutation)
    rng, kept = np.random.default_rng([seed, 1]), [Checkpoint(0, weights, model.value(weights))]
    steps = 0
    for turn in range(1, passes + 1):
        order = rng.permutation(n)
        for first in range(0, n, batch):
            weights = _moved(model, weights, float(step), order[first : first + batch])
            steps += 1
        if turn * stored // passes > (turn - 1) * stored // passes:
            kept.append(_checkpoint("train_sgd", model, steps, weights))
    return TrainingRun(model, "sgd", tuple(kept), asked, _full(declared))


def train_langevin(
    model: Model,
    *,
    step: Fraction,
    s: Fraction,
    steps: int = 3000,
    burn_in: int = 1000,
    stored: int = 5,
    tau: Fraction = Fraction(1, 4),
    seed: int = 0,
    despite_refutation: bool = False,
) -> TrainingRun:
    """Train by full-batch gradient descent with injected Gaussian noise of temperature s.

    Args:
        model: the risk.
        step: eta, positive.
        s: temperature, positive; the noise of a step has variance s eta in every coordinate.
        steps: in all.
        burn_in: steps before the mean of f is taken; fewer than ``steps``.
        stored: checkpoints beside the start, evenly spaced.
        tau: standard deviation of the Gaussian initial law.
        seed: of the start and of the noise.
        despite_refutation: train although the Villani property is refuted.

    Raises:
        InputError: settings out of range, a run that leaves binary64, or a refuted property.
    """
    where = "train_langevin"
    _positive(where, step=step, s=s, steps=steps, stored=stored, tau=tau, rest=steps - burn_in)
    weights = model.start(float(tau), seed)
    declared = {
        "step": str(Fraction(float(step))),
        "s": str(s),
        "noise": "injected",
        "init": f"gaussian({tau})",
    }
    asked = _permitted(model, weights, declared, despite_refutation)
    rng, kept = np.random.default_rng([seed, 2]), [Checkpoint(0, weights, model.value(weights))]
    eta, size, values = float(step), math.sqrt(float(s) * float(step)), []
    for done in range(1, steps + 1):
        weights = _moved(model, weights, eta, None)
        noise = size * rng.standard_normal(weights.W.shape)
        outer = size * rng.standard_normal(weights.a.shape) if model.outer_trained else 0.0
        weights = Weights(weights.W + noise, weights.a + outer)
        if done > burn_in:
            values.append(model.value(weights))
        if done * stored // steps > (done - 1) * stored // steps:
            kept.append(_checkpoint(where, model, done, weights))
    mean = _mean(values, f"mean of f over {len(values)} steps after {burn_in}")
    return TrainingRun(model, "langevin", tuple(kept), asked, _full(declared), mean)


def descend(model: Model, weights: Weights, *, step: float, steps: int) -> Weights:
    """Return where full gradient descent without noise arrives; for a value near min f."""
    for _ in range(steps):
        weights = _moved(model, weights, step, None)
    return weights


def save_run(run: TrainingRun, folder: Path) -> Path:
    """Write the data and every checkpoint; return the path of the last one.

    ``verify check <that path> --run <folder>`` reads them: every file declares family, activation,
    data and the settings of the condition.
    """
    model = run.model
    name = f"{model.task.name}.npz"
    digest = save_tensors(folder / name, {"X": model.task.X, "y": model.task.y})
    path = folder / name
    for point in run.checkpoints:
        declaration = {
            "family": "two-layer",
            "activation": model.activation,
            "data": name,
            "data_sha256": digest,
            "step": str(point.step),
            "settings": {**model.settings(), **run.settings},
            "about": model.task.preparation,
        }
        path = folder / f"step-{point.step:06d}.npz"
        save_tensors(path, {"W": point.weights.W, "a": point.weights.a}, declaration)
    return path


def _moved(model: Model, weights: Weights, step: float, rows: NDArray[np.int64] | None) -> Weights:
    gradient = model.gradient(weights, rows)
    return Weights(weights.W - step * gradient.W, weights.a - step * gradient.a)


def _permitted(
    model: Model, weights: Weights, declared: Mapping[str, str], despite_refutation: bool
) -> Asked:
    asked = ask(model, weights, _full(declared))
    if asked.certificate.verdict is Verdict.FAIL and not despite_refutation:
        raise InputError(
            f"train: expected a risk with the Villani property, but got one for which it is "
            f"refuted ({asked.certificate.claim['sentence']}); freeze the outer layer and keep "
            "lambda > 0, or say despite_refutation=True"
        )
    return asked


def _full(declared: Mapping[str, str]) -> dict[str, str]:
    return {f"{CONDITION}.{key}": text for key, text in declared.items()}


def _checkpoint(where: str, model: Model, step: int, weights: Weights) -> Checkpoint:
    value = model.value(weights)
    if not math.isfinite(value):
        raise InputError(
            f"{where}: expected f to stay finite, but got {value!r} after {step} steps; "
            "lower the step"
        )
    return Checkpoint(step, weights, value)


def _positive(where: str, **numbers: float | Fraction) -> None:
    for name, number in numbers.items():
        if not number > 0:
            raise InputError(f"{where}: expected {name} > 0, but got {number!r}")


def _mean(values: Sequence[float], how: str) -> Measurement:
    """Return the mean and its standard error from the means of 20 consecutive parts."""
    parts = [float(np.mean(part)) for part in np.array_split(np.asarray(values), 20) if len(part)]
    error = float(np.std(parts, ddof=1) / math.sqrt(len(parts)))
    return Measurement(float(np.mean(values)), how, error)
