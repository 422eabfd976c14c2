"""What the reproduction expects, and one sentence for everything that came out otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from verify_conditions.gradient_inequality.experiment_cases import Special
from verify_conditions.gradient_inequality.experiment_directions import Directions
from verify_conditions.gradient_inequality.experiment_runs import Comparison
from verify_conditions.gradient_inequality.experiment_tables import TWO_THIRDS

SLOPE_ROOM = 0.2
EXPONENT_ROOM = 0.015
WIDEST = 0.2
ALIKE = 1.6
_LINEAR, _FLOOR = 1e-20, 1e-26


def unmet_special(runs: Sequence[Special]) -> list[str]:
    """Return one sentence for each predicted slope that was not met."""
    unmet = []
    for special in runs:
        fit = special.case.decay()
        if special.slope is not None and (fit is None or not fit.within(special.slope, SLOPE_ROOM)):
            unmet.append(
                f"{special.case.name}: expected L ~ t^{special.slope:g} up to {SLOPE_ROOM}, but "
                f"got the slope {fit}"
            )
    return unmet


def unmet_rates(cases: Sequence[Comparison]) -> list[str]:
    """Return one sentence for each rate or exponent that is not as expected."""
    return [sentence for case in cases for sentence in _unmet_rate(case)] + _unlike(cases)


def _unmet_rate(case: Comparison) -> list[str]:
    unmet = []
    decay, exponent = case.decay(), case.exponent()
    expected = 0.5 if case.exact else TWO_THIRDS
    if exponent is None or not exponent.within(expected, EXPONENT_ROOM):
        unmet.append(f"{case}: expected the exponent {expected:.3f}, but got {exponent}")
    worst = max(descent.loss for descent in case.descents)
    if case.exact and worst > _LINEAR:
        unmet.append(f"{case}: expected a loss below {_LINEAR} at the end, but got {worst:.3g}")
    if not case.exact and (decay is None or not decay.within(-3.0, SLOPE_ROOM)):
        unmet.append(f"{case}: expected L ~ t^-3 up to {SLOPE_ROOM}, but got the slope {decay}")
    for descent in case.descents:
        rises = [
            after.step
            for before, after in pairwise(descent.records)
            if after.loss_low > before.loss > _FLOOR
        ]
        if rises:
            unmet.append(
                f"{case}, seed {descent.seed}: expected a loss that falls, but it has risen by "
                f"step {rises[0]}"
            )
    return unmet


def _unlike(cases: Sequence[Comparison]) -> list[str]:
    """Compare ||grad L|| / L^(2/3) between numbers of students at the same teachers."""
    unmet = []
    groups = dict.fromkeys((case.name, case.activation) for case in cases if not case.exact)
    for group in groups:
        alike = [c for c in cases if (c.name, c.activation) == group and not c.exact]
        ends = [case.constant(TWO_THIRDS) for case in alike]
        least, most = min(low for low, _ in ends), max(high for _, high in ends)
        if most > ALIKE * least:
            unmet.append(
                f"{group[1]}, r = {group[0]}: expected ||grad L|| / L^(2/3) within a factor "
                f"{ALIKE} over m = {', '.join(str(case.width) for case in alike)}, but got "
                f"{least:.3g} to {most:.3g}"
            )
    return unmet


def unmet_directions(
    cases: Sequence[Comparison], found: Sequence[Sequence[Directions]]
) -> list[str]:
    """Return one sentence for each run whose students are not proved to be near teachers."""
    unmet = []
    for case, each in zip(cases, found, strict=True):
        for descent, at in zip(case.descents, each, strict=True):
            if at.reason:
                continue
            name = f"{case}, seed {descent.seed}"
            if not at.sound:
                unmet.append(f"{name}: expected angles and masses within their proved bounds")
            if at.bounded < at.heavy or not at.widest_bound <= WIDEST:
                unmet.append(
                    f"{name}: expected every heavy student within {WIDEST} rad of a teacher, but "
                    f"got {at.bounded} of {at.heavy} bounded, by {at.widest_bound:.3g}"
                )
    return unmet
