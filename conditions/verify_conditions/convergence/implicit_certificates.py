"""Certificates of implicit ReLU networks with the numbers of Theorem I read off them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy as sp

from verify.certificate import Certificate, decode_enclosure
from verify.decide import evaluate
from verify.enclosure import INF, Enclosure
from verify.engine import check
from verify.verdict import Verdict
from verify_conditions.convergence import formulas as fm
from verify_conditions.convergence import quantities as qt
from verify_conditions.convergence.declared import NAME
from verify_conditions.convergence.implicit_tasks import Task
from verify_conditions.implicit_relu_training import Parameters
from verify_conditions.reproduction import rounded_up

_ROUTES = ("implicit", "implicit-monotone")
_WORDS = {"implicit": "norm", "implicit-monotone": "monotone"}
_UNKNOWN = Enclosure(0, INF)


@dataclass(frozen=True, eq=False)
class Certified:
    """A point of a training and what Theorem I says from there.

    Args:
        name: of the point, for people.
        parameters, gamma: the network.
        certificate: of `converges-from-here` about the gradient flow.
        by: the version of Theorem I that fires, ``norm`` or ``monotone``, or empty.
        h: upper end of h at the radius tried, of the version that fires, else of the one with the
            smaller h; inf where no ball is proved well posed.
        path: encloses l*, [0, inf) unless it fires.
        rate: encloses the rate of ||r(t)||, [0, inf) unless it fires.
        contraction: encloses q, the bound of ||g A|| on the ball of that version.
    """

    name: str
    parameters: Parameters
    gamma: Fraction
    certificate: Certificate
    by: str
    h: float
    path: Enclosure
    rate: Enclosure
    contraction: Enclosure

    @property
    def fired(self) -> bool:
        """Whether Theorem I proves convergence from here."""
        return self.certificate.verdict is Verdict.PASS

    @property
    def h_text(self) -> str:
        """The upper end of h for a table."""
        return "inf" if self.h == float("inf") else rounded_up(self.h, 3)


def certify(task: Task, parameters: Parameters, gamma: Fraction, name: str) -> Certified:
    """Decide `converges-from-here` for the flow with all of A, W, u, v trained."""
    [certificate] = check(
        parameters.network(gamma), task.data, conditions=[NAME],
        settings={f"{NAME}.frozen": "none"}, provenance={"file": name},
    )  # fmt: skip
    decided = (certificate.claim["decided_by"] or "").removesuffix("-precise")
    routes = {route["name"]: route for route in certificate.claim["routes"]}
    numbers = {name: _numbers(routes[name]) for name in _ROUTES if name in routes}
    h = {name: _h(name, known) for name, known in numbers.items()}
    best = decided if decided in h else min(h, key=lambda name: h[name])
    told = _consequences(certificate, decided)
    # ||g A|| is enclosed by the first version; the ball is that of the version that fires
    known = numbers[_ROUTES[0]] | {qt.RADIUS.symbol: numbers[best][qt.RADIUS.symbol]}
    return Certified(
        name, parameters, gamma, certificate, _WORDS.get(decided, ""), h[best],
        told.get("lstar", _UNKNOWN), told.get("rate", _UNKNOWN), _value(fm.Q, known),
    )  # fmt: skip


def well_posedness(task: Task, parameters: Parameters, gamma: Fraction, name: str) -> Certificate:
    """Decide whether the equilibrium is unique for every bias, and enclose those of the samples."""
    [certificate] = check(
        parameters.network(gamma), task.data, conditions=["well-posedness"],
        provenance={"file": name},
    )  # fmt: skip
    return certificate


def _numbers(route: Mapping[str, Any]) -> dict[sp.Symbol, Enclosure]:
    """Return the enclosures of a route by symbol."""
    return {sp.Symbol(name, real=True): _ends(x) for name, x in route["quantities"].items()}


def _h(name: str, known: Mapping[sp.Symbol, Enclosure]) -> float:
    """Return the upper end of h, inf where the ball is not proved well posed."""
    monotone = name != _ROUTES[0]
    room, b = (fm.MU, fm.B_MONOTONE) if monotone else (1 - fm.Q, fm.B_NORM)
    if not _value(room, known).lo > 0:
        return float("inf")
    return _value(fm.h(qt.RESIDUAL.symbol, qt.S0_IMPLICIT.symbol, b), known).hi_float


def _consequences(certificate: Certificate, route: str) -> dict[str, Enclosure]:
    return {
        item["name"]: _ends(item)
        for item in certificate.claim["consequences"]
        if item["by"].removesuffix("-precise") == route and item["rigorous"]
    }


def _ends(item: Mapping[str, Any]) -> Enclosure:
    return decode_enclosure({"lo": item["lo"], "hi": item["hi"]})


def _value(formula: sp.Expr, known: Mapping[sp.Symbol, Enclosure]) -> Enclosure:
    return evaluate(formula, {symbol: known[symbol] for symbol in formula.free_symbols})
