"""The parts of a witness as words and numbers, rounded outward where they bound something."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from verify_reports import _numbers
from verify_reports._text import clean, counted

Data = Mapping[str, Any]

_IN_LINE = 6
_ENTRIES = 8
_WHOLE = 80  # bits
_BITS = 1000  # within the range of binary64
_DIGITS = 5
_ORDERS = ("value", "first derivative", "second derivative", "third derivative")
_ARGUMENTS = {
    "constant": "it has the same value for every t, since what moves cancels or the data miss it",
    "one side": "the moved pre-activations go to a side on which σ is bounded, or stay",
    "cancelling": "the linear parts of σ cancel in the two neurons, and the rest is bounded",
}


class AbsentPartError(ValueError):
    """A sentence speaks about a part that the witness does not have."""


class Part:
    """A part of a witness, which a template shows in the form that it names."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __format__(self, form: str) -> str:
        if self.value is None or self.value == []:
            raise AbsentPartError
        return _FORMS[form or "text"](self.value)


def entry(value: Fraction) -> str:
    """Return an entry: exact if that is short, else as binary64 text if it is such a number."""
    short = _numbers.rational(value)
    if "…" not in short:
        return short
    if max(value.numerator.bit_length(), value.denominator.bit_length()) < _BITS:
        near = float(value)
        if Fraction(near) == value:
            return repr(near)
    return short


def vector(value: Sequence[Fraction]) -> str:
    """Return a short vector whole, a long one by its few nonzero or its first entries."""
    size, live = len(value), [k for k, entry in enumerate(value) if entry != 0]
    if not live:
        return f"0 ({counted(size, 'entry').replace('entrys', 'entries')})"
    if size <= _IN_LINE:
        return f"({', '.join(map(entry, value))})"
    if len(live) <= 2:
        places = [f"{entry(value[k])} at entry {k + 1}" for k in live]
        return f"({', '.join(places)}, 0 at the other {size - len(live)})"
    first = ", ".join(map(entry, value[:3]))
    return f"({first}, …; {size} entries)"


def cell(value: Any) -> str:
    """Return an entry of a table: an exact number or the ends of an enclosure."""
    if isinstance(value, Fraction):
        return entry(value)
    lo, hi = map(_exact, value)
    return _numbers.between(lo, hi, _DIGITS)


def _exact(value: Any) -> Fraction:
    """Return a stored number; text is none, whatever it says."""
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        raise TypeError(f"witness: expected an exact number, but got {clean(value)[:40]!r}")
    return Fraction(value)


def label(value: Any) -> str:
    """Return the label of a row."""
    return _numbers.rational(_exact(value)) if isinstance(value, int) else clean(value)


def _range(value: Any) -> str:
    return _numbers.related(*map(_exact, value))


def _bound(value: Any) -> str:
    """Return on which side of 0 a number lies and how far."""
    lo, hi = map(_exact, value)
    return f"at least {_numbers.down(lo)}" if lo > 0 else f"at most {_numbers.up(hi)}"


def _number(value: Any) -> str:
    """Return a number whole where it fits in a line, so that it can be put in."""
    if isinstance(value, str):
        return clean(value)
    exact = _exact(value)
    whole = exact.numerator.bit_length() + exact.denominator.bit_length() < _WHOLE
    return str(exact) if whole else _numbers.rational(exact)


def _listed(value: Sequence[int], first: int) -> str:
    """Return positions counted from ``first``, the first few of them."""
    shown = ", ".join(str(int(k) + first) for k in value[:_ENTRIES])
    return shown + (f", … ({len(value)} in all)" if len(value) > _ENTRIES else "")


_FORMS: Mapping[str, Callable[[Any], str]] = {
    "text": clean,
    "number": _number,
    "range": _range,
    "bound": _bound,
    "most": lambda value: _numbers.up(_exact(value)),
    "nr": lambda value: str(value + 1),
    "nrs": lambda value: _listed(value, 1),
    "places": lambda value: _listed(value, 0),
    "vector": vector,
}


# --- further parts of single kinds ---------------------------------------------------------------


def outer_layer(data: Data) -> Data:
    """Return which outer weights move, and how many."""
    moved = [
        f"a_{j + 1} = {_times(s)}" for j, s in zip(data["neurons"], data["signs"], strict=True)
    ]
    rows = " = ".join(f"w_{j + 1}" for j in data["neurons"])
    return {"moves": f"{', '.join(moved)} and {rows} = w0", "count": len(moved)}


def polynomial(data: Data) -> Data:
    """Return how the two neurons move and the degree of V_s in t."""
    j, k = (index + 1 for index in data["neurons"])
    same = data["root"] is None
    moves = f"w_{j} = w_{k} = t v" if same else f"w_{j} = t v and w_{k} = α t v"
    return {"moves": moves, "j": j, "k": k, "top": 2 * (data["degree"] - 1)}


def ray(data: Data) -> Data:
    """Return what moves along a ray; equal directions are told once."""
    lines: list[str] = []
    rows: dict[tuple[Fraction, ...], list[str]] = {}
    parts = zip(data["roles"], data["neurons"], data["directions"], strict=True)
    for role, j, direction in parts:
        if role == "W":
            rows.setdefault(tuple(direction), []).append(f"w_{j + 1}")
        else:
            name = clean(role) if role == "c" else f"{clean(role)}_{j + 1}"
            lines.append(f"{name} = {_times(direction[0])}")
    for at, (direction, names) in enumerate(rows.items()):
        letter = "v" + "′" * at
        lines.append(f"{' = '.join(names)} = t {letter} with {letter} = {vector(direction)}")
    told = _ARGUMENTS.get(data.get("argument", ""), "f stays bounded")
    return {"moves": ", ".join(lines), "argument_words": told}


def kink(data: Data) -> Data:
    """Return which derivative jumps."""
    return {"order_words": _ORDERS[data["order"]]}


def hessian(data: Data) -> Data:
    """Return what grows."""
    grows = "c = t" if data["k"] is None else f"w_{data['k'] + 1} = t v"
    return {"moves": grows}


def spanning(data: Data) -> Data:
    """Return what holds where full rank alone is enough."""
    return {"rank_alone": "grows to one side at both ends" if data["weights"] is None else None}


def zeros(data: Data) -> Data:
    """Return numbers for the zeros, from 1 on."""
    return {"index": list(range(1, len(data["zeros"]) + 1))}


def curvature(data: Data) -> Data:
    """Return the entries in which the direction is largest, with the weights there."""
    found = [
        (f"{role}_{place}", value, along)
        for role in "Wbac"
        for place, value, along in _entries(role, data)
    ]
    chosen = sorted(range(len(found)), key=lambda k: (-abs(found[k][2]), k))[:_ENTRIES]
    kept = [found[k] for k in sorted(chosen)]
    names, at, along = (list(column) for column in zip(*kept, strict=True))
    return {"entries": names, "at": at, "along": along, "hidden": len(found) - len(kept)}


def _entries(role: str, data: Data) -> list[tuple[str, Fraction, Fraction]]:
    """Return (place, weight, direction); what does not move is left out, except for W."""
    at, along = data[role], data[f"direction {role}"]
    if role == "W":
        return [
            (f"{j + 1},{k + 1}", value, part)
            for j, (row, moved) in enumerate(zip(at, along, strict=True))
            for k, (value, part) in enumerate(zip(row, moved, strict=True))
        ]
    if at is None or along is None:
        return []
    pairs = [(at, along)] if isinstance(at, Fraction) else zip(at, along, strict=True)
    return [(str(j + 1), value, part) for j, (value, part) in enumerate(pairs) if part != 0]


def _times(factor: Any) -> str:
    """Return ``t``, ``-t`` or ``2 t``."""
    sign = {1: "t", -1: "-t"}
    return sign.get(factor) or f"{_numbers.rational(_exact(factor))} t"
