"""Enclosed numbers over the checkpoints of a run, drawn as small lines with SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from verify.enclosure import endpoint_from_hex
from verify.errors import EnclosureError
from verify_reports import _numbers
from verify_reports._samples import heading

Record = Mapping[str, Any]

WIDTH, HEIGHT = 300, 80
_PAD = 8
_FEWEST = 4
_SHOWN = ("f", "V_s", "drift_margin")
_NOT_OF_THE_RUN = "the checked network"


@dataclass(frozen=True)
class Trend:
    """A line through the middles of the enclosures; ``zero`` is the height of 0 if it is seen."""

    name: str
    points: str
    words: str
    zero: float | None


def trends(samples: Record) -> Iterator[Trend]:
    """Yield a line for f, V_s and the drift margin if there are enough checkpoints."""
    rows = [row for row in samples["rows"] if row.get("checkpoint") != _NOT_OF_THE_RUN]
    if samples["unit"] != "checkpoint" or len(rows) < _FEWEST:
        return
    for key in _SHOWN:
        found = [_ends(row.get(key)) for row in rows]
        kept = [ends for ends in found if ends is not None]
        if len(kept) == len(rows):
            yield _trend(heading(key), kept)


def _ends(value: Any) -> tuple[Fraction, Fraction] | None:
    """Return the ends of a stored enclosure, None unless both are finite."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    try:
        lo, hi = (endpoint_from_hex(str(end)) for end in value)
    except EnclosureError:
        return None
    return (lo, hi) if isinstance(lo, Fraction) and isinstance(hi, Fraction) else None


def _trend(name: str, found: list[tuple[Fraction, Fraction]]) -> Trend:
    low, high = min(lo for lo, _ in found), max(hi for _, hi in found)
    size = high - low or Fraction(1)

    def height(value: Fraction) -> float:
        return float(HEIGHT - _PAD - (HEIGHT - 2 * _PAD) * (value - low) / size)

    step = (WIDTH - 2 * _PAD) / (len(found) - 1)
    places = [(_PAD + k * step, height((lo + hi) / 2)) for k, (lo, hi) in enumerate(found)]
    return Trend(
        name=name,
        points=" ".join(f"{x:.2f},{y:.2f}" for x, y in places),
        words=f"from {_numbers.leading(*found[0])} to {_numbers.leading(*found[-1])} over the "
        f"run, all between {_numbers.down(low, 4)} and {_numbers.up(high, 4)}",
        zero=height(Fraction(0)) if low <= 0 <= high else None,
    )
