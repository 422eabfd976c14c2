"""Loss curves against the certified bound."""

from __future__ import annotations

from collections.abc import Sequence

from verify_conditions.expressivity.ee_certificate import Recorded
from verify_conditions.figures import curves_figure


def loss_figure(title: str, records: Sequence[Recorded], words: Sequence[str] = ()) -> str:
    """Return a figure: the upper end of the enclosed loss and its bound, both axes logarithmic.

    Step t is drawn at t + 1, so that the switch itself is seen.

    Args:
        title: names the loss and its unit.
        records: of the run.
        words: sentences under the title.
    """
    return curves_figure(
        title,
        {
            "training loss": [(r.step + 1, r.high) for r in records],
            "certified bound": [(r.step + 1, r.bound) for r in records],
        },
        x_label="steps after the switch, plus 1 (both axes logarithmic)",
        y_label="loss",
        words=words,
        dashed=("certified bound",),
    )
