"""Witnesses as small tables that a person can check by hand or with a few lines of code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from verify_reports import _numbers
from verify_reports._text import clean, counted, shorten

Record = Mapping[str, Any]

MOST_ROWS = 12
_LONGEST = 22

# kind -> (title, how to check it, whether a person can do that with pencil and paper). "b" and "z" are the letters of z = sigma(W z + b).
_KINDS = {
    "two-equilibria": (
        "two different equilibria for one b",
        "Put z and z′ into z = σ(W z + b): both return themselves, and they differ. "
        "All numbers are exact rationals.",
        True,
    ),
    "no-equilibrium": (
        "a b without any equilibrium",
        "y ≥ 0, y ≠ 0 and (I - W)ᵀ y ≤ 0; for b = y no z ≥ 0 can satisfy (I - W) z ≥ b.",
        True,
    ),
    "positive-vector": (
        "a positive integer vector v",
        "|W| v < c v in every coordinate proves that the Perron root of |W| is below c "
        "(Collatz-Wielandt); integers, so the check is exact.",
        False,
    ),
    "bad-minor": (
        "a principal minor of I - W that is not positive",
        "The determinant of the rows and columns named is the number given, computed exactly.",
        True,
    ),
    "p-tree": (
        "a case tree that proves every principal minor of I - W positive",
        "Each leaf holds by a test that is checked in exact arithmetic.",
        False,
    ),
    "integer-cholesky": (
        "an integer lower-triangular factor L",
        "c² I - AᵀA - L Lᵀ is diagonally dominant in exact integer arithmetic, so ‖A‖₂ ≤ c.",
        False,
    ),
}


@dataclass(frozen=True)
class Shown:
    """A witness to be shown: a title, how to check it, and a table of named columns."""

    title: str
    check: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    hidden: int = 0
    by_hand: bool = False

    def lines(self, *, width: int) -> Iterator[str]:
        """Yield the witness as lines of text, the table with aligned columns."""
        if self.check:
            yield self.check
        for name, text in self.facts:
            yield f"{name} = {shorten(text, max(20, width - len(name) - 3))}"
        if self.rows:
            table = [self.columns, *self.rows]
            sizes = [max(len(row[k]) for row in table) for k in range(len(self.columns))]
            for row in table:
                yield "  ".join(text.rjust(size) for text, size in zip(row, sizes, strict=True))
        if self.hidden:
            yield f"… {counted(self.hidden, 'more coordinate')}, stored with the certificate"


def of_route(route: Record) -> list[Shown]:
    """Return the witnesses of a route's quantities and facts."""
    found = [*route["quantities"].values(), *route["facts"].values()]
    return [shown(item["witness"]) for item in found if item.get("witness")]


def shown(witness: Record) -> Shown:
    """Return a witness for display; vectors of one length become the columns of a table."""
    kind = clean(witness["kind"])
    title, check, by_hand = _KINDS.get(kind, (kind.replace("-", " "), "", False))
    vectors, facts = {}, []
    for name, value in witness["data"].items():
        vector = _vector(value)
        if vector is not None and len(vector) > 1:
            vectors[clean(name)] = vector
        else:
            facts.append((clean(name), _summary(value) if vector is None else _scalar_row(vector)))
    size = max(map(len, vectors.values()), default=0)
    columns = {name: vector for name, vector in vectors.items() if len(vector) == size}
    facts += [
        (name, ", ".join(vector[:MOST_ROWS]) + (", …" if len(vector) > MOST_ROWS else ""))
        for name, vector in vectors.items()
        if name not in columns
    ]
    picked = _picked(columns, size)
    rows = tuple((str(k + 1), *(vector[k] for vector in columns.values())) for k in picked)
    heads = tuple({"z1": "z", "z2": "z′"}.get(name, name) for name in columns)
    return Shown(title, check, ("i", *heads) if rows else (), rows, tuple(facts), size - len(rows), by_hand)


def _picked(columns: Mapping[str, Sequence[str]], size: int) -> list[int]:
    """Choose the coordinates to show: all if few, else first those where z and z' differ."""
    order = list(range(size))
    if size > MOST_ROWS and "z1" in columns and "z2" in columns:
        order.sort(key=lambda k: (columns["z1"][k] == columns["z2"][k], k))
    return sorted(order[:MOST_ROWS])


def _scalar_row(vector: Sequence[str]) -> str:
    return vector[0] if vector else "empty"


def _vector(value: Any) -> list[str] | None:
    """Return the numbers of a flat list (or of a single number) as short text, else None."""
    if isinstance(value, list):
        numbers = [_number(item) for item in value]
        return [n for n in numbers if n is not None] if None not in numbers else None
    number = _number(value)
    return None if number is None else [number]


def _number(value: Any) -> str | None:
    exact = _exact(value)
    if exact is None:
        return None
    if exact.denominator.bit_length() < 60 and exact.numerator.bit_length() < 60:
        text = str(exact)
        if len(text) <= _LONGEST // 2:
            return text
    return _numbers.exact_decimal(exact) or f"{_numbers.down(exact, 8)}…"


def _exact(value: Any) -> Fraction | None:
    """Read an encoded integer or rational number."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return Fraction(value)
    except (ValueError, ZeroDivisionError):
        return None


def _summary(value: Any) -> str:
    if isinstance(value, dict):
        parts = [f"{clean(key)} {shorten(_summary(item), 40)}" for key, item in value.items()]
        return ", ".join(parts)
    if isinstance(value, list):
        return f"{counted(len(value), 'entry').replace('entrys', 'entries')}"
    return shorten(value, 200)
