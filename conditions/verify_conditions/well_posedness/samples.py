"""What is proved about each sample of the data: its equilibrium, and how near the solver came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from verify.condition import Effort, RouteOutcome, SampleRecord
from verify.decide import evaluate
from verify.enclosure import Endpoint, hex_of
from verify.evidence import Witness
from verify.network import AffineInput, ReluFeatureInput
from verify.verdict import Truth
from verify_conditions.well_posedness import statements as st
from verify_conditions.well_posedness.problem import Problem
from verify_kernels.equilibrium import SampleEquilibrium, bias_enclosure, certify_samples
from verify_kernels.equilibrium_residual import Modulus, usable_weights
from verify_kernels.positive_vector import float_vector


def samples(
    problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort
) -> SampleRecord | None:
    """Certify the equilibrium of every sample; None without data or without an evaluable input."""
    given = problem.network.input
    if problem.data is None or not isinstance(given, AffineInput | ReluFeatureInput):
        return None
    proved = {o.route.name: o for o in outcomes if o.tried and o.truth is Truth.PROVED}
    found = certify_samples(
        problem.weight,
        problem.network.activation,
        bias_enclosure(given, problem.data.X),
        list(_moduli(problem, proved)),
        deadline=effort.deadline,
        solver_outputs=problem.data.Z,
    )
    everywhere = any(_proves(outcome) for outcome in proved.values())  # every b, or every input
    shown = "the solver's output" if problem.data.Z is not None else "the stored approximation"
    return _record(found, everywhere, shown)


def _proves(outcome: RouteOutcome) -> bool:
    return outcome.route.direction in ("sufficient", "equivalent")


def _moduli(problem: Problem, proved: Mapping[str, RouteOutcome]) -> list[Modulus]:
    """Return the constants that the proved routes give for bounding distances by residuals."""
    found = []
    for route, statement in (
        ("paper-setting", st.PAPER_SETTING),
        ("spectral-norm", st.SPECTRAL_NORM),
    ):
        if route in proved:
            known = {
                item.symbol: proved[route].evidence[str(item.symbol)].enclosure()
                for item in statement.quantities
            }
            rate = evaluate(statement.hypothesis.lhs, known)
            found += _modulus("contraction", rate.hi)
    if "perron" in proved:
        eta, bound = _positive_vector(proved["perron"], st.LAMBDA_PF.symbol)
        if eta is not None:
            found += _modulus("weighted", problem.lipschitz * bound, eta)
    if problem.unit_slopes:
        found += _for_unit_slopes(proved)
    return found


def _for_unit_slopes(proved: Mapping[str, RouteOutcome]) -> list[Modulus]:
    found = []
    if "monotone" in proved:
        found += _modulus("monotone", 1 - proved["monotone"].evidence["mu_2"].enclosure().hi)
    if "monotone-structure" in proved:
        found += _modulus("monotone", proved["monotone-structure"].evidence["m"].enclosure().lo)
    if "matrix-measure" in proved:
        eta, bound = _positive_vector(proved["matrix-measure"], st.MU_ETA.symbol)
        if eta is not None:
            found += _modulus("measure", bound, eta)
    return found


def _modulus(kind: Any, value: Endpoint, eta: Any = None) -> list[Modulus]:
    """Return the modulus if the number allows one, else nothing."""
    if not isinstance(value, Fraction):
        return []
    usable = value > 0 if kind == "monotone" else value < 1
    usable = usable and (eta is None or usable_weights(eta))
    return [Modulus(kind, value, eta)] if usable else []


def _positive_vector(outcome: RouteOutcome, symbol: Any) -> tuple[Any, Fraction]:
    witness = outcome.evidence[str(symbol)].witness
    if witness is None:
        return None, Fraction(0)
    return float_vector(witness.data["eta"]), Fraction(witness.data["bound"])


def _record(found: Sequence[SampleEquilibrium], everywhere: bool, shown: str) -> SampleRecord:
    certified = sum(1 for item in found if item.exists and item.distance is not None)
    unique = len(found) if everywhere else sum(1 for item in found if item.unique)
    rows = [
        {
            "sample": index,
            "exists": everywhere or item.exists,
            "unique": everywhere or item.unique,
            "distance": None if item.distance is None else hex_of(item.distance.hi),
            "method": item.method,
            "why_open": "" if everywhere and item.distance is not None else item.why_open,
        }
        for index, item in enumerate(found)
    ]
    summary = (
        f"an enclosure of the equilibrium is proved for {certified} of {len(found)} samples, "
        f"and that it is the only one for {unique} of {len(found)}"
    )
    worst = max((item.distance.hi for item in found if item.distance is not None), default=None)
    if worst is not None:
        summary += f"; {shown} is within {_above(worst)} of it in every coordinate"
    arrays = {
        "z": np.array([item.z_mid for item in found]),
        "radius": np.array([item.radius_inf for item in found]),
    }
    kept = {"z": arrays["z"], "radius": [_radius(r) for r in arrays["radius"]]}
    return SampleRecord(summary, certified, len(found), rows, Witness("sample-equilibria", kept))


def _above(value: Endpoint) -> str:
    """Return two significant digits, rounded up."""
    exact = Fraction(value)
    context = Context(prec=2, rounding=ROUND_CEILING)
    return f"{context.divide(Decimal(exact.numerator), Decimal(exact.denominator)):.1e}"


def _radius(value: float) -> str:
    return hex_of(Fraction(value) if value < float("inf") else value)
