"""What both reports say about a claim: the same words in the terminal and on the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

from verify_reports import _numbers
from verify_reports._text import capitalised, clean

Record = Mapping[str, Any]

SYMBOLS = {"pass": "✓", "fail": "✗", "undecided": "?", "not applicable": "-"}
_FEW_ENTRIES = 36
NOTHING_FOLLOWS = "hypothesis false; nothing follows from this"


class Certificate(Protocol):
    """The part of a certificate that a report reads."""

    claim: Any
    provenance: Any
    guidance: tuple[str, ...]


def verdict_words(verdict: str) -> str:
    """Return the verdict with its symbol, so that colour is never needed."""
    return f"{SYMBOLS.get(verdict, '?')} {clean(verdict)}"


def outcome(route: Record) -> str:
    """Return what came of a route and what that means for the goal."""
    truth, direction = route["truth"], route["direction"]
    if truth == "skipped":
        return "not tried"
    if truth == "proved":
        return "proved" if direction != "necessary" else "proved; necessary only, not enough alone"
    if truth == "refuted":
        return NOTHING_FOLLOWS if direction == "sufficient" else "refuted, so the goal is false"
    return "undecided"


def outcome_why(route: Record) -> str:
    """Return the reason behind the outcome, unless the outcome says it already."""
    why = clean(route["why"])
    return "" if "nothing follows" in why else why


def deciding(claim: Record) -> Record | None:
    """Return the route that decided the verdict."""
    return next((r for r in claim["routes"] if r["name"] == claim["decided_by"]), None)


def tried(claim: Record) -> list[Record]:
    """Return the routes that were tried, in their order."""
    return [route for route in claim["routes"] if route["truth"] != "skipped"]


def skipped(claim: Record) -> list[Record]:
    """Return the routes that were not tried."""
    return [route for route in claim["routes"] if route["truth"] == "skipped"]


def margins(route: Record) -> Iterator[Record]:
    """Yield the margins of all statements of a route."""
    for statement in route["statements"]:
        yield from statement["margins"]


def margin_words(margin: Record) -> str:
    """Return how much room a relation has left, or by how much it is missed."""
    lo, hi = _numbers.ends(margin)
    if lo > 0:
        return f"room {_numbers.down(lo)}"
    if hi < 0:
        return f"missed by {_numbers.down(-hi)}"
    if lo == hi == 0:
        return "exactly at the threshold"
    if isinstance(lo, float) and isinstance(hi, float):
        return "margin not bounded"
    return f"margin in {_numbers.interval(margin)}"


def margin_headline(claim: Record) -> str:
    """Return the smallest margin of the deciding route, for a table."""
    route = deciding(claim)
    found = list(margins(route)) if route is not None else []
    if not found:
        return "exact" if route is not None else "—"
    return margin_words(min(found, key=lambda margin: _numbers.ends(margin)[0]))


def title_of(claim: Record) -> str:
    """Return the title of the strongest route for a table."""
    route = deciding(claim)
    return "—" if route is None else capitalised(route["title"])


def cost_of(provenance: Record, route: str | None = None) -> str:
    """Return the time of a route or of the whole condition."""
    cost = provenance.get("cost") or {}
    value = cost.get("total_s") if route is None else (cost.get("routes") or {}).get(route)
    try:
        return _numbers.seconds(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "—"


def evidence_lines(route: Record) -> list[tuple[str, str, str]]:
    """Return (symbol or empty, value in words, how) for each quantity and fact of a route."""
    lines = []
    for symbol, found in route["quantities"].items():
        value = _numbers.related(*_numbers.ends(found))
        how = clean(found["why_open"] or found["how"])
        lines.append((clean(symbol), value, f"{clean(found['meaning'])}; {how}"))
    for found in route["facts"].values():
        how = clean(found["why_open"] or found["how"])
        lines.append(("", f"{clean(found['meaning'])}: {clean(found['truth'])}", how))
    return lines


def consequence_words(item: Record) -> str:
    """Return the number: an enclosure if it is proved, marked as measured if it is not."""
    if item["rigorous"]:
        lo, hi = _numbers.ends(item)
        if isinstance(lo, float) and not isinstance(hi, float):
            return f"at most {_numbers.up(hi)}"
        if isinstance(hi, float) and not isinstance(lo, float):
            return f"at least {_numbers.down(lo)}"
        return _numbers.interval(item)
    value = _numbers.approximate(float.fromhex(item["measured"]))
    spread = item.get("spread")
    more = f" ± {_numbers.approximate(float.fromhex(spread))}" if spread else ""
    return f"about {value}{more} (measured, not proved)"


def guidance_label(claim: Record) -> str:
    """Return what the guidance of a certificate is: a limit of the proof or a way to one."""
    return {"pass": "how far it holds", "not applicable": "what to do"}.get(
        claim["verdict"], "next step"
    )


def file_of(certificate: Certificate) -> str:
    """Return the file the network came from, or a dash."""
    return clean(certificate.provenance.get("file") or "—")


def commands(certificate: Certificate) -> str:
    """Return the command that checks this network for this condition again."""
    import shlex

    claim, name = certificate.claim, clean(certificate.claim["condition"]["name"])
    recorded = certificate.provenance.get("command")
    if recorded:
        return clean(recorded)
    words = ["verify", "check", clean(certificate.provenance.get("file") or "model.npz")]
    words += ["--condition", name]
    for key, value in claim["settings"].items():
        words += ["--set", f"{name}.{clean(key)}={clean(value)}"]
    return shlex.join(words)


def small_tensors(certificate: Certificate) -> list[tuple[str, list[list[str]]]]:
    """Return stored tensors of few entries by role, in the shortest decimals that read back."""
    shown = []
    for role, entry in certificate.claim["tensors"].items():
        shape = entry["shape"]
        array = getattr(certificate, "network", {}).get(role)
        if array is None or len(shape) not in (1, 2) or not 0 < math.prod(shape) <= _FEW_ENTRIES:
            continue
        rows = array.tolist() if len(shape) == 2 else [[number] for number in array.tolist()]
        shown.append((clean(role), [[repr(number) for number in row] for row in rows]))
    return shown


def threshold(statement: Record) -> tuple[Fraction, str] | None:
    """Return (bound, relation) if the statement compares one expression with a number.

    The relation is turned so that the number is on its right.
    """
    tree = statement["tree"]
    if not isinstance(tree, Sequence) or len(tree) != 3:
        return None
    flipped = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
    relation, left, right = tree
    if relation not in flipped or len(statement["margins"]) != 1:
        return None
    bound = _constant(right)
    if bound is not None:
        return bound, relation
    bound = _constant(left)
    return None if bound is None else (bound, flipped[relation])


def _constant(tree: Any) -> Fraction | None:
    try:
        if tree[0] == "integer":
            return Fraction(int(tree[1]))
        if tree[0] == "rational":
            return Fraction(int(tree[1]), int(tree[2]))
    except (IndexError, ValueError, TypeError, ZeroDivisionError):
        pass
    return None
