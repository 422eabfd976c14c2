"""Gradients of 1/2 ||yhat - y||^2 by A, W, u and v in balls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flint import arb, arb_mat, fmpq
from numpy.typing import NDArray

from verify.evidence import Evidence
from verify_kernels.implicit_relu.ball_work import Work, balls, entries_norm
from verify_kernels.implicit_relu.gradients import read_masks
from verify_kernels.implicit_relu.layers import total_norm
from verify_kernels.implicit_relu.state import Task, unbounded

HOW = "ball arithmetic"


def gradient_norms(task: Task, work: Work) -> tuple[Mapping[str, Evidence], Evidence]:
    """Enclose the Frobenius norms of the gradients by A, W, u and v, and of all together.

    The formulas of `verify_kernels.implicit_relu.gradients`; every adjoint is solved in balls.
    """
    residual, factor = work.residual, work.factor
    by_u = entries_norm((work.zeta.transpose() * residual * factor).entries())
    by_v = entries_norm((work.psi.transpose() * residual * factor).entries())
    found = {"u": Evidence(by_u, how=HOW), "v": Evidence(by_v, how=HOW)}
    masks = read_masks(work.first, work.signs, task.values)
    why = masks.why_open
    P = None if why else _adjoints(work.B, masks.inner, residual * balls(task.u).transpose())
    if P is None:
        why = why or "an adjoint system is not proved to be regular"
        return {name: unbounded(why) for name in ("A", "W")} | found, unbounded(why)
    g = arb(fmpq(task.gamma.numerator, task.gamma.denominator)) / arb(task.m).sqrt()
    by_A = entries_norm((P.transpose() * work.zeta * (g * factor)).entries())
    reach = _masked(residual * balls(task.v).transpose() + P, masks.outer)
    by_W = entries_norm((reach.transpose() * balls(task.values) * factor).entries())
    shown = {"A": Evidence(by_A, how=HOW), "W": Evidence(by_W, how=HOW)}
    return shown | found, Evidence(total_norm([by_A, by_W, by_u, by_v]), how=HOW)


def _adjoints(B: Any, mask: NDArray[np.bool_], sources: Any) -> Any:
    """Return P with rows p = D (B^T p + c), or None where a system may be singular."""
    n, m = mask.shape
    P = arb_mat(n, m)
    for i in range(n):
        on = [int(k) for k in np.flatnonzero(mask[i])]
        if not on:
            continue
        entries = [int(j == k) - B[j, k] for k in on for j in on]
        try:
            solved = arb_mat(len(on), len(on), entries).solve(
                arb_mat(len(on), 1, [sources[i, k] for k in on])
            )
        except ZeroDivisionError:
            return None
        for place, k in enumerate(on):
            P[i, k] = solved[place, 0]
    return P


def _masked(matrix: Any, mask: NDArray[np.bool_]) -> Any:
    kept = [x if on else arb(0) for x, on in zip(matrix.entries(), mask.ravel(), strict=True)]
    return arb_mat(matrix.nrows(), matrix.ncols(), kept)
