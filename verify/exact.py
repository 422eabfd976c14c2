"""Exact numbers in settings: decimals mean decimals, fractions fractions, hex floats doubles."""

from __future__ import annotations

import re
from fractions import Fraction

from verify.errors import SettingsError

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?")
_RATIO = re.compile(r"([+-]?\d+)\s*/\s*(\d+)")
_HEX = re.compile(r"[+-]?0x[0-9a-fA-F]+(\.[0-9a-fA-F]*)?p[+-]?\d{1,4}")

# Python refuses to read integers of more than 4,300 digits.
MAX_CHARACTERS = 4_000


def parse_exact(text: str | int | Fraction, *, where: str) -> Fraction:
    """Read ``0.01`` as 1/100, ``1/3`` as a third and ``0x1.8p-3`` as the double 3/16.

    Raises:
        SettingsError: the text is none of these; ``where`` names the setting.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | Fraction):
        raise SettingsError(
            f"{where}: expected an exact number as text, such as 0.01, 1/3 or 0x1.8p-3, "
            f"but got {text!r} of type {type(text).__name__}; quote it"
        )
    if isinstance(text, int | Fraction):
        return Fraction(text)
    stripped = text.strip()
    if len(stripped) > MAX_CHARACTERS:
        raise SettingsError(
            f"{where}: expected a number of at most {MAX_CHARACTERS} characters, "
            f"but got {len(stripped)}"
        )
    if match := _RATIO.fullmatch(stripped):
        if int(match[2]) == 0:
            raise SettingsError(f"{where}: expected a number, but got {text!r}, a division by zero")
        return Fraction(int(match[1]), int(match[2]))
    if _DECIMAL.fullmatch(stripped):
        return Fraction(stripped)
    if _HEX.fullmatch(stripped):
        try:
            return Fraction(float.fromhex(stripped))
        except OverflowError:
            pass
    raise SettingsError(
        f"{where}: expected an exact number such as 0.01, 1/3 or 0x1.8p-3, but got {text!r}"
    )
