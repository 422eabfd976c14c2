"""Certificates of implicit ReLU networks with the numbers of Theorem I read off them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy as sp

from verify.certificate import Certificate, decode_enclosure
from verify.condition import Effort
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

_ROUTE = "implicit"
_H = fm.h(qt.RESIDUAL.symbol, qt.S0_IMPLICIT.symbol, fm.B_NORM)
_UNKNOWN = Enclosure(0, INF)


@dataclass(frozen=True, eq=False)
class Certified:
    """A point of a training and what Theorem I says from there.

    Args:
        name: of the point, for people.
        parameters, gamma: the network.
        certificate: of `converges-from-here` about the gradient flow.
        h: upper end of h at the radius tried, inf where no ball is well posed by its norm.
        path: encloses l*, [0, inf) unless it fires.
        rate: encloses the rate of ||r(t)||, [0, inf) unless it fires.
        contraction: encloses q, the bound of ||g A|| on the ball.
    """

    name: str
    parameters: Parameters
    gamma: Fraction
    certificate: Certificate
    h: float
    path: Enclosure
    rate: Enclosure
    contraction: Enclosure

    @property
    def fired(self) -> bool:
        """Whether Theorem I, with the norm of the state weight, proves convergence."""
        passed = self.certificate.verdict is Verdict.PASS
        return passed and self.certificate.claim["decided_by"] == _ROUTE

    @property
    def h_text(self) -> str:
        """The upper end of h for a table."""
        return "inf" if self.h == float("inf") else rounded_up(self.h, 3)


def certify(task: Task, parameters: Parameters, gamma: Fraction, name: str) -> Certified:
    """Decide `converges-from-here` for the flow with all of A, W, u, v trained.

    Ball arithmetic, which only the last digits of the threshold need, is given no time.
    """
    [certificate] = check(
        parameters.network(gamma), task.data, conditions=[NAME],
        settings={f"{NAME}.frozen": "none"}, effort=Effort(budget=0.0), provenance={"file": name},
    )  # fmt: skip
    known = _quantities(certificate)
    q = _value(fm.Q, known)
    applies = q.hi_float < 1.0
    h = _value(_H, known) if applies else _UNKNOWN
    told = _consequences(certificate)
    return Certified(
        name, parameters, gamma, certificate, h.hi_float,
        told.get("lstar", _UNKNOWN), told.get("rate", _UNKNOWN), q,
    )  # fmt: skip


def well_posedness(parameters: Parameters, gamma: Fraction, name: str) -> Certificate:
    """Decide whether the equilibrium is unique for every bias."""
    [certificate] = check(
        parameters.network(gamma), conditions=["well-posedness"], provenance={"file": name}
    )
    return certificate


def _quantities(certificate: Certificate) -> Mapping[sp.Symbol, Enclosure]:
    """Return the enclosures of the route that uses the norm of the state weight, by symbol."""
    found: dict[sp.Symbol, Enclosure] = {}
    for route in certificate.claim["routes"]:
        if route["name"] == _ROUTE:
            for name, item in route["quantities"].items():
                found[sp.Symbol(name, real=True)] = _ends(item)
    return found


def _consequences(certificate: Certificate) -> dict[str, Enclosure]:
    return {
        item["name"]: _ends(item)
        for item in certificate.claim["consequences"]
        if item["by"] == _ROUTE and item["rigorous"]
    }


def _ends(item: Mapping[str, Any]) -> Enclosure:
    return decode_enclosure({"lo": item["lo"], "hi": item["hi"]})


def _value(formula: sp.Expr, known: Mapping[sp.Symbol, Enclosure]) -> Enclosure:
    needed = {symbol: known.get(symbol, _UNKNOWN) for symbol in formula.free_symbols}
    return evaluate(formula, needed)
