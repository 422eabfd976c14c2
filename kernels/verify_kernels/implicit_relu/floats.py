"""Implicit ReLU networks on data in binary64 with proved radii."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from verify.enclosure import INF, Enclosure
from verify.evidence import Evidence
from verify.network import Activation, ScaledGaussianWeight
from verify_kernels._rounding import norm_up
from verify_kernels.definiteness import PRODUCTS, enclose_smallest_eigenvalue
from verify_kernels.enclosed_products import add, product, scale, transpose
from verify_kernels.equilibrium import certify_samples
from verify_kernels.equilibrium_residual import Modulus
from verify_kernels.forward import Features
from verify_kernels.full_rank.singular_values import enclose_singular_extremes, root
from verify_kernels.implicit_relu.gradients import enclose_gradients
from verify_kernels.implicit_relu.layers import (
    HOW,
    Layer,
    Signs,
    enclosed,
    frobenius,
    radii,
    rectify,
    root_scale,
)
from verify_kernels.implicit_relu.moduli import (
    NOT_PROVED,
    enclose_constants,
    norm_moduli,
    weighted_moduli,
    well_posedness,
)
from verify_kernels.implicit_relu.rank import count_live, known_patterns, rank_bound
from verify_kernels.implicit_relu.state import TENSORS, ImplicitState, Task, unbounded
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.spectral_norm import enclose_spectral_norm
from verify_kernels.state_weight import enclose_state_weight
from verify_kernels.two_layer.midrad import row_size, scaled

RELU = Activation("relu")
NARROW = Fraction(1, 10**9)


def enclose_features(task: Task) -> tuple[MatrixEnclosure, Layer]:
    """Enclose phi = relu(W x)/sqrt(m) in rows, and the layer relu(W values) before scaling."""
    layer = rectify(product(MatrixEnclosure(task.values), transpose(MatrixEnclosure(task.W))))
    factors = root_scale(task.n, 1 / task.divisor, task.m)
    return scale(layer.value, factors, None), layer


def enclose_float_state(task: Task, deadline: float) -> ImplicitState:
    """Enclose everything in floats; `verify_kernels.implicit_relu.enclose` states the bounds.

    Raises:
        InputError: a number leaves the range of binary64.
    """
    weight = enclose_state_weight(ScaledGaussianWeight(task.A, task.gamma))
    norm, margin = enclose_constants(task.A, task.gamma)
    moduli = norm_moduli(norm, margin) or weighted_moduli(weight)
    phi, first = enclose_features(task)
    norm_X = _scaled(enclose_spectral_norm(task.values, with_witness=False), 1 / task.divisor)
    if not moduli:
        return open_state(task, phi, norm, margin, norm_X, NOT_PROVED)
    states = equilibria(weight, phi, moduli, deadline)
    Z = states.value
    if not np.isfinite(radii(Z)).all():
        why = "the residual of an equilibrium overflowed"
        return open_state(task, phi, norm, margin, norm_X, why)
    outputs = add(product(Z, MatrixEnclosure(task.u)), product(phi, MatrixEnclosure(task.v)))
    residual = add(outputs, MatrixEnclosure(-task.targets))
    largest = enclose_spectral_norm(Z, with_witness=False)
    norms, total = enclose_gradients(task, weight, moduli, first, phi, states, residual)
    return ImplicitState(
        residual_norm=Evidence(frobenius(residual), None, (PRODUCTS,), HOW),
        residual_mid=residual.mid.ravel(),
        residual_rad=radii(residual).ravel(),
        s0=smallest_singular(task, states, phi),
        norm_Z0=Evidence(largest.enclosure(), None, (PRODUCTS,), largest.how, largest.why_open),
        norm_X=norm_X,
        norm_W=norm,
        monotone_margin=margin,
        well_posed=well_posedness(moduli, (*norm.assumes, *margin.assumes)),
        moduli=moduli,
        outputs=tuple(
            tuple(Enclosure(Fraction(a) - Fraction(b), Fraction(a) + Fraction(b))
                  for a, b in zip(mids, rads, strict=True))
            for mids, rads in zip(outputs.mid.tolist(), radii(outputs).tolist(), strict=True)
        ),
        equilibria=Z,
        features=phi,
        gradient_norms=norms,
        gradient_norm=total,
    )  # fmt: skip


def equilibria(
    weight: MatrixEnclosure, phi: MatrixEnclosure, moduli: tuple[Modulus, ...], deadline: float
) -> Layer:
    """Enclose Z by residuals and moduli, then by one step relu(g A z + phi) of the enclosure.

    A sample with phi = 0 has z = 0, its only equilibrium. The step tells the units that are off
    and never widens: the lesser radius of the two is kept entry by entry.
    """
    given = (phi.mid, radii(phi))
    records = certify_samples(weight, RELU, given, moduli, deadline=deadline)
    mid = np.array([record.z_mid for record in records])
    rad = np.repeat(np.array([[record.radius_inf] for record in records]), mid.shape[1], axis=1)
    silent = ~(phi.mid.any(axis=1) | radii(phi).any(axis=1))
    mid[silent], rad[silent] = 0.0, 0.0
    if not np.isfinite(rad).all():
        nothing = np.zeros(mid.shape, dtype=bool)
        return Layer(MatrixEnclosure(mid, rad), Signs(nothing, nothing))
    step = rectify(add(product(MatrixEnclosure(mid, rad), transpose(_plain(weight))), phi))
    better = radii(step.value) <= rad
    kept = np.where(better, radii(step.value), rad)
    return Layer(enclosed(np.where(better, step.value.mid, mid), kept), step.signs)


def _plain(weight: MatrixEnclosure) -> MatrixEnclosure:
    return MatrixEnclosure(weight.mid, weight.rad)


def smallest_singular(task: Task, states: Layer, phi: MatrixEnclosure) -> Evidence:
    """Enclose s0, by Weyl's bound for the radii of Z and Phi; exactly 0 where a rank proves it."""
    stacked = np.hstack([states.value.mid, phi.mid])
    spread = np.hstack([radii(states.value), radii(phi)])
    live = count_live(stacked, spread)
    keep = (stacked != 0.0).any(axis=0) | (spread != 0.0).any(axis=0)
    if not keep.any() or live < task.n:
        return Evidence(Enclosure.exact(0), how="fewer units than samples are ever active")
    middle, around = (np.ascontiguousarray(part[:, keep]) for part in (stacked, spread))
    value, _ = enclose_singular_extremes(Features(middle, row_size(spread), around), ones=False)
    if not (isinstance(value.hi, Fraction) and value.width <= value.lo * NARROW):
        value = value.intersection(_by_gram(enclosed(middle, around)))
    if value.lo == 0:
        zero = (states.value.mid == 0.0) & (radii(states.value) == 0.0)
        patterns = known_patterns(states.signs.on, zero)
        if rank_bound(task.values, task.W, live, patterns) < task.n:
            return Evidence(Enclosure.exact(0), how="a dependence of samples, in integers")
    return Evidence(
        Enclosure(max(value.lo, Fraction(0)), value.hi), None, (PRODUCTS,),
        "Gram matrix of the middles, moved by the radii",
        "" if value.lo > 0 else "no lower bound of the smallest singular value is proved",
    )  # fmt: skip


def _by_gram(features: MatrixEnclosure) -> Enclosure:
    """Enclose s0 by the smallest eigenvalue of F^T F, whose radii hold those of F."""
    gram = product(features, transpose(features))
    # the middle need not be symmetric in its last bits, but each of its halves encloses both
    mid, rad = (np.tril(part) + np.tril(part, -1).T for part in (gram.mid, radii(gram)))
    value = enclose_smallest_eigenvalue(mid, error=norm_up(rad), with_witness=False).enclosure()
    if not value.is_bounded:
        return Enclosure(0, INF)
    return root(Enclosure(max(value.lo, Fraction(0)), max(value.hi, Fraction(0))))


def open_state(
    task: Task, phi: MatrixEnclosure, norm: Evidence, margin: Evidence, norm_X: Evidence, why: str
) -> ImplicitState:
    """Return the state in which the equilibria are not enclosed."""
    nothing = MatrixEnclosure(np.zeros((task.n, task.m)), np.full((task.n, task.m), np.inf))
    count = task.targets.size
    return ImplicitState(
        residual_norm=unbounded(why),
        residual_mid=np.zeros(count),
        residual_rad=np.full(count, np.inf),
        s0=unbounded(why),
        norm_Z0=unbounded(why),
        norm_X=norm_X,
        norm_W=norm,
        monotone_margin=margin,
        well_posed=Evidence(well_posedness(()).value, why_open=why),
        moduli=(),
        outputs=((Enclosure.unbounded(),) * task.targets.shape[1],) * task.n,
        equilibria=nothing,
        features=phi,
        gradient_norms={name: unbounded(why) for name in TENSORS},
        gradient_norm=unbounded(why),
    )


def _scaled(found: Evidence, factor: Fraction) -> Evidence:
    value = scaled(found.enclosure(), factor)
    return Evidence(value, None, found.assumes, found.how, found.why_open)
