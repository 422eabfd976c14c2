"""What both reports say about a claim: the same words in the terminal and on the page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

from verify_reports import _numbers
from verify_reports._text import capitalised, clean, counted, shorten

Record = Mapping[str, Any]

SYMBOLS = {"pass": "✓", "fail": "✗", "undecided": "?", "not applicable": "-"}
_FEW_ENTRIES = 36
_FEW_STEPS = 6
_ALLOWED = ", which is allowed"
_FEW_FACTS = 3
_EXACTLY = re.compile(r"exactly (-?[0-9]{1,300}(?:/[1-9][0-9]{0,299})?)(?=$|[;,])")
_SIDE = r"(?:[^()<>&|,]|\([^()<>&|]*\))*"
_RELATION = re.compile(rf"(?<![^ (])\(({_SIDE}[<>]=?{_SIDE})\)")
_COMPARED = re.compile(r"\\[lg]eq?(?![a-z])|[<>]")
_SHOWN_ROLES = ("weight.", "input.")
NOTHING_FOLLOWS = "hypothesis false; nothing follows from this"


class Certificate(Protocol):
    """The part of a certificate that a report reads."""

    claim: Any
    provenance: Any
    guidance: tuple[str, ...]


def steps(network: Record) -> list[str]:
    """Return the steps of the equation of a network, or none where they fit in one sentence."""
    found = [part.strip() for part in clean(network["equation"]).split("; ")]
    return found if len(found) > _FEW_STEPS else []


def step_names(parts: Sequence[str]) -> str:
    """Return ``61 steps, from conv1 to linear2``."""
    first, last = (parts[k].partition(" = ")[0] for k in (0, -1))
    return f"{counted(len(parts), 'step')}, from {first} to {last}"


def verdict_words(verdict: str) -> str:
    """Return the verdict with its symbol, so that colour is never needed."""
    return f"{SYMBOLS.get(verdict, '?')} {clean(verdict)}"


def outcome(claim: Record, route: Record) -> str:
    """Return what came of a route and what that means for the goal of the claim.

    A route may speak about another goal: that not every b has one solution does not say that
    some input has none or several.
    """
    truth, direction = route["truth"], route["direction"]
    if truth == "skipped":
        return "not tried"
    if truth == "proved":
        return "proved" if direction != "necessary" else "proved; necessary only, not enough alone"
    if truth != "refuted":
        return "undecided"
    if direction == "sufficient":
        return NOTHING_FOLLOWS
    if route["goal"] == claim["goal"]["name"] or route["name"] == claim["decided_by"]:
        return "refuted, so the goal is false"
    if any(route["goal"] == item["name"] for item in claim["side_statements"]):
        return "refuted"
    return f"refuted for the goal {clean(route['goal'])} only; nothing follows for the goal here"


def outcome_why(route: Record) -> str:
    """Return the reason behind the outcome, unless the outcome says it already."""
    why = clean(route["why"])
    return "" if "nothing follows" in why else why


def evidence_tells(route: Record) -> bool:
    """Return whether the evidence of a route repeats why it is open."""
    found = [*route["quantities"].values(), *route["facts"].values()]
    return any(item["why_open"] and item["why_open"] in route["why"] for item in found)


def deciding(claim: Record) -> Record | None:
    """Return the route that decided the verdict."""
    return next((r for r in claim["routes"] if r["name"] == claim["decided_by"]), None)


def tried(claim: Record) -> list[Record]:
    """Return the routes to the verdict that were tried, the one that decided it first."""
    side = {item["name"] for item in claim["side_statements"]}
    first = [r for r in (deciding(claim),) if r is not None]
    rest = [r for r in claim["routes"] if r["truth"] != "skipped" and r["goal"] not in side]
    return first + [r for r in rest if r not in first]


def skipped(claim: Record) -> list[Record]:
    """Return the routes that were not tried."""
    return [route for route in claim["routes"] if route["truth"] == "skipped"]


def sides(claim: Record) -> list[tuple[Record, list[Record]]]:
    """Return each side statement with its routes, apart from the one that decided the verdict.

    No result of these turns the verdict.
    """
    tried_here = [
        r for r in claim["routes"]
        if r["truth"] != "skipped" and r["name"] != claim["decided_by"]
    ]  # fmt: skip
    return [
        (item, [r for r in tried_here if r["goal"] == item["name"]])
        for item in claim["side_statements"]
    ]


def side_words(claim: Record, item: Record) -> str:
    """Return a side statement, and where its proof stands if that also decides the verdict."""
    route, said = deciding(claim), clean(item["sentence"])
    above = route is not None and route["goal"] == item["name"]
    return f"{said} (by the route above that decides the verdict)" if above else said


def margins(route: Record) -> Iterator[Record]:
    """Yield the margins of all statements of a route."""
    for statement in route["statements"]:
        yield from not_by_choice(route, telling(statement))


def not_by_choice(route: Record, found: Sequence[Record]) -> list[Record]:
    """Return the margins without those that are left because a quantity was chosen to leave them.

    That a chosen radius is a little above the length that it has to contain says nothing, nor that
    a declared step is positive.
    """
    found_how = [(clean(q["latex"]), clean(q["how"])) for q in route["quantities"].values()]
    chosen = {latex for latex, how in found_how if how.startswith("chosen")}
    declared = {latex for latex, how in found_how if how == "as declared"}

    def is_free(margin: Record) -> bool:
        sides = {side.strip() for side in _COMPARED.split(margin["relation"])}
        told = sides & chosen or (sides & declared and "0" in sides)
        return not told or not _numbers.ends(margin)[0] > 0

    return [margin for margin in found if is_free(margin)] or list(found)


def telling(statement: Record) -> list[Record]:
    """Return the margins that speak for what came of a statement.

    Where it is refuted, the relations in it that are not are beside the point.
    """
    found = list(statement["margins"])
    if statement["truth"] != "refuted":
        return found
    missed = [margin for margin in found if not _numbers.ends(margin)[1] > 0]
    return missed or [margin for margin in found if not _numbers.ends(margin)[0] > 0]


def margin_words(margin: Record) -> str:
    """Return how much room a relation has left, or by how much it is missed."""
    lo, hi = _numbers.ends(margin)
    if lo > 0:
        return f"room {_numbers.down(lo)}"
    if hi < 0:
        return f"missed by {_numbers.down(-hi)}"
    if lo == hi == 0:
        return f"exactly at the threshold{_ALLOWED if allows_zero(margin) else ''}"
    if isinstance(lo, float) and isinstance(hi, float):
        return "margin not bounded"
    return f"margin in {_numbers.interval(margin)}"


def allows_zero(margin: Record) -> bool:
    """Return whether the relation of a margin holds between equal sides."""
    return re.search(r"\\[lg]eq?(?![a-z])", margin["relation"]) is not None


def margin_headline(claim: Record) -> str:
    """Return the smallest margin of the deciding route, for a table."""
    route = deciding(claim)
    found = list(margins(route)) if route is not None else []
    if not found:
        return "exact" if route is not None else "—"
    least = min(found, key=lambda margin: _numbers.ends(margin)[0])
    return margin_words(least).removesuffix(_ALLOWED)


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


def value_words(found: Record) -> str:
    """Return ``= 1/10`` where the claim says so, else the enclosure of a quantity."""
    lo, hi = _numbers.ends(found)
    said = _EXACTLY.match(clean(found["how"]))
    if said is not None and lo <= Fraction(said[1]) <= hi:
        return f"= {shorten(said[1], 40)}"
    return _numbers.related(lo, hi)


def method(found: Record) -> str:
    """Return how a quantity or fact was found, or why it is open."""
    how = clean(found["how"])
    return clean(found["why_open"]) or _EXACTLY.sub("", how).removeprefix("; ")


def about(found: Record) -> str:
    """Return what a quantity is and how it was found."""
    return "; ".join(part for part in (clean(found["meaning"]), method(found)) if part)


def evidence_lines(route: Record) -> list[tuple[str, str, str]]:
    """Return (symbol or empty, value in words, how) for each quantity and fact of a route."""
    lines = [
        (clean(symbol), value_words(found), about(found))
        for symbol, found in route["quantities"].items()
    ]
    for found in facts(route):
        told = (
            "" if restates(route, found) else f"{clean(found['meaning'])}: {clean(found['truth'])}"
        )
        how = "" if method(found) and method(found) in route["why"] else method(found)
        lines += [("", told, how)] if told or how else []
    return lines


def facts(route: Record) -> list[Record]:
    """Return the facts of a route; where there are many, those that are not proved come first."""
    found = list(route["facts"].values())
    if len(found) > _FEW_FACTS:
        found.sort(key=lambda item: {"refuted": 0, "undecided": 1}.get(item["truth"], 2))
    return found


def statement_words(route: Record, statement: Record) -> str:
    """Return a statement as a person writes it: ``h < 1/2 and m^2 <= 3``."""
    text = _RELATION.sub(r"\1", _with_few_facts(route, statement)).replace("**", "^")
    return text.replace(" & ", " and ").replace(" | ", " or ")


def _with_few_facts(route: Record, statement: Record) -> str:
    """Return the text; many facts that are joined are told by themselves, not in it."""
    tree, text = statement["tree"], clean(statement["text"])
    if not isinstance(tree, Sequence) or not tree or tree[0] != "and":
        return text
    meanings = {clean(item["meaning"]) for item in route["facts"].values()}
    parts = text.split(" & ")
    rest = [part for part in parts if part not in meanings]
    joined = sum(list(part[:1]) == ["fact"] for part in tree[1:])
    if len(parts) - len(rest) != joined or joined <= _FEW_FACTS:
        return text
    return " & ".join([f"all {joined} facts of this route", *rest])


def sentence(claim: Record) -> str:
    """Return the sentence of the verdict, with a short form of a long statement in it."""
    route, text = deciding(claim), clean(claim["sentence"])
    if route is None:
        return text
    for statement in route["statements"]:
        text = text.replace(clean(statement["text"]), statement_words(route, statement))
    return text


def restates(route: Record, found: Record) -> bool:
    """Return whether a statement of the route is just this fact, with the same outcome."""
    return any(
        (one["text"], one["truth"]) == (found["meaning"], found["truth"])
        for one in route["statements"]
    )


def consequence_words(item: Record) -> str:
    """Return the number: an enclosure if it is proved, marked if it is not."""
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
    origin = "as recalled" if item["how"].startswith("recalled") else "measured"
    return f"about {value}{more} ({origin}, not proved)"


def by_words(claim: Record, by: str) -> str:
    """Return the title of the route that a number follows by, or the name as it is."""
    titles = {route["name"]: route["title"] for route in claim["routes"]}
    return clean(titles.get(by, by))


def guidance_label(claim: Record) -> str:
    """Return the heading of the guidance: what is needed next, or just what more is known."""
    return {"pass": "guidance", "not applicable": "what to do"}.get(claim["verdict"], "next step")


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
    """Return the stored state and input tensors if the state weight has few entries.

    Numbers are the shortest decimals that read back to the stored ones.
    """
    tensors, stored = certificate.claim["tensors"], getattr(certificate, "network", {})
    chosen = {role: entry for role, entry in tensors.items() if role.startswith(_SHOWN_ROLES)}
    sizes = [math.prod(entry["shape"]) for entry in chosen.values()]
    if not sizes or max(sizes) > _FEW_ENTRIES:
        return []
    shown = []
    for role, entry in chosen.items():
        if role in stored and len(entry["shape"]) in (1, 2):
            rows = stored[role].tolist()
            rows = rows if len(entry["shape"]) == 2 else [[number] for number in rows]
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
