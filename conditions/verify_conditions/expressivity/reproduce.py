"""`verify reproduce ee-wrapper`: the base optimiser against the EE wrapper, with certificates.

Four networks, several seeds, equal budgets of steps: fully connected networks on two moons and on
a sine wave, which the data-independent theorem covers, and on digits a fully connected network and
a small convolutional residual network with batch norm. At the switch the rank is proved; in phase 2
the enclosed training loss has to stay under the certified bound at every recorded step. Test errors
are measured and prove nothing, whichever is better. What comes out otherwise than expected is
named, and the exit code is 1.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from verify.certificate import Certificate, write_certificates
from verify.enclosure import Measurement
from verify.errors import InputError
from verify.verdict import Verdict
from verify_conditions.checkpoints import replace_file
from verify_conditions.expressivity.experiment_figures import loss_figure
from verify_conditions.expressivity.experiment_models import mlp, residual_network
from verify_conditions.expressivity.experiment_runs import (
    BaseRun,
    Case,
    WrappedRun,
    run_base,
    run_wrapped,
    spread,
)
from verify_conditions.expressivity.experiment_tasks import digits, sine_wave, two_moons
from verify_conditions.figures import html_table
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

TITLE = "Exploration, a rank proof, exploitation: the EE wrapper"
Pair = tuple[BaseRun, WrappedRun]


def run(
    quick: bool = False,
    json_dir: str | Path | None = None,
    report: str | Path | None = None,
    echo: Echo | None = None,
) -> int:
    """Train with both, prove, compare.

    Args:
        quick: two seeds and fewer steps, for a look; the expectations are the same.
        json_dir: where to write certificates and ``ee-wrapper.json`` with all curves.
        report: where to write the HTML page, with the loss curves.
        echo: takes a line of text.

    Returns:
        0 if every switch had its rank proof, every guarantee held at the end and every recorded
        loss lay under its certified bound; 1 otherwise.

    Raises:
        InputError: torch is not installed.
    """
    with one_torch_thread(), one_thread():
        return _run(quick, json_dir, report, echo or click_echo())


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch on one thread, which at these sizes is as fast as several.

    Raises:
        InputError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError(
            "ee-wrapper: expected torch to be installed, but got no module named 'torch'; "
            "install it with pip install 'verify-nn[torch,demo]'"
        ) from error
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(quick: bool, json_dir: str | Path | None, report: str | Path | None, say: Echo) -> int:
    started = time.perf_counter()
    found: dict[str, list[Pair]] = {}
    cases = cases_of(quick)
    for case in cases:
        say(f"{case.name}: {case.task.preparation}; {case.steps} steps, switch after {case.switch}")
        pairs = []
        for seed in range(2 if quick else 5):
            pairs.append((run_base(case, seed), run_wrapped(case, seed)))
            _tell(seed, pairs[-1], say)
        found[case.name] = pairs
    proofs = [row for case in cases for row in proof_rows(case, found[case.name])]
    errors = [error_row(case, found[case.name]) for case in cases]
    for title, rows in (("Rank proofs at the switch", proofs), (_ERRORS, errors)):
        say("")
        say(title)
        tell_table(rows, say)
    say("")
    first = [found[case.name][0][1] for case in cases]
    for case, wrapped in zip(cases, first, strict=True):
        say(f"{case.name}, seed 0: {wrapped.guarantee}")
    unmet = [sentence for case in cases for sentence in unmet_of(case, found[case.name])]
    certificates = [_named(case, w.proof.certificate) for case, w in zip(cases, first, strict=True)]
    if json_dir is not None:
        _write(Path(json_dir), cases, found, certificates, {"proofs": proofs, "errors": errors})
        say(f"certificates and ee-wrapper.json: {json_dir}")
    write_report(
        certificates, report, TITLE, say,
        heading="Base optimiser and EE wrapper",
        figures=_figures(cases, first),
        tables=[html_table("Rank proofs at the switch", proofs), html_table(_ERRORS, errors)],
    )  # fmt: skip
    say(f"in {time.perf_counter() - started:.0f} s")
    return outcome(unmet, say)


_ERRORS = "Test errors at equal budgets, measured: mean and standard deviation over the seeds"


def cases_of(quick: bool) -> list[Case]:
    """Return the comparisons."""
    few = 3 if quick else 1
    n = 300 if quick else 700
    width = n * 6 // 5
    flat, images = digits(n, images=False), digits(n, images=True)
    return [
        Case("two moons, MLP", two_moons(), mlp((2, 16, 130, 2), "tanh", gain=4.0, double=True),
             _adam(1e-3), 3000 // few, 2400 // few, 20, theorem_d=True),
        Case("sine wave, MLP", sine_wave(), mlp((1, 16, 52, 1), "tanh", gain=8.0, double=True),
             _adam(1e-3), 3000 // few, 2400 // few, 10, theorem_d=True),
        Case("digits, MLP", flat, mlp((64, 128, width, 10), "softplus"),
             _sgd(0.01), 1500 // few, 1200 // few, 64, theorem_d=True),
        Case("digits, residual network", images, residual_network(width),
             _sgd(0.01), 900 // few, 720 // few, 64),
    ]  # fmt: skip


def _adam(rate: float) -> Any:
    def make(parameters: Any) -> Any:
        from torch import optim

        return optim.Adam(parameters, lr=rate)

    return make


def _sgd(rate: float) -> Any:
    def make(parameters: Any) -> Any:
        from torch import optim

        return optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=1e-4)

    return make


def _tell(seed: int, pair: Pair, say: Echo) -> None:
    base, wrapped = pair
    say(
        f"  seed {seed}: base {base.test:.4g} in {base.seconds:.1f} s, wrapper {wrapped.test:.4g} "
        f"in {wrapped.seconds:.1f} s; rank proof: {wrapped.proof.rung or 'none'}"
    )


def proof_rows(case: Case, pairs: Sequence[Pair]) -> list[dict[str, str]]:
    """Return a row for each run of the wrapper: how the rank was proved, sigma_n, time."""
    rows = []
    for seed, (_, wrapped) in enumerate(pairs):
        proof = wrapped.proof
        lowest = proof.sigma_n.lo_float
        rows.append(
            {
                "network": case.name,
                "seed": str(seed),
                "n": str(wrapped.samples),
                "m_H": str(wrapped.width),
                "Theorem D": "proved" if proof.structural else "-",
                "draws": str(wrapped.draws),
                "rung": proof.rung.removeprefix("stored weights: ") or "none",
                "sigma_n >=": rounded_down(lowest, 4) if lowest > 0.0 else "-",
                "sigma_max <=": rounded_up(proof.sigma_max.hi_float, 5),
                "seconds": f"{proof.seconds:.2f}",
            }
        )
    return rows


def error_row(case: Case, pairs: Sequence[Pair]) -> dict[str, str]:
    """Return measured test errors of both, and how the loss stands to its bound at the end."""
    bases = spread([base.test for base, _ in pairs], "test error")
    ends = spread([wrapped.test for _, wrapped in pairs], "test error")
    last = [wrapped.records[-1] for _, wrapped in pairs if wrapped.records]
    recorded = sum(len(wrapped.records) for _, wrapped in pairs)
    within = sum(record.within for _, wrapped in pairs for record in wrapped.records)
    return {
        "network": case.name,
        "unit": "% wrong" if case.task.loss == "cross-entropy" else "mean square",
        "base": _measured(bases),
        "at the switch": _measured(spread([w.before for _, w in pairs], "test error")),
        "wrapper": _measured(ends),
        "worst base loss": f"{max(base.train for base, _ in pairs):.3g}",
        "worst wrapper loss <=": rounded_up(max((r.high for r in last), default=math.inf), 3),
        "worst bound <=": rounded_up(max((r.bound for r in last), default=math.inf), 3),
        "under the bound": f"{within} of {recorded}",
    }


def _measured(value: Measurement) -> str:
    return f"{value.value:.3g}" + ("" if value.spread is None else f" ± {value.spread:.2g}")


def unmet_of(case: Case, pairs: Sequence[Pair]) -> list[str]:
    """Return one sentence for each expected outcome that did not occur."""
    unmet = []
    for seed, (_, wrapped) in enumerate(pairs):
        name, proof = f"{case.name}, seed {seed}", wrapped.proof
        if not proof.proved:
            unmet.append(f"{name}: expected rank Z = n to be proved, but got none: {proof.why}")
            continue
        if proof.certificate.verdict is not Verdict.PASS:
            unmet.append(f"{name}: expected pass, but got {proof.certificate.verdict}")
        if case.theorem_d and not proof.structural:
            unmet.append(f"{name}: expected Theorem D to be proved, but it is not")
        if not wrapped.guarantee.holds:
            unmet.append(f"{name}: expected a guarantee, but got {wrapped.guarantee}")
        above = [record.step for record in wrapped.records if not record.within]
        if above or not wrapped.records:
            unmet.append(
                f"{name}: expected the loss under the certified bound at every recorded step, but "
                f"got steps {above[:10]} above it of {len(wrapped.records)} recorded"
            )
    return unmet


def _named(case: Case, certificate: Certificate) -> Certificate:
    told = {"file": f"{case.name}, seed 0, at the switch"}
    return replace(certificate, provenance={**certificate.provenance, **told})


def _stem(case: Case) -> str:
    return case.name.replace(",", "").replace(" ", "-").lower()


def _write(
    folder: Path,
    cases: Sequence[Case],
    found: dict[str, list[Pair]],
    certificates: Sequence[Certificate],
    tables: dict[str, Any],
) -> None:
    for case, certificate in zip(cases, certificates, strict=True):
        write_certificates([certificate], folder, _stem(case))
    curves = {
        case.name: [
            [{"step": r.step, "low": r.low, "high": _finite(r.high), "bound": _finite(r.bound)}
             for r in wrapped.records]
            for _, wrapped in found[case.name]
        ]
        for case in cases
    }  # fmt: skip
    text = json.dumps({**tables, "curves": curves}, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(folder / "ee-wrapper.json", text.encode())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _figures(cases: Sequence[Case], runs: Sequence[WrappedRun]) -> list[str]:
    return [
        loss_figure(
            f"{case.name}, seed 0: mean {case.task.loss} loss on the training samples after the "
            "switch (upper end of its enclosure) and its certified bound",
            wrapped.records,
            str(wrapped.guarantee).splitlines(),
        )
        for case, wrapped in zip(cases, runs, strict=True)
    ]  # fmt: skip
