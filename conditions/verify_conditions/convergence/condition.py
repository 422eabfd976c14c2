"""Convergence from here: does training from these very weights reach zero loss?

The verdict is about the gradient flow, or about gradient descent where a step is declared. That
zero-loss weights exist at all has its own result.
"""

from __future__ import annotations

from verify.condition import Condition, Goal
from verify_conditions.convergence import statements as st
from verify_conditions.convergence.consequences import consequences
from verify_conditions.convergence.declared import NAME, SETTINGS
from verify_conditions.convergence.guidance import guidance
from verify_conditions.convergence.problem import (
    DESCENT,
    EXISTENCE,
    FLOW,
    describe,
    goal_of,
    prepare,
)
from verify_conditions.convergence.routes import ROUTES

CONDITION = Condition(
    name=NAME,
    title="Convergence from here",
    goals=(
        Goal(FLOW, st.FLOW, side=True),
        Goal(DESCENT, st.DESCENT, side=True),
        Goal(EXISTENCE, st.EXISTENCE, implied_by=(FLOW, DESCENT), side=True),
    ),
    routes=ROUTES,
    prepare=prepare,
    goal_of=goal_of,
    needs="a network that ends in an affine layer (theorems for fully connected ones), or the "
    "implicit ReLU network A, W, u, v; its training data X and y; which tensors are trained",
    settings=SETTINGS,
    consequences=consequences,
    guidance=guidance,
    describe=describe,
)
