"""Text from files and plug-ins, made harmless for a terminal or a page."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

# CSI and OSC sequences, other two-byte escapes: removed whole, so that no half of one remains.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_WORD = re.compile(r"[^\W\d_]{2,}(?=[\s,.:;-]|$)|a(?= [a-z]{2})")
_SYMBOLS = {"lambda", "sigma", "kappa", "eta", "tau"}
_INVISIBLE = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # controls, bidi overrides, surrogates


def clean(value: Any) -> str:
    """Return one line of visible text: no escape sequence, no control or direction character."""
    text = re.sub(r"[\t\r\n]+", " ", _ESCAPES.sub("", str(value)))
    return "".join("�" if unicodedata.category(letter) in _INVISIBLE else letter for letter in text)


def shorten(value: Any, longest: int) -> str:
    """Return the text with its middle left out if it is longer than ``longest``."""
    text = clean(value)
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def capitalised(value: Any) -> str:
    """Return the text with its first letter in upper case, unless it begins with a symbol.

    ``f``, ``gLip``, ``lambda`` and ``a_1`` mean something else in upper case.
    """
    text = clean(value)
    word = _WORD.match(text)
    if word is None or not word[0].islower() or word[0] in _SYMBOLS:
        return text
    return text[:1].upper() + text[1:]


def counted(count: int, noun: str) -> str:
    """Return ``1 sample``, ``2 samples``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
