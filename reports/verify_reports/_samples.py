"""Samples and checkpoints of a claim as tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from verify.enclosure import endpoint_from_hex
from verify_reports import _numbers
from verify_reports._text import clean, counted

Record = Mapping[str, Any]

# Certificates are stored with sorted keys; these come first, in this order.
_FIRST = ("checkpoint", "f", "squared_gradient_norm", "V_s", "drift_margin")


def headline(samples: Record) -> str:
    """Return ``3 of 3 checkpoints certified``."""
    total = counted(samples["total"], clean(samples["unit"]))
    return f"{samples['certified']} of {total} certified"


def heading(key: str) -> str:
    """Return a key as words: ``drift margin``, but ``V_s``."""
    return re.sub(r"_(?=\w\w)", " ", clean(key))


def table(samples: Record, most: int, brief: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows; columns that say nothing are left out.

    Args:
        samples: of a claim.
        most: rows that are shown.
        brief: an enclosure by the digits that its ends share.
    """
    rows = samples["rows"][:most]
    keys = [key for key in (rows[0] if rows else {}) if any(_says(row.get(key)) for row in rows)]
    keys.sort(key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
    heads = [heading(key) for key in keys]
    return heads, [[_cell(key, row.get(key), brief) for key in keys] for row in rows]


def _says(value: Any) -> bool:
    return value is not None and value != ""


def _cell(key: str, value: Any, brief: bool) -> str:
    """Return one entry of a sample; a distance is the upper end of its enclosure."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not _says(value):
        return "—"
    if isinstance(value, list | tuple):  # the two ends of an enclosure
        lo, hi = (endpoint_from_hex(clean(end)) for end in value)
        return _numbers.leading(lo, hi) if brief else _numbers.between(lo, hi, 5)
    text = clean(value)
    if not re.fullmatch(r"-?0x[0-9a-f.]+p[+-]?[0-9]{1,6}", text):
        return text
    end = endpoint_from_hex(text)
    return f"≤ {_numbers.up(end, 3)}" if key == "distance" else _numbers.between(end, end)
