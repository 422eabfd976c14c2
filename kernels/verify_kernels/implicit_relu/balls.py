"""Implicit ReLU networks on data in ball arithmetic of growing precision."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from flint import ctx, fmpq_mat

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify_kernels.full_rank.singular_values import root
from verify_kernels.implicit_relu.ball_gradients import gradient_norms
from verify_kernels.implicit_relu.ball_work import (
    Work,
    balls,
    entries_norm,
    float_enclosure,
    floats,
    solve,
)
from verify_kernels.implicit_relu.moduli import norm_moduli, product_of, well_posedness
from verify_kernels.implicit_relu.rank import count_live, integer_matrix, known_patterns, rank_bound
from verify_kernels.implicit_relu.spectrum import (
    EXACT_BITS,
    EXACT_ORDER,
    largest_of_balls,
    largest_singular,
    smallest_of_balls,
)
from verify_kernels.implicit_relu.state import ImplicitState, Task
from verify_kernels.small_spectrum import enclose_largest_eigenvalue

LADDER = (128, 256, 512, 1024)
HOW = "ball arithmetic"
CLOSE = Fraction(1, 2**80)


def refine(task: Task, given: ImplicitState, deadline: float) -> ImplicitState:
    """Return the state enclosed in balls, with the precision raised until it is tight.

    Equilibria are solved on their active set and proved by the residual and a modulus, so that
    no sign is needed; a pre-activation that is exactly 0 leaves only the gradients open. A pass
    that would end after the deadline is not begun.
    """
    state = _constants(task, given)
    if not state.moduli:
        return state
    spent = _seconds(task, state) / 2.0
    for bits in LADDER:
        begun = time.monotonic()
        if begun + 2.0 * spent > deadline:
            break
        with ctx.workprec(bits):
            found = _pass(task, state, deadline)
        spent = time.monotonic() - begun
        if found is None:
            break
        state = found
        if _is_tight(task, state):
            break
    return state


def _seconds(task: Task, state: ImplicitState) -> float:
    """Return about the seconds of the first pass: two linear systems a sample, and products."""
    live = np.count_nonzero(state.equilibria.mid, axis=1).astype(float)
    return float(1e-6 * (task.n + 1) * task.m**2 + 6e-8 * np.sum(live**3))


def _constants(task: Task, given: ImplicitState) -> ImplicitState:
    """Return the state with ||X||, ||g A|| and mu0 to 96 bits where the order allows it."""
    X, shift = integer_matrix(task.values)
    if min(X.nrows(), X.ncols()) <= EXACT_ORDER:
        unit = Fraction(1, 2**shift) / task.divisor
        norm = product_of(Enclosure.outward(unit, unit), largest_singular(X))
        given = replace(given, norm_X=Evidence(norm, how="exact singular value"))
    if task.m > EXACT_ORDER:
        return given
    square = task.gamma**2 / task.m / 4 ** integer_matrix(task.A)[1]
    factor = root(Enclosure.outward(square, square))
    A = fmpq_mat(integer_matrix(task.A)[0])
    if task.gamma < 0:
        A = -A
    top = enclose_largest_eigenvalue((A + A.transpose()) / 2, bits=EXACT_BITS)
    part = product_of(factor, top)
    norm_W = Evidence(product_of(factor, largest_singular(A)), how="exact singular value")
    margin = Evidence(Enclosure(1 - part.hi, 1 - part.lo), how="exact characteristic polynomial")
    moduli = norm_moduli(norm_W, margin) or given.moduli
    return replace(
        given, norm_W=norm_W, monotone_margin=margin, moduli=moduli,
        well_posed=well_posedness(moduli) if moduli else given.well_posed,
    )  # fmt: skip


def _pass(task: Task, state: ImplicitState, deadline: float) -> ImplicitState | None:
    work = solve(task, state.equilibria.mid, state.moduli, deadline)
    if work is None:
        return None
    gram_Z = work.zeta * work.zeta.transpose()
    factor = Enclosure.from_arb(work.factor)
    s0, norm_Z0 = state.s0, state.norm_Z0
    if task.n <= EXACT_ORDER:
        s0 = _smallest(task, work, gram_Z, factor)
        norm_Z0 = Evidence(product_of(factor, root(largest_of_balls(gram_Z))), how=HOW)
    norms, total = gradient_norms(task, work)
    residual_mid, residual_rad = floats(work.residual)
    shown = work.residual + balls(task.targets)
    scaled = [part * work.factor for part in (work.zeta, work.psi)]
    return replace(
        state,
        residual_norm=Evidence(entries_norm(work.residual.entries()), how=HOW),
        residual_mid=residual_mid.ravel(),
        residual_rad=residual_rad.ravel(),
        s0=s0,
        norm_Z0=norm_Z0,
        outputs=tuple(tuple(Enclosure.from_arb(x) for x in row) for row in shown.tolist()),
        equilibria=float_enclosure(scaled[0]),
        features=float_enclosure(scaled[1]),
        gradient_norms=norms,
        gradient_norm=total,
        balls=(scaled[0], scaled[1]),
    )


def _smallest(task: Task, work: Work, gram_Z: Any, factor: Enclosure) -> Evidence:
    value = smallest_of_balls(gram_Z + work.psi * work.psi.transpose())
    if value.lo > 0:
        return Evidence(product_of(factor, root(value)), how=HOW)
    zero = np.hstack([work.zero, np.array([x <= 0 for x in work.psi.entries()], dtype=bool)
                      .reshape(task.n, task.m)])  # fmt: skip
    live = count_live((~zero).astype(np.float64), np.zeros(zero.shape))
    patterns = known_patterns(work.signs.on, work.zero)
    if live < task.n or rank_bound(task.values, task.W, live, patterns) < task.n:
        return Evidence(Enclosure.exact(0), how="a dependence of samples, in integers")
    why = "no lower bound of the smallest singular value is proved"
    return Evidence(product_of(factor, root(value)), how=HOW, why_open=why)


def _is_tight(task: Task, state: ImplicitState) -> bool:
    """Whether more bits would tell nothing new; what balls do not give does not count."""
    shown = [state.residual_norm, *state.gradient_norms.values()]
    if task.n <= EXACT_ORDER:
        shown += [state.s0, state.norm_Z0]
    values = [item.enclosure() for item in shown]
    return all(
        v.is_exact or (isinstance(v.hi, Fraction) and v.hi - v.lo <= v.lo * CLOSE) for v in values
    )
