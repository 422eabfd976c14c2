"""The Villani property of the regularised risk of a two-layer network.

One goal turns the verdict: f is a Villani function of the declared trained parameters. Side
statements about steps, noise and initial laws have their own results.
"""

from __future__ import annotations

from verify.condition import Condition, Goal
from verify_conditions.villani.consequences import consequences
from verify_conditions.villani.declared import SETTINGS
from verify_conditions.villani.guidance import guidance
from verify_conditions.villani.problem import GOAL, describe, goal_of, prepare
from verify_conditions.villani.routes import ROUTES
from verify_conditions.villani.samples import samples
from verify_conditions.villani.side_routes import SIDE_GOALS, SIDE_ROUTES
from verify_conditions.villani.statements import VILLANI

CONDITION = Condition(
    name="villani",
    title="Villani function",
    goals=(Goal(GOAL, VILLANI), *SIDE_GOALS),
    routes=(*ROUTES, *SIDE_ROUTES),
    prepare=prepare,
    goal_of=goal_of,
    needs="a two-layer network (W, a, optionally b and c), its training data X and y, what is "
    "trained, and the penalty",
    settings=SETTINGS,
    consequences=consequences,
    guidance=guidance,
    samples=samples,
    describe=describe,
    uses_run=True,
)
