"""Gradient inequalities: PL from the tangent kernel, Lojasiewicz at points and along runs.

The scope is part of the verdict: a number at one point never passes a claim about a ball or a run.
"""

from __future__ import annotations

from verify.condition import Condition, Goal
from verify_conditions.gradient_inequality import statements as st
from verify_conditions.gradient_inequality.consequences import consequences
from verify_conditions.gradient_inequality.declared import NAME, SETTINGS
from verify_conditions.gradient_inequality.guidance import guidance
from verify_conditions.gradient_inequality.problem import (
    ALONG,
    HERE,
    ON_BALL,
    POINT,
    POINTS,
    describe,
    goal_of,
    prepare,
)
from verify_conditions.gradient_inequality.routes import ROUTES
from verify_conditions.gradient_inequality.samples import samples

CONDITION = Condition(
    name=NAME,
    title="Gradient inequality (PL, Łojasiewicz)",
    goals=(
        Goal(HERE, st.HERE, implied_by=(ON_BALL, ALONG)),
        Goal(ON_BALL, st.BALL),
        Goal(ALONG, st.TRAJECTORY),
        Goal(POINT, st.POINT, implied_by=(POINTS,), side=True),
        Goal(POINTS, st.POINTS, side=True),
    ),
    routes=ROUTES,
    prepare=prepare,
    goal_of=goal_of,
    needs="a network that ends in an affine layer, or the implicit ReLU network A, W, u, v, with "
    "its data X (and y) and which tensors are trained; or students W and teachers W_star",
    settings=SETTINGS,
    consequences=consequences,
    guidance=guidance,
    samples=samples,
    describe=describe,
    uses_run=True,
)
