"""A trail of certificates along any training loop: `certify_every`.

    with certify_every(50, model, X, y, conditions=["converges-from-here"], settings=...,
                       folder="trail") as trail:
        for xb, yb in batches:
            ...
            optimiser.step()
            trail.step()
    print(trail)

Every certificate speaks of the module in evaluation form at the weights that it held at that step,
as real numbers, and of the samples X and y; it says nothing of the steps between. Reading a module
leaves its parameters, buffers, gradients, modes, device and all random generators as they were;
its own forward hooks run, on tensors without numbers. Which tensors training changes is what the
settings declare: ``requires_grad`` is not asked.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from verify import registry
from verify.certificate import Certificate, write_certificates
from verify.command_line import command_line
from verify.errors import InputError, SettingsError, VerifyError
from verify.network import Data
from verify.verdict import Verdict
from verify_conditions.live_model import (
    DATA,
    WHERE,
    LiveModel,
    random_state_kept,
    require,
    stem_of,
    store_checkpoint,
)

CHECKPOINTS = "checkpoints"
"""Apart from the certificates, so that ``verify check --run`` meets checkpoints alone."""
_LOG = logging.getLogger("verify.training")


@dataclass(frozen=True)
class TrailEntry:
    """One condition at one step.

    Args:
        step: the count of training steps before it.
        condition: its name.
        certificate: what was decided; without arrays where a folder has them. None after an error.
        problem: the error in one sentence, or empty.
        seconds: reading the module, deciding and writing.
    """

    step: int
    condition: str
    certificate: Certificate | None
    problem: str
    seconds: float

    @property
    def verdict(self) -> str:
        """The verdict, or ``error``."""
        return "error" if self.certificate is None else str(self.certificate.verdict)

    @property
    def passed(self) -> bool:
        """Whether the condition is proved."""
        return self.certificate is not None and self.certificate.verdict is Verdict.PASS

    @property
    def sentence(self) -> str:
        """What was decided, or what went wrong."""
        return self.problem if self.certificate is None else self.certificate.sentence


def certify_every(
    every: int,
    model: Any,
    X: Any,
    y: Any = None,
    *,
    conditions: Sequence[str],
    settings: Mapping[str, str] | None = None,
    folder: str | Path | None = None,
    stop: str | None = None,
    store: bool = False,
    strict: bool = False,
    read: Callable[[Any], Any] | None = None,
    budget: float = 10.0,
    start: int = 0,
) -> CertificateTrail:
    """Return a callback that certifies a module now and after every so many steps.

    Args:
        every: steps between two certifications.
        model: a torch module that takes one tensor, or, with ``read``, anything.
        X: all samples that the certificates speak of, as the module is fed them; they are taken to
            its dtype and device.
        y: their targets, or None.
        conditions: names, as with ``--condition``.
        settings: ``"condition.key"`` to exact text, as with ``--set``.
        folder: where ``step-000050.<condition>.json`` and its arrays are written; None: nowhere.
        stop: one of the conditions; once it passes, nothing more is certified and `step` returns
            True.
        store: whether the network of every certified step is stored in ``<folder>/checkpoints``,
            with the samples, so that ``verify check`` repeats the certification: a
            ``.safetensors`` of a fully connected network of one activation, else a ``.pt2``.
        strict: whether an error in a certification ends the training; else it is an entry of the
            trail and a message of the logger ``verify.training``.
        read: from ``model`` to a value of `verify.network`, for networks that torch cannot export
            (equilibrium networks); ``X`` is then taken as it is.
        budget: seconds for the expensive routes of each condition.
        start: the count of steps that the module has behind it.

    Returns:
        The trail; the state at ``start`` is certified already where it is a multiple of ``every``.

    Raises:
        SettingsError: an unknown condition, or settings that do not fit; torch is not installed.
        InputError: arguments out of range, or X and y that do not fit.
    """
    require(_is_count(every) and every >= 1, "every as a whole number >= 1", every)
    require(_is_count(start) and start >= 0, "start as a whole number >= 0", start)
    require(0.0 <= budget < math.inf, "budget as seconds >= 0", budget)
    require(not store or folder is not None, "a folder where checkpoints are stored", folder)
    names = tuple(dict.fromkeys([conditions] if isinstance(conditions, str) else conditions))
    require(len(names) > 0, "at least one condition", conditions)
    for name in (*names, *([] if stop is None else [stop])):
        known = names if name == stop else tuple(registry.conditions())
        if name not in known:
            raise SettingsError(
                f"{WHERE}: expected one of {', '.join(sorted(known))}, but got {name!r}"
            )
    for key in settings or {}:
        if key.partition(".")[0] not in names:
            raise SettingsError(
                f"{WHERE}: expected settings of {', '.join(names)}, but got {key!r}"
            )
    task = LiveModel(model, X, y, names, dict(settings or {}), read, budget)
    return CertificateTrail(
        int(every), task, None if folder is None else Path(folder),
        stop=stop, store=store, strict=strict, start=int(start),
    )  # fmt: skip


def _is_count(given: object) -> bool:
    return isinstance(given, Integral) and not isinstance(given, bool)


class CertificateTrail:
    """Counts steps and certifies; see `certify_every`, which makes it.

    `step` is called after every step of the optimiser. The object itself is a hook that ignores its
    arguments (``optimiser.register_step_post_hook(trail)``), and a context manager that certifies
    the last state when the block ends without an error. ``finished`` tells whether the condition
    ``stop`` has passed.
    """

    def __init__(
        self,
        every: int,
        task: LiveModel,
        folder: Path | None,
        *,
        stop: str | None,
        store: bool,
        strict: bool,
        start: int,
    ) -> None:
        """Certify the state of now if it is one of those asked for."""
        self.every, self.folder, self.stop, self.steps = every, folder, stop, start
        self.strict, self._stores = strict, store
        self.entries: list[TrailEntry] = []
        self.finished = False
        self._task, self._last, self._training = task, start, False
        if start % every == 0:
            self.certify()
        self._training = True

    # The loop --------------------------------------------------------------------------------

    def step(self, step: int | None = None) -> bool:
        """Count a step; certify if a multiple of ``every`` was reached since the last time.

        Args:
            step: the count of steps so far, where the loop has its own; else one more.

        Returns:
            whether the condition ``stop`` has passed.

        Raises:
            InputError: a count that is not larger than the last.
            Exception: whatever a certification raises, with ``strict``.
        """
        counted = self.steps + 1 if step is None else step
        if not _is_count(counted) or counted <= self.steps:
            raise InputError(
                f"{WHERE}: expected a count of steps above {self.steps}, but got {step!r}"
            )
        self.steps = int(counted)
        if not self.finished and self.steps // self.every > self._last // self.every:
            self.certify()
        return self.finished

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Count a step, as a hook."""
        self.step()

    def __enter__(self) -> Self:
        """Begin a block of training."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Certify the last state of a block that ended well."""
        certified = self.entries and self.entries[-1].step == self.steps
        if kind is None and not certified and not self.finished:
            self.certify()

    def certify(self) -> tuple[TrailEntry, ...]:
        """Certify the state of now, whatever the count, and return its entries.

        Raises:
            Exception: whatever a certification raises, with ``strict``.
        """
        self._last = self.steps
        with random_state_kept():
            found = self._certified()
        self.entries += found
        passed = {entry.condition for entry in found if entry.passed}
        self.finished = self.finished or self.stop in passed
        return tuple(found)

    def _certified(self) -> list[TrailEntry]:
        started = time.perf_counter()
        names = self._task.conditions
        try:
            network, content = self._task.network()
            data = self._task.data()
            if self._stores and self.folder is not None:
                store_checkpoint(self.folder / CHECKPOINTS, self.steps, network, content, data)
        except Exception as error:
            told = self._told(error)
            seconds = time.perf_counter() - started
            return [TrailEntry(self.steps, name, None, told, seconds) for name in names]
        found = [self._one(name, network, data) for name in names]
        found[0] = replace(found[0], seconds=time.perf_counter() - started)
        return found if self.folder is None else self._written(found, self.folder)

    def _one(self, name: str, network: Any, data: Data) -> TrailEntry:
        started = time.perf_counter()
        certificate, told = None, ""
        try:
            certificate = self._task.check(name, network, data, self.steps)
        except Exception as error:
            told = self._told(error)
        return TrailEntry(self.steps, name, certificate, told, time.perf_counter() - started)

    def _written(self, found: list[TrailEntry], folder: Path) -> list[TrailEntry]:
        """Write the certificates of one step together, and let go of their arrays."""
        certificates = [entry.certificate for entry in found if entry.certificate is not None]
        if not certificates:
            return found
        try:
            write_certificates(certificates, folder, stem_of(self.steps))
        except Exception as error:
            told = self._told(error)
            return [replace(entry, problem=entry.problem or told) for entry in found]
        return [
            entry if entry.certificate is None
            else replace(entry, certificate=replace(entry.certificate, arrays={}, network={}))
            for entry in found
        ]  # fmt: skip

    def _told(self, error: Exception) -> str:
        """Return an error as one sentence and log it; raise it where that is better.

        Settings that do not fit are told before training begins, by an error.
        """
        if self.strict or (isinstance(error, SettingsError) and not self._training):
            raise error
        words = " ".join(str(error).split()) or "no message"
        known = isinstance(error, VerifyError)
        told = f"step {self.steps}: " + (words if known else f"{type(error).__name__}: {words}")
        _LOG.warning("%s", told)
        return told

    # What is known ---------------------------------------------------------------------------

    @property
    def certificates(self) -> dict[int, tuple[Certificate, ...]]:
        """The certificates of every step that has some, in order."""
        found: dict[int, tuple[Certificate, ...]] = {}
        for entry in self.entries:
            if entry.certificate is not None:
                found[entry.step] = (*found.get(entry.step, ()), entry.certificate)
        return found

    @property
    def problems(self) -> dict[int, tuple[str, ...]]:
        """What went wrong at every step where something did."""
        found: dict[int, tuple[str, ...]] = {}
        for entry in self.entries:
            if entry.problem and entry.problem not in found.get(entry.step, ()):
                found[entry.step] = (*found.get(entry.step, ()), entry.problem)
        return found

    def first_pass(self, condition: str) -> int | None:
        """Return the first certified step at which a condition passes, or None.

        Raises:
            InputError: a condition that is not certified here.
        """
        require(condition in self._task.conditions, f"one of {self._task.conditions}", condition)
        for entry in self.entries:
            if entry.condition == condition and entry.passed:
                return entry.step
        return None

    def table(self) -> list[dict[str, str]]:
        """Return one row for every entry: step, condition, verdict, sentence, seconds."""
        return [
            {
                "step": str(entry.step),
                "condition": entry.condition,
                "verdict": entry.verdict,
                "sentence": entry.sentence,
                "seconds": f"{entry.seconds:.2f}",
            }
            for entry in self.entries
        ]

    def command(self, step: int) -> str:
        """Return the command that repeats the certification of a stored step.

        Raises:
            InputError: nothing is stored of that step.
        """
        place = None if self.folder is None else self.folder / CHECKPOINTS
        stored = [] if place is None else sorted(place.glob(f"{stem_of(step)}.*"))
        if place is None or not stored:
            raise InputError(
                f"{WHERE}: expected a step that is stored, but got {step!r}; ask for store=True"
            )
        return command_line(
            str(stored[0]),
            texts={"data": str(place / DATA)},
            conditions=self._task.conditions,
            settings=self._task.settings,
            budget=self._task.budget,
        )

    def __str__(self) -> str:
        """Return one line for every entry."""
        wide = max((len(name) for name in self._task.conditions), default=0)
        return "\n".join(
            f"{entry.step:>6}  {entry.condition:<{wide}}  "
            + (entry.sentence if entry.certificate is not None else f"error: {entry.sentence}")
            for entry in self.entries
        )
