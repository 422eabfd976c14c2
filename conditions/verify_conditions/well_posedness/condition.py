"""Well-posedness of the equilibrium z = sigma(W z + b).

Two goals: well posed for every b, and for every input x. The first implies the second. The
verdict is about every input when the file has an input map, else about every b.
"""

from __future__ import annotations

from verify.condition import Condition, Goal
from verify_conditions.well_posedness.consequences import consequences
from verify_conditions.well_posedness.guidance import guidance
from verify_conditions.well_posedness.problem import (
    GOAL_EVERY_B,
    GOAL_EVERY_X,
    describe,
    goal_of,
    prepare,
)
from verify_conditions.well_posedness.routes import ROUTES
from verify_conditions.well_posedness.samples import samples
from verify_conditions.well_posedness.statements import EVERY_B, EVERY_X

CONDITION = Condition(
    name="well-posedness",
    title="Well-posed equilibrium",
    goals=(
        Goal(GOAL_EVERY_B, EVERY_B),
        Goal(GOAL_EVERY_X, EVERY_X, implied_by=(GOAL_EVERY_B,)),
    ),
    routes=ROUTES,
    prepare=prepare,
    goal_of=goal_of,
    needs="an equilibrium network (W, optionally U and b, or a known layout) and its activation",
    settings={
        "m": "margin of the parametrisation (monDEQ, NEMON, IBP-monDEQ), exact",
        "gamma": "fixed scalar of the implicit ReLU network, exact",
        "kappa": "norm bound of torchidl, exact",
        "c": "bound of the diagonal scaling of IBP-monDEQ, exact",
        "bias_column": "whether the last column of B multiplies an appended 1: yes or no",
    },
    consequences=consequences,
    guidance=guidance,
    samples=samples,
    describe=describe,
)
