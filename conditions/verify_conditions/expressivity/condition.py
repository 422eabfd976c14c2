"""The expressivity condition: do some hidden weights let the last layer fit anything?

One goal turns the verdict; the rank at the stored weights and the alignment of the targets have
their own results.
"""

from __future__ import annotations

from verify.condition import Condition, Goal
from verify_conditions.expressivity.consequences import consequences
from verify_conditions.expressivity.declared import SETTINGS
from verify_conditions.expressivity.guidance import guidance
from verify_conditions.expressivity.problem import (
    ALIGNED,
    GOAL,
    HERE,
    describe,
    goal_of,
    prepare,
)
from verify_conditions.expressivity.routes import ROUTES
from verify_conditions.expressivity.statements import ALIGNMENT, EXPRESSIVE
from verify_conditions.expressivity.statements import HERE as RANK_HERE

CONDITION = Condition(
    name="expressivity",
    title="Expressivity condition",
    goals=(
        Goal(GOAL, EXPRESSIVE, implied_by=(HERE,)),
        Goal(HERE, RANK_HERE, side=True),
        Goal(ALIGNED, ALIGNMENT, implied_by=(HERE,), side=True),
    ),
    routes=ROUTES,
    prepare=prepare,
    goal_of=goal_of,
    needs="a network that ends in an affine layer (fully connected, convolutional, any graph of "
    "the listed operations), and its training data X",
    settings=SETTINGS,
    consequences=consequences,
    guidance=guidance,
    describe=describe,
)
