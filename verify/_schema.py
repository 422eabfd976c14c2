"""The shape of a claim, schema ``verify/certificate/1``: every field, no other field.

A rule is a function ``(value, where)`` that raises `CertificateError` if the value is malformed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from verify.canonical import DIGEST, decode_enclosure, decode_value
from verify.enclosure import endpoint_from_hex
from verify.errors import CertificateError, EnclosureError
from verify.verdict import Truth, Verdict, conjunction

SCHEMA = "verify/certificate/1"
Rule = Callable[[Any, str], None]


def _refuse(where: str, expected: str, value: Any) -> CertificateError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return CertificateError(f"{where}: expected {expected}, but got {shown}")


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise _refuse(where, "text", value)


def _count(value: Any, where: str) -> None:
    if type(value) is not int or value < 0:
        raise _refuse(where, "a count", value)


def _encoded(value: Any, where: str) -> None:
    try:
        decode_value(value, None)
    except CertificateError as error:
        raise CertificateError(f"{where}: {error}") from None


def _anything(value: Any, where: str) -> None:
    """Accept every JSON value."""


def _one_of(*words: str) -> Rule:
    def rule(value: Any, where: str) -> None:
        if value not in words or not isinstance(value, str):
            raise _refuse(where, f"one of {', '.join(words)}", value)

    return rule


def _matching(pattern: re.Pattern[str], expected: str) -> Rule:
    def rule(value: Any, where: str) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise _refuse(where, expected, value)

    return rule


def _optional(inner: Rule) -> Rule:
    def rule(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return rule


def _list(inner: Rule) -> Rule:
    def rule(value: Any, where: str) -> None:
        if not isinstance(value, list | tuple):
            raise _refuse(where, "a list", value)
        for k, item in enumerate(value):
            inner(item, f"{where}[{k}]")

    return rule


def _mapping(inner: Rule) -> Rule:
    def rule(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _refuse(where, "an object", value)
        for key, item in value.items():
            inner(item, f"{where}.{key}")

    return rule


def _record(**rules: Rule) -> Rule:
    def rule(value: Any, where: str) -> None:
        if not isinstance(value, dict) or set(value) != set(rules):
            got = sorted(value) if isinstance(value, dict) else value
            raise CertificateError(f"{where}: expected the fields {sorted(rules)}, but got {got!r}")
        for key, inner in rules.items():
            inner(value[key], f"{where}.{key}")

    return rule


def _measured(value: Any, where: str) -> None:
    try:
        _text(value, where)
        endpoint_from_hex(value)
    except EnclosureError:
        raise _refuse(where, "a hexadecimal number", value) from None


def _with_ends(**others: Rule) -> Rule:
    fields = _record(lo=_text, hi=_text, **others)

    def rule(value: Any, where: str) -> None:
        fields(value, where)
        try:
            decode_enclosure({"lo": value["lo"], "hi": value["hi"]})
        except CertificateError as error:
            raise CertificateError(f"{where}: {error}") from None

    return rule


def _tree(value: Any, where: str) -> None:
    if not (isinstance(value, list) and len(value) > 1 and isinstance(value[0], str)):
        raise _refuse(where, "a portable tree", value)
    for item in value[1:]:
        if not isinstance(item, str):
            _tree(item, where)


_NAME = _matching(re.compile(r"[a-z0-9]+(-[a-z0-9]+)*"), "a lower-case name with hyphens")
_TRUTH = _one_of(*Truth)
_OUTCOME = _one_of(*Truth, "skipped")
_DIRECTION = _one_of("sufficient", "necessary", "equivalent")
_TENSORS = _mapping(
    _record(shape=_list(_count), digest=_matching(DIGEST, "sha256: and 64 hexadecimal digits"))
)
_WITNESS = _optional(_record(kind=_text, data=_mapping(_encoded)))
_QUANTITY = _with_ends(meaning=_text, latex=_text, how=_text, why_open=_text, witness=_WITNESS)
_FACT = _record(meaning=_text, truth=_TRUTH, how=_text, why_open=_text, witness=_WITNESS)
_STATEMENT_FIELDS: dict[str, Rule] = dict(
    latex=_text,
    text=_text,
    tree=_tree,
    conclusion=_text,
    direction=_DIRECTION,
    scope=_text,
    source=_record(key=_text, where=_text),
    assumes=_list(_text),
    truth=_OUTCOME,
    margins=_list(_with_ends(relation=_text)),
)
_PLAIN_STATEMENT = _record(**_STATEMENT_FIELDS)
_LETTERED_STATEMENT = _record(**_STATEMENT_FIELDS, where=_list(_text))


def _statement(value: Any, where: str) -> None:
    """Statements without letters have no field that explains them."""
    lettered = isinstance(value, dict) and "where" in value
    (_LETTERED_STATEMENT if lettered else _PLAIN_STATEMENT)(value, where)


_ROUTE = _record(
    name=_NAME,
    title=_text,
    goal=_text,
    direction=_DIRECTION,
    cost=_one_of("cheap", "expensive"),
    truth=_OUTCOME,
    why=_text,
    statements=_list(_statement),
    quantities=_mapping(_QUANTITY),
    facts=_mapping(_FACT),
)
_NAMED = {"name": _text, "meaning": _text, "formula": _text, "by": _text, "rigorous": _anything}
_PROVED_NUMBER = _with_ends(**_NAMED)
_MEASURED_NUMBER = _record(**_NAMED, measured=_measured, spread=_optional(_measured), how=_text)


def _consequence(value: Any, where: str) -> None:
    rigorous = value.get("rigorous") if isinstance(value, dict) else None
    if not isinstance(rigorous, bool):
        raise _refuse(where, "a consequence that says whether it is rigorous", value)
    (_PROVED_NUMBER if rigorous else _MEASURED_NUMBER)(value, where)


_CLAIM = _record(
    schema=_one_of(SCHEMA),
    condition=_record(name=_NAME, title=_text),
    goal=_record(name=_text, sentence=_text),
    verdict=_one_of(*Verdict),
    sentence=_text,
    reason=_text,
    scope=_text,
    speaks_about=_text,
    network=_optional(
        _record(
            family=_text,
            equation=_text,
            activation=_text,
            width=_count,
            parameters=_mapping(_text),
            notes=_list(_text),
        )
    ),
    tensors=_TENSORS,
    data=_optional(_TENSORS),
    settings=_mapping(_text),
    decided_by=_optional(_NAME),
    assumes=_list(_text),
    routes=_list(_ROUTE),
    side_statements=_list(_record(name=_NAME, sentence=_text, truth=_TRUTH)),
    consequences=_list(_consequence),
    samples=_optional(
        _record(
            summary=_text,
            certified=_count,
            total=_count,
            rows=_list(_mapping(_anything)),
            witness=_WITNESS,
            unit=_text,
        )
    ),
)


def check_claim(claim: Any) -> None:
    """Check that a claim has the fields of its schema and does not contradict itself.

    Raises:
        CertificateError: another version, a missing, unknown or malformed field, or a verdict
            that its routes do not carry.
    """
    if not isinstance(claim, dict) or claim.get("schema") != SCHEMA:
        version = claim.get("schema") if isinstance(claim, dict) else claim
        raise _refuse("certificate.schema", f"{SCHEMA!r}", version)
    _CLAIM(claim, "certificate")
    routes = {route["name"]: route for route in claim["routes"]}
    if len(routes) != len(claim["routes"]):
        raise CertificateError("certificate.routes: expected each route once, but got one twice")
    for name, route in routes.items():
        truths = [Truth(s["truth"]) for s in route["statements"] if s["truth"] != "skipped"]
        if route["truth"] != "skipped" and route["truth"] != conjunction(truths):
            raise _refuse(
                f"certificate.routes.{name}", "the truth of its statements", route["truth"]
            )
    _check_verdict(claim["verdict"], claim["decided_by"], routes)
    samples = claim["samples"]
    if samples is not None and samples["certified"] > samples["total"]:
        raise _refuse("certificate.samples", "certified <= total", samples["certified"])


def _check_verdict(verdict: str, decided: str | None, routes: dict[str, Any]) -> None:
    """Check that the deciding route carries the verdict."""
    needed = {
        Verdict.PASS: (Truth.PROVED, "sufficient"),
        Verdict.FAIL: (Truth.REFUTED, "necessary"),
    }.get(Verdict(verdict))
    if needed is None and decided is None:
        return
    truth, direction = needed or (None, None)
    route = routes.get(decided or "", {})
    if route.get("truth") != truth or route.get("direction") not in (direction, "equivalent"):
        expected = f"a route that carries the verdict {verdict}"
        raise _refuse("certificate.decided_by", expected, decided)


def witnesses(claim: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every witness of a claim that was checked."""
    parts = [
        *(item for route in claim["routes"] for item in route["quantities"].values()),
        *(item for route in claim["routes"] for item in route["facts"].values()),
        claim["samples"] or {"witness": None},
    ]
    return [part["witness"] for part in parts if part["witness"] is not None]
