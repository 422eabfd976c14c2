"""Spectral gaps on a grid against the proved lower bounds, in one and two dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from verify.network import Activation, Data, TwoLayer
from verify_conditions.villani.experiment_outcome import (
    Outcome,
    Rows,
    certify,
    declared,
    numbers_of,
)
from verify_kernels.two_layer.spectral_gap import confining_radius, measure_spectral_gap

Array = NDArray[np.float64]

HOLLEY_STROOCK, COUPLING = "rate (Holley-Stroock)", "rate (reflection coupling)"
CONVEX = "rate (strong convexity)"
RATES = (HOLLEY_STROOCK, COUPLING, CONVEX)


@dataclass(frozen=True)
class GapCase:
    """A tanh network with p d = 1 or 2 on a few data, small enough for a grid.

    The gap of f = (1/2n) sum (a . tanh(W x_i) - y_i)^2 + (lam/2) ||W||^2 is measured.
    """

    name: str
    X: tuple[tuple[float, ...], ...]
    y: tuple[float, ...]
    a: tuple[float, ...]
    lam: Fraction

    @property
    def dimension(self) -> int:
        """The number of trained parameters."""
        return len(self.a) * len(self.X[0])

    @property
    def network(self) -> TwoLayer:
        """The network, with W = 0: the statements do not depend on W."""
        return TwoLayer(
            np.zeros((len(self.a), len(self.X[0]))), np.array(self.a), Activation("tanh")
        )

    @property
    def data(self) -> Data:
        """The samples."""
        return Data(np.array(self.X), np.array(self.y))

    def value(self, points: Array) -> Array:
        """Return f at points (m, p d), W row by row."""
        W = points.reshape(len(points), len(self.a), -1)
        u = np.tanh(W @ np.array(self.X).T)
        r = np.einsum("j,mji->mi", np.array(self.a), u) - np.array(self.y)
        penalty = 0.5 * float(self.lam) * np.einsum("mk,mk->m", points, points)
        return np.asarray(0.5 * np.mean(r * r, axis=1) + penalty)

    @property
    def largest_data_part(self) -> float:
        """Return a bound of the data part of f, as a float."""
        reach = np.abs(self.y) + np.sum(np.abs(self.a))
        return float(0.5 * np.mean(reach**2))


GAP_CASES = (
    GapCase("1 neuron, 1 input", ((1.0,), (2.0,)), (0.5, -0.5), (0.5,), Fraction(1, 2)),
    GapCase(
        "1 neuron, 2 inputs",
        ((1.0, 0.0), (0.5, 1.0), (-1.0, 0.5)),
        (0.5, -0.25, 0.25),
        (0.5,),
        Fraction(1, 2),
    ),
    GapCase("2 neurons, 1 input", ((1.0,), (-0.5,)), (1.0, 0.5), (1.0, 0.5), Fraction(1, 4)),
    GapCase("2 neurons, convex", ((1.0,), (-0.5,)), (0.5, 0.25), (0.5, 0.5), Fraction(2)),
)
TEMPERATURES = (Fraction(3, 10), Fraction(1), Fraction(3))


def gaps(
    cases: Sequence[GapCase] = GAP_CASES,
    temperatures: Sequence[Fraction] = TEMPERATURES,
    *,
    points: Mapping[int, int] | None = None,
) -> Outcome:
    """Measure the spectral gap of each case and hold the proved lower bounds against it."""
    rows: Rows = []
    unmet: list[str] = []
    certificates = []
    for case in cases:
        for s in temperatures:
            what = f"{case.name}, s = {s}"
            found = certify(
                case.network,
                case.data,
                declared({"outer": "frozen", "weight_decay": str(case.lam), "s": str(s)}),
                what,
            )
            certificates.append(found)
            radius = confining_radius(float(case.lam), float(s), case.largest_data_part)
            measured = measure_spectral_gap(
                case.value,
                dimension=case.dimension,
                s=float(s),
                radius=radius,
                points=(points or {}).get(case.dimension),
            )
            proved = {name: numbers_of(found)[name].lo_float for name in RATES
                      if name in numbers_of(found)}  # fmt: skip
            if HOLLEY_STROOCK not in proved or COUPLING not in proved:
                unmet.append(f"{what}: expected two proved rates, but got {sorted(proved)}")
                continue
            spread = measured.spread or 0.0
            unmet += [
                f"{what}: expected {name} <= the measured gap {measured.value:.6g}, "
                f"but got {rate:.6g}"
                for name, rate in proved.items()
                if rate > measured.value + spread
            ]
            best = max(proved.values())
            rows.append(
                {
                    "case": case.name,
                    "s": f"{float(s):g}",
                    "gap, measured": f"{measured.value:.4f} ± {spread:.1g}",
                    "Holley-Stroock": f"{proved[HOLLEY_STROOCK]:.3g}",
                    "coupling": f"{proved[COUPLING]:.3g}",
                    "convexity": f"{proved[CONVEX]:.3g}" if CONVEX in proved else "-",
                    "best / gap": f"{best / measured.value:.2g}",
                }
            )
    return Outcome(
        "Spectral gaps: measured on a grid, and the proved lower bounds", rows, unmet, certificates
    )
