"""Curves of the reproduction with students and teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from verify_conditions.figures import curves_figure
from verify_conditions.gradient_inequality.experiment_cases import Special
from verify_conditions.gradient_inequality.experiment_runs import Comparison, Descent

_NAMES = {"abs": "|.|", "relu": "ReLU"}
_DECAYS = {"t^-3": 3.0, "t^-2": 2.0, "t^-1": 1.0}
_EXPONENTS = {"slope 2/3": 2.0 / 3.0, "slope 3/4": 0.75, "slope 1": 1.0}
_LEAST = 1e-14


def figures(cases: Sequence[Comparison], special: Sequence[Special], words: str) -> list[str]:
    """Return the curves: decay and exponents by the number of students, and special networks.

    Args:
        cases: all comparisons; the fewest and the most orthogonal teachers are drawn.
        special: runs from special networks.
        words: said under the first figure.
    """
    found: list[str] = []
    for activation in ("abs", "relu"):
        numbers = sorted(
            {c.teachers for c in cases if c.activation == activation and "orthogonal" in c.name}
        )
        for r in dict.fromkeys([*numbers[:1], *numbers[-1:]]):
            chosen = {
                f"m = {c.width}": c.descents[0] for c in cases
                if c.activation == activation and c.name == f"{r}, orthogonal"
            }  # fmt: skip
            who = f"{_NAMES[activation]}, {r} teacher{'s' * (r > 1)}, seed 0"
            found.append(
                decay_figure(f"Loss against time: {who}", chosen, () if found else (words,))
            )
            found.append(exponent_figure(f"Gradient against loss: {who}", chosen, ()))
    starts = {run.case.name: run.descent for run in special}
    found.append(decay_figure("Loss against time from special networks, |.|", starts, ()))
    found.append(exponent_figure("Gradient against loss from special networks, |.|", starts, ()))
    return found


def decay_figure(title: str, cases: Mapping[str, Descent], words: Sequence[str]) -> str:
    """Return the enclosed loss against time, with the three predicted slopes."""
    lines = {name: _decay(descent) for name, descent in cases.items()}
    slow = max(lines.values(), key=lambda points: points[-1][1])
    start = slow[len(slow) // 2]
    end = max(points[-1][0] for points in lines.values())
    slopes = {
        name: [start, (end, start[1] * (end / start[0]) ** -power)]
        for name, power in _DECAYS.items()
    }
    return curves_figure(
        title, lines, x_label="t = step size times steps",
        y_label="population loss L", words=words, guides=slopes,
    )  # fmt: skip


def _decay(descent: Descent) -> list[tuple[float, float]]:
    return [(r.time, r.loss) for r in descent.records if r.time > 0.0 and r.loss > _LEAST]


def exponent_figure(title: str, cases: Mapping[str, Descent], words: Sequence[str]) -> str:
    """Return ||grad L|| against L along runs, with lines of the three exponents."""
    lines = {
        name: [(r.loss, r.gradient) for r in descent.records if r.loss > _LEAST]
        for name, descent in cases.items()
    }
    low = min(points[-1][0] for points in lines.values())
    high = max(points[0] for points in lines.values())
    slopes = {
        name: [high, (low, high[1] * (low / high[0]) ** power)]
        for name, power in _EXPONENTS.items()
    }
    return curves_figure(
        title, lines, x_label="population loss L", y_label="||grad L||",
        words=words, guides=slopes,
    )  # fmt: skip
