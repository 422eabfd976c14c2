"""The theorems about training from given weights: every hypothesis, once, as SymPy.

Proofs are in `docs/converges_from_here.md`, each under the heading that a statement names.
"""

from __future__ import annotations

import sympy as sp

from verify.statement import Direction, Fact, Quantity, Source, Statement
from verify_conditions.convergence import formulas as fm
from verify_conditions.convergence import quantities as q

FLOW = (
    "the gradient flow of the loss from these weights exists for all time and converges to "
    "weights with zero loss"
)
DESCENT = (
    "full-batch gradient descent from these weights, with the declared step or else with a step "
    "that is named, converges to weights with zero loss"
)
EXISTENCE = "there are weights with zero loss within a stated distance of these"

About = tuple[Quantity | Fact, ...]
Letters = tuple[tuple[str, sp.Expr], ...]
_EXACT = (
    "flow and gradient descent are those of the full data set in exact arithmetic, without "
    "momentum, mini-batches, penalties, masks or constraints"
)
_HALF = sp.Rational(1, 2)


def _of(
    parts: tuple[sp.Basic, ...],
    about: About,
    where: str,
    conclusion: str = FLOW,
    direction: Direction = "sufficient",
    assumes: tuple[str, ...] = (_EXACT,),
    letters: Letters = (),
) -> Statement:
    source = Source("converges_from_here.md", where)
    hypothesis = sp.And(*parts)
    return Statement(hypothesis, about, conclusion, direction, source, "ball", assumes, letters)


def _flow(smallest: sp.Expr, lipschitz: sp.Expr) -> tuple[sp.Basic, ...]:
    """Return sigma > 0, h < 1/2 and l* <= R."""
    values = (q.RESIDUAL.symbol, smallest, lipschitz)
    return (smallest > 0, fm.h(*values) < _HALF, fm.length(*values) <= q.RADIUS.symbol)


def _letters(smallest: sp.Expr, lipschitz: sp.Expr) -> Letters:
    values = (q.RESIDUAL.symbol, smallest, lipschitz)
    return (("h", fm.h(*values)), ("lstar", fm.length(*values)))


_TANGENT = (q.NO_DECAY, q.RESIDUAL, q.SIGMA, q.BETA, q.RADIUS)
_KERNEL = _letters(fm.sigma, fm.beta)
THEOREM_A = _of(
    (q.NO_DECAY.symbol, *_flow(fm.sigma, fm.beta)), _TANGENT, "Theorem A: gradient flow",
    letters=_KERNEL,
)  # fmt: skip

_INSIDE = q.RADIUS.symbol < q.R_PATTERN.symbol
PATTERN_FLOW = _of(
    (q.NO_DECAY.symbol, _INSIDE, *_flow(fm.sigma, fm.beta)), (*_TANGENT, q.R_PATTERN),
    "Stable activation patterns", letters=_KERNEL,
)  # fmt: skip

_FEATURES = (q.NO_DECAY, q.LAST_TRAINED, q.TAME, q.RESIDUAL, q.S0, q.B, q.RADIUS)
OUTPUT_LAYER = _of(
    (q.NO_DECAY.symbol, q.LAST_TRAINED.symbol, q.TAME.symbol, *_flow(q.S0.symbol, q.B.symbol)),
    _FEATURES, "Theorem A': the output layer", letters=_letters(q.S0.symbol, q.B.symbol),
)  # fmt: skip

_DESCENDS = (
    q.SIGMA.symbol > 0,
    q.STEP.symbol > 0,
    q.SCALE.symbol * q.STEP.symbol * fm.LAMBDA <= 1,
    fm.GAIN > 0,
    q.RADIUS.symbol >= fm.DESCENT_LENGTH,
)
_STEPS = (*_TANGENT, q.NORM_J, q.STEP, q.SCALE)
_DESCENT_LETTERS = (("Lam", fm.LAMBDA), ("st", fm.SLOPE), ("length", fm.DESCENT_LENGTH))
THEOREM_B = _of(
    (q.NO_DECAY.symbol, *_DESCENDS), _STEPS, "Theorem B: gradient descent", DESCENT,
    letters=_DESCENT_LETTERS,
)  # fmt: skip
PATTERN_DESCENT = _of(
    (q.NO_DECAY.symbol, _INSIDE, *_DESCENDS), (*_STEPS, q.R_PATTERN),
    "Stable activation patterns", DESCENT, letters=_DESCENT_LETTERS,
)  # fmt: skip

KANTOROVICH = _of(
    (q.SIGMA.symbol > 0, fm.NEWTON_H <= _HALF, q.RADIUS.symbol >= fm.NEWTON_DISTANCE),
    (q.SIGMA, q.NEWTON, q.BETA, q.RADIUS), "Newton and Kantorovich", EXISTENCE, assumes=(),
    letters=(("h", fm.NEWTON_H), ("distance", fm.NEWTON_DISTANCE)),
)  # fmt: skip


def _implicit(
    gap: sp.Basic, bound: Quantity, letters: tuple[tuple[str, sp.Expr], tuple[str, sp.Expr]]
) -> Statement:
    (_, b), s0 = letters[-1], q.S0_IMPLICIT.symbol
    parts = (q.NO_DECAY.symbol, q.READOUT_TRAINED.symbol, gap, *_flow(s0, b))
    about = (
        q.NO_DECAY, q.READOUT_TRAINED, q.RESIDUAL, q.S0_IMPLICIT, bound, q.NORM_Z, q.NORM_X,
        q.WIDTH, q.GAMMA, q.RADIUS,
    )  # fmt: skip
    return _of(
        parts, about, "Theorem I: implicit ReLU networks", letters=(*letters, *_letters(s0, b))
    )


THEOREM_I = _implicit(fm.Q < 1, q.NORM_W, (("q", fm.Q), ("b", fm.B_NORM)))
THEOREM_I_MONOTONE = _implicit(fm.MU > 0, q.MARGIN, (("mu", fm.MU), ("b", fm.B_MONOTONE)))


def _necessary(fact: Fact, where: str, conclusion: str) -> Statement:
    source = Source("converges_from_here.md", where)
    return Statement(fact.symbol, (fact,), conclusion, "necessary", source, "data set")


CONTRADICTION = _necessary(q.CONSISTENT, "Data that no weights fit", EXISTENCE)
DECAY_FLOW = _necessary(q.PLAIN, "Weight decay", FLOW)
DECAY_DESCENT = _necessary(q.PLAIN, "Weight decay", DESCENT)


def _at_rest(conclusion: str) -> Statement:
    parts = (q.NO_DECAY.symbol, q.RESIDUAL.symbol <= 0)
    return _of(parts, (q.NO_DECAY, q.RESIDUAL), "Zero loss already", conclusion)


REST_FLOW, REST_DESCENT = _at_rest(FLOW), _at_rest(DESCENT)
