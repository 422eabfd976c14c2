"""Certificates of dense tanh networks with the numbers of Theorems A and B read off them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verify.certificate import Certificate, decode_enclosure
from verify.condition import Effort
from verify.enclosure import INF, Enclosure
from verify.engine import check
from verify.network import Data
from verify_conditions.convergence.declared import NAME
from verify_conditions.convergence.training import Array, Problem
from verify_kernels.forward.inputs import Inputs
from verify_kernels.jacobian_lipschitz import lipschitz_of_jacobian

_UNKNOWN = Enclosure(-INF, INF)


@dataclass(frozen=True, eq=False)
class Certified:
    """A point of a training, and what the theorems say from there, rounded to the safe side.

    Args:
        certificate: of `converges-from-here` about the gradient flow, all tensors trained.
        flow: whether Theorem A is proved.
        descent: whether Theorem B is proved, with the best step found.
        residual: upper bound of ||r||.
        sigma: lower bound of sigma.
        beta: upper bound of beta on the ball of Theorem A.
        h: upper bound of h there.
        lstar: upper bound of the length of the flow's path.
        rate: lower bound of the rate of ||r(t)||.
        eta: the step of gradient descent on 1/2 ||r||^2, exactly.
        contraction: upper bound of ||r_(k+1)|| / ||r_k||.
        length: upper bound of the length of gradient descent's path.
    """

    certificate: Certificate
    flow: bool
    descent: bool
    residual: float
    sigma: float
    beta: float
    h: float
    lstar: float
    rate: float
    eta: float
    contraction: float
    length: float


def certify(problem: Problem, theta: Array, name: str) -> Certified:
    """Decide `converges-from-here` for the flow, all tensors trained, the half sum of squares."""
    [certificate] = check(
        problem.net.network(theta), Data(problem.X, problem.y), conditions=[NAME],
        settings={f"{NAME}.frozen": "none"}, effort=Effort(budget=2.0), provenance={"file": name},
    )  # fmt: skip
    routes = {route["name"]: route for route in certificate.claim["routes"]}
    flow, descent = _best(routes, "flow"), _best(routes, "descent")
    known = routes[flow]["quantities"]
    told = {
        (item["by"], item["name"]): _ends(item)
        for item in certificate.claim["consequences"]
        if item["rigorous"]
    }

    def value(route: str, quantity: str) -> Enclosure:
        return told.get((route, quantity), _UNKNOWN)

    return Certified(
        certificate,
        routes[flow]["truth"] == "proved",
        routes[descent]["truth"] == "proved",
        _ends(known.get("r")).hi_float,
        _ends(known.get("sigma")).lo_float,
        _ends(known.get("beta")).hi_float,
        value(flow, "h").hi_float,
        value(flow, "lstar").hi_float,
        value(flow, "rate").lo_float,
        value(descent, "eta").hi_float,
        value(descent, "contraction").hi_float,
        value(descent, "descent_length").hi_float,
    )


def measured_h(problem: Problem, theta: Array) -> float:
    """Return beta ||r|| / sigma^2 with beta on the ball of radius ||r|| / sigma, in plain floats.

    No path that ends at zero residual need be longer than that radius, and beta grows with it:
    Theorem A speaks nowhere where this number is 1/2 or more, and usually where it is less.
    """
    jac = problem.jacobian(theta)
    residual = float(np.linalg.norm(problem.outputs(theta) - problem.targets))
    square = float(np.linalg.eigvalsh(jac @ jac.T)[0])
    if not square > 0.0 or jac.shape[0] > jac.shape[1]:
        return math.inf
    if residual == 0.0:
        return 0.0
    inputs = Inputs.of(problem.X, problem.X.shape[1:])
    radius = Fraction(residual / math.sqrt(square))
    beta = lipschitz_of_jacobian(problem.net.network(theta), inputs, radius).enclosure().hi_float
    return beta * residual / square


def _best(routes: Mapping[str, Any], name: str) -> str:
    """Return the route in exact arithmetic where it alone proves the theorem."""
    precise = routes.get(f"{name}-precise")
    return f"{name}-precise" if precise and precise["truth"] == "proved" else name


def _ends(item: Mapping[str, Any] | None) -> Enclosure:
    return _UNKNOWN if item is None else decode_enclosure({"lo": item["lo"], "hi": item["hi"]})
