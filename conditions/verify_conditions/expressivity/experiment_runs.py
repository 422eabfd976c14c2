"""Runs of the experiments: the base optimiser alone, and the EE wrapper around it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify.enclosure import Measurement
from verify.errors import InputError
from verify_conditions.expressivity.ee_certificate import Guarantee, RankProof
from verify_conditions.expressivity.experiment_models import Build
from verify_conditions.expressivity.experiment_tasks import Task
from verify_conditions.expressivity.training import EEWrapper


@dataclass(frozen=True, eq=False)
class Case:
    """One comparison: a task, a model, a base optimiser and a budget.

    Args:
        name: for tables.
        task: the samples.
        build: makes the model from a seed.
        optimiser: makes the base optimiser from parameters.
        steps: the budget of both, in calls of `step`.
        switch: the step of the switch; the rest is phase 2.
        batch: samples of a batch.
        noise_scale: of the first perturbation.
        theorem_d: whether the data-independent theorem covers the network.
    """

    name: str
    task: Task
    build: Build
    optimiser: Callable[[Any], Any]
    steps: int
    switch: int
    batch: int
    noise_scale: float = 0.01
    theorem_d: bool = False


@dataclass(frozen=True, eq=False)
class BaseRun:
    """The base optimiser alone: final training loss and test error, floats."""

    train: float
    test: float
    seconds: float


@dataclass(frozen=True, eq=False)
class WrappedRun:
    """A run of the wrapper: test errors at the switch and at the end, and all that is proved."""

    train: float
    test: float
    seconds: float
    before: float
    draws: int
    proof: RankProof
    guarantee: Guarantee
    samples: int = 0
    width: int = 0
    records: tuple[Any, ...] = field(default=())


def run_base(case: Case, seed: int) -> BaseRun:
    """Train with the base optimiser alone."""
    started = time.perf_counter()
    model = case.build(seed)
    optimiser = case.optimiser(model.parameters())
    criterion = _criterion(case)
    model.train()
    for xb, yb in _batches(case, seed):
        optimiser.zero_grad()
        criterion(model(xb), yb).backward()
        optimiser.step()
    train, test = errors(case, model)
    return BaseRun(train, test, time.perf_counter() - started)


def run_wrapped(case: Case, seed: int) -> WrappedRun:
    """Train with the wrapper, by the same loop over the same batches."""
    started = time.perf_counter()
    model = case.build(seed)
    X, y = _tensors(case, case.task.X, case.task.y)
    wrapper = EEWrapper(
        model,
        case.optimiser(model.parameters()),
        loss=case.task.loss,
        data=(X, y),
        switch_step=case.switch,
        noise_scale=case.noise_scale,
        seed=1000 * (seed + 1),
        record_every=max(1, (case.steps - case.switch) // 50),
    )
    criterion = _criterion(case)
    model.train()
    before = math.nan
    for number, (xb, yb) in enumerate(_batches(case, seed)):
        if number == case.switch:
            before = errors(case, model)[1]
        wrapper.zero_grad()
        criterion(model(xb), yb).backward()
        wrapper.step()
    guarantee = wrapper.guarantee()
    train, test = errors(case, model)
    if wrapper.proof is None:
        raise InputError(f"{case.name}: expected more than {case.switch} steps")
    return WrappedRun(
        train,
        test,
        time.perf_counter() - started,
        before,
        len(wrapper.draws),
        wrapper.proof,
        guarantee,
        len(X),
        int(wrapper.last.weight.shape[1]),
        guarantee.records,
    )


def errors(case: Case, model: Any) -> tuple[float, float]:
    """Return the training loss and the test error: wrong in percent, or the mean square."""
    import torch

    flags = [module.training for module in model.modules()]
    model.eval()
    with torch.no_grad():
        X, y = _tensors(case, case.task.X, case.task.y)
        train = float(_criterion(case)(model(X), y))
        X, y = _tensors(case, case.task.X_test, case.task.y_test)
        out = model(X)
        if case.task.loss == "cross-entropy":
            test = 100.0 * float((out.argmax(dim=1) != y).double().mean())
        else:
            test = float((out - y).square().mean())
    for module, training in zip(model.modules(), flags, strict=True):
        module.training = training
    return train, test


def spread(values: Sequence[float], what: str) -> Measurement:
    """Return the mean over the seeds and its sample standard deviation."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Measurement(float(np.mean(values)), f"{what}, mean over {len(values)} seeds", deviation)


def _tensors(case: Case, X: Any, y: Any) -> tuple[Any, Any]:
    import torch

    targets = torch.as_tensor(y)
    return torch.as_tensor(X), targets.long() if case.task.loss == "cross-entropy" else targets


def _criterion(case: Case) -> Any:
    from torch import nn

    if case.task.loss == "cross-entropy":
        return nn.CrossEntropyLoss()
    mean = nn.MSELoss()
    return lambda out, y: 0.5 * mean(out, y)


def _batches(case: Case, seed: int) -> Iterator[tuple[Any, Any]]:
    """Yield the batches of the run, every pass shuffled anew by its own generator."""
    import torch

    X, y = _tensors(case, case.task.X, case.task.y)
    generator = torch.Generator().manual_seed(seed)
    done = 0
    while True:
        order = torch.randperm(len(X), generator=generator)
        for first in range(0, len(X), case.batch):
            rows = order[first : first + case.batch]
            if done == case.steps:
                return
            # A batch of one sample has no batch statistics.
            if len(rows) > 1:
                yield X[rows], y[rows]
                done += 1
