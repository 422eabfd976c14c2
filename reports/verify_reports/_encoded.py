"""The numbers of a stored witness, read without the libraries that made them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from verify.enclosure import endpoint_from_hex


def exact(value: Any) -> Fraction | None:
    """Read an encoded integer or rational number, else return None."""
    if type(value) is int:
        return Fraction(value)
    if not isinstance(value, dict) or len(value) != 1:
        return None
    try:
        if "integer" in value:
            return Fraction(int(str(value["integer"]), 0))
        if "rational" in value:
            above, below = (int(str(part), 0) for part in value["rational"])
            return Fraction(above, below)
    except (ValueError, TypeError, ZeroDivisionError):
        pass
    return None


def decoded(value: Any) -> Any:
    """Read an encoded value: integers, rationals, enclosures as pairs, lists, text, None.

    Raises:
        ValueError: another value, an array among them.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, list):
        return [decoded(item) for item in value]
    number = exact(value)
    if number is not None and isinstance(value, dict):
        return int(number) if "integer" in value else number
    match value:
        case {"integers": list(items), **rest} if not rest:
            return [decoded({"integer": item}) for item in items]
        case {"rationals": list(items), **rest} if not rest:
            return [decoded({"rational": item}) for item in items]
        case {"enclosure": {"lo": lo, "hi": hi}, **rest} if not rest:
            return [endpoint_from_hex(str(lo)), endpoint_from_hex(str(hi))]
    raise ValueError("witness: expected encoded numbers, lists and text, but got something else")
