"""Witnesses as small tables that a person can check by hand or with a few lines of code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from verify.errors import EnclosureError
from verify_reports import _numbers, _rank_witness, _risk_witness, _training_witness
from verify_reports._encoded import exact
from verify_reports._shown import CUT, MOST_ROWS, Shown
from verify_reports._text import clean, counted, shorten

Record = Mapping[str, Any]

# kind -> (title, how to check it, whether a person can do that by hand)
_KINDS = {
    "two-equilibria": (
        "two different equilibria for one b",
        "Put z and z′ into z = σ(W z + b): both return themselves, and they differ. "
        "All numbers are exact rationals.",
        True,
    ),
    "input-with-two-equilibria": (
        "an input x with two different equilibria",
        "Compute b from x, then put z and z′ into z = σ(W z + b): both return themselves, and "
        "they differ. All numbers are exact rationals.",
        True,
    ),
    "input-without-equilibrium": (
        "an input x without any equilibrium",
        "Compute b from x; the vector y excludes every z with z = σ(W z + b). "
        "All numbers are exact rationals.",
        True,
    ),
    "two-enclosures": (
        "two disjoint boxes that hold an equilibrium each, for one b",
        "The boxes have no point in common, so there are two different equilibria.",
        True,
    ),
    "no-equilibrium": (
        "a b without any equilibrium",
        "The vector y excludes every z with z = σ(W z + b). All numbers are exact rationals.",
        True,
    ),
    "bad-minor": (
        "a principal minor that has the wrong sign",
        "The determinant of the rows and columns of the index set, computed exactly.",
        True,
    ),
    "positive-vector": (
        "a positive integer vector",
        "Each ratio of the matrix times the vector to the vector is at most the bound, which is "
        "checked in integers (Collatz-Wielandt).",
        False,
    ),
    "p-tree": (
        "a case tree for the signs of all principal minors",
        "Each leaf holds by a test that can be repeated in exact arithmetic.",
        False,
    ),
    "integer-cholesky": (
        "an integer lower-triangular factor",
        "What the factor leaves over is diagonally dominant with a diagonal ≥ 0, checked in "
        "integers, hence positive semidefinite.",
        False,
    ),
    "diagonal-lyapunov": (
        "a positive diagonal matrix Λ of powers of two for each strongly connected block",
        "With it S is positive definite, which a stored factor proves in integers.",
        False,
    ),
    "p0-tree": (
        "a case tree for the signs of all principal minors",
        "Each leaf holds by a test that can be repeated in exact arithmetic.",
        False,
    ),
    "complementary-vector": (
        "a vector z ≠ 0 that solves the complementarity problem with right side 0",
        "z ≥ 0, M z ≥ 0 and zᵢ (M z)ᵢ = 0 in every coordinate, for M = I - W.",
        True,
    ),
    "opposite-determinants": (
        "two diagonal matrices D for which det(I - D W) has opposite signs or is zero",
        "Both determinants are computed exactly.",
        True,
    ),
    "right-inverse": (
        "an approximate right inverse R",
        "‖I - M R‖₂ and ‖R‖₂ are bounded again from it.",
        False,
    ),
    "rank-modulo-prime": (
        "rows and columns that are independent modulo a prime",
        "Their rank is counted again in whole numbers modulo the prime.",
        False,
    ),
    "network-rank-modulo-prime": (
        "rows and columns of Z that are independent modulo a prime",
        "The network is evaluated again modulo the prime, and their rank counted in whole numbers.",
        False,
    ),
    "ball-minor": (
        "columns of Z whose determinant is not zero",
        "Their determinant is enclosed again at this precision.",
        False,
    ),
    "weights": (
        "the hidden weights at which the rank is proved",
        "Put them in place of the stored ones; what is not named here stays as it is stored.",
        False,
    ),
    "substitution-order": (
        "an order in which the equations are solved one after the other",
        "In this order each coordinate depends on earlier ones only.",
        False,
    ),
}
_PARTS = {"equilibria": ("z1", "z2")}
_HEADINGS = {"z1": "z", "z2": "z′"}


def of_route(route: Record) -> list[Shown]:
    """Return the witnesses of a route's facts, and those of quantities where they speak for it.

    The witness of a quantity proves the end of its enclosure on which the statement rests. Where a
    sufficient hypothesis is false the other end says so, and the witness would mislead.
    """
    misses = route["truth"] == "refuted" and route["direction"] == "sufficient"
    found = [] if misses else [*route["quantities"].values()]
    found += route["facts"].values()
    return [shown(item["witness"]) for item in found if item.get("witness")]


def shown(witness: Record) -> Shown:
    """Return a witness for display; vectors as long as the longest become columns of a table.

    What is stored in an unexpected form is shown as it is.
    """
    kind = clean(witness["kind"])
    for kinds in (_risk_witness.KINDS, _rank_witness.KINDS, _training_witness.KINDS):
        explained = _risk_witness.explained(kind, witness["data"], kinds)
        if explained is not None:
            return explained
    title, check, by_hand = _KINDS.get(kind, (kind.replace("-", " "), "", False))
    vectors: dict[str, list[str]] = {}
    facts: list[tuple[str, str]] = []
    for name, value in _parts(witness["data"]):
        vector = _vector(value)
        if vector is None:
            facts.append((name, _summary(value)))
        elif not _is_list(value):
            facts.append((name, vector[0]))
        else:
            vectors[name] = vector
    size = max(map(len, vectors.values()), default=0)
    columns = {k: v for k, v in vectors.items() if by_hand and len(v) == size and not _counts(k)}
    facts += [(name, _in_line(vector)) for name, vector in vectors.items() if name not in columns]
    picked = _picked(columns, size) if columns else []
    rows = tuple((str(k), *(vector[k] for vector in columns.values())) for k in picked)
    if any("…" in text for row in rows for text in row):
        check = f"{check} {CUT}".strip()
    return Shown(
        title=title,
        check=check,
        columns=("i", *(_HEADINGS.get(name, name) for name in columns)) if rows else (),
        rows=rows,
        facts=tuple(facts),
        hidden=size - len(rows) if rows else 0,
        by_hand=by_hand,
    )


def _parts(data: Record) -> Iterator[tuple[str, Any]]:
    """Yield names and values; equilibria become z1, z2, and absent values are left out."""
    for name, value in data.items():
        names = _PARTS.get(name)
        if names and isinstance(value, list) and len(value) <= len(names):
            yield from zip(names, value, strict=False)
        elif value is not None:
            yield clean(name), value


def _counts(name: str) -> bool:
    """Whether a vector holds positions, not coordinates."""
    return name.endswith(("_set", "order", "singletons", "block"))


def _in_line(vector: Sequence[str]) -> str:
    if len(vector) > MOST_ROWS:
        return f"{len(vector)} numbers, stored with the certificate"
    return f"[{', '.join(vector)}]"


def _picked(columns: Mapping[str, Sequence[str]], size: int) -> list[int]:
    """Choose the coordinates to show: all if few, else first those where z and z' differ."""
    order = list(range(size))
    if size > MOST_ROWS and "z1" in columns and "z2" in columns:
        order.sort(key=lambda k: (columns["z1"][k] == columns["z2"][k], k))
    return sorted(order[:MOST_ROWS])


def _vector(value: Any) -> list[str] | None:
    """Return the numbers of an encoded number or list of numbers as short text, else None."""
    single = _number(value)
    if single is not None:
        return [single]
    if isinstance(value, dict):
        inside = value.get("integers", value.get("rationals"))
        if len(value) != 1 or not isinstance(inside, list):
            return None
        kind = "integer" if "integers" in value else "rational"
        value = [{kind: item} for item in inside]
    if not isinstance(value, list):
        return None
    numbers = [_number(item) for item in value]
    return [n for n in numbers if n is not None] if None not in numbers else None


def _is_list(value: Any) -> bool:
    return isinstance(value, list) or (
        isinstance(value, dict) and ("integers" in value or "rationals" in value)
    )


def _number(value: Any) -> str | None:
    """Return an encoded number as short text; an ellipsis marks one that was cut."""
    if isinstance(value, dict) and len(value) == 1 and "enclosure" in value:
        try:
            return _numbers.interval(value["enclosure"])
        except (EnclosureError, KeyError, TypeError):
            return None
    number = exact(value)
    return None if number is None else _numbers.rational(number)


def _summary(value: Any) -> str:
    if isinstance(value, dict) and "tensor" in value:
        return "an array stored with the certificate"
    if isinstance(value, dict):
        return ", ".join(f"{clean(k)} {shorten(_summary(v), 40)}" for k, v in value.items())
    if isinstance(value, list):
        return counted(len(value), "part")
    return shorten(value, 200)
