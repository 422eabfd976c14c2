"""LaTeX to MathML that is safe to put into a page.

The converter returns text with entities resolved, so ``<script>`` inside a formula's text would
become markup. The element tree is therefore written out here: known element names only, all text
escaped.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape, unescape
from typing import Any

from verify_reports._text import clean

_ELEMENTS = {
    "math", "mrow", "mi", "mn", "mo", "mtext", "ms", "mspace", "msub", "msup", "msubsup",
    "mfrac", "msqrt", "mroot", "mover", "munder", "munderover", "mtable", "mtr", "mtd",
    "mstyle", "mpadded", "mphantom", "menclose", "mfenced",
}  # fmt: skip
_ATTRIBUTES = {
    "display", "stretchy", "fence", "form", "separator", "accent", "accentunder", "mathvariant",
    "columnalign", "lspace", "rspace", "linethickness", "movablelimits", "minsize", "maxsize",
    "displaystyle", "scriptlevel", "width", "depth", "height",
}  # fmt: skip
_NAMESPACE = "http://www.w3.org/1998/Math/MathML"


# Browsers no longer style script capitals; they are letters of their own.
_SCRIPT = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "𝒜ℬ𝒞𝒟ℰℱ𝒢ℋℐ𝒥𝒦ℒℳ𝒩𝒪𝒫𝒬ℛ𝒮𝒯𝒰𝒱𝒲𝒳𝒴𝒵", strict=True))


_FEW = 3
_TEXT = re.compile(r"\\(?:text|mathrm|textrm)\{([^{}\\$]*)\}")
_OPENING, _CLOSING = ("{", "(", "["), ("}", ")", "]")
_SIGNS = re.compile(r"(\\wedge(?![a-zA-Z])|\\[{}|]|[][(){}])")


@lru_cache(maxsize=1024)
def mathml(latex: str) -> str:
    """Return the formula as MathML; what cannot be converted is shown as its source."""
    from latex2mathml.converter import Converter

    try:
        return _written(Converter().convert_to_element(clean(latex)))
    except Exception:  # a formula of a plug-in must not cost the reader the report
        return f'<code class="latex">{escape(clean(latex))}</code>'


def wrapped(latex: str) -> str:
    """Return a formula as MathML that wraps between conjuncts, with whole words as text.

    Many conjuncts are a list.
    """
    words = [(_TEXT.fullmatch(part), part) for part in conjuncts(latex)]
    parts = [escape(text[1]) if text else mathml(part) for text, part in words]
    if len(parts) > _FEW:
        return f"<ul>{''.join(f'<li>{part}</li>' for part in parts)}</ul>"
    return " ∧ ".join(parts)


def conjuncts(latex: str) -> list[str]:
    """Split a formula at its outermost conjunctions, so that a long one can be wrapped."""
    parts, depth = [""], 0
    for piece in _SIGNS.split(clean(latex)):
        depth += (piece in _OPENING) - (piece in _CLOSING)
        if piece == r"\wedge" and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts] if depth == 0 else [latex]


def _written(element: Any) -> str:
    if element.tag not in _ELEMENTS:
        raise ValueError(f"mathml: expected a MathML element, but got {element.tag!r}")
    space = f' xmlns="{_NAMESPACE}"' if element.tag == "math" else ""
    attributes = "".join(
        f' {name}="{escape(str(value))}"'
        for name, value in element.attrib.items()
        if name in _ATTRIBUTES
    )
    if (
        element.tag == "mo"
        and unescape(element.text or "") in ("|", "‖")
        and "fence" not in element.attrib
    ):
        attributes += ' lspace="0" rspace="0"'  # a bar around a letter, not a relation
    text = unescape(element.text or "")
    if element.attrib.get("mathvariant") == "script":
        text, attributes = "".join(_SCRIPT.get(letter, letter) for letter in text), ""
    inside = escape(text) + "".join(_written(child) for child in element)
    return f"<{element.tag}{space}{attributes}>{inside}</{element.tag}>"
