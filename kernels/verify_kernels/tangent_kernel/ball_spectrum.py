"""Tight enclosures of the spectrum of K = J J^T for small networks, in ball arithmetic."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from flint import acb_mat, arb, arb_mat, ctx, fmpq_mat

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify.network import Graph
from verify.verdict import Truth
from verify_kernels._rounding import float_up
from verify_kernels.tangent_kernel.columns import count_parameters, trained_slots
from verify_kernels.tangent_kernel.exact import rational_gram, require_small, size_of
from verify_kernels.tangent_kernel.gram import TangentGram
from verify_kernels.tangent_kernel.singularity import kernel_vector, structural_singularity
from verify_kernels.tangent_kernel.spectrum import TangentSpectrum, clipped
from verify_kernels.tangent_kernel.walk import KinkError, OpenError, output_place
from verify_kernels.tangent_kernel.wide_balls import ORDER, WORK, ball_gram

BITS = (128, 256, 512, 1024, 2048)
LARGEST, MOST = 120, 30_000_000  # rows, and products that K is made of
SHARP = Fraction(1, 2**80)  # a relative width that needs no more bits


def ball_tangent_spectrum(
    graph: Graph, inputs: Any, *, frozen: Iterable[str] = (), deadline: float = math.inf
) -> TangentSpectrum:
    """Enclose the extreme eigenvalues of K = J J^T in balls of growing precision.

    With approximate eigenvectors V of K, G = V^T V and B = V^T K V in balls, and
    ||G - I||_inf <= alpha < 1, Ostrowski's and Gershgorin's theorems give
    min_i (B_ii - r_i)/(1 + alpha) <= lambda_min(K) <= min_i B_ii/G_ii, r_i the sum of the
    |B_ij|, j != i; lambda_max(K) likewise. Rational networks have K itself, exactly.

    Args:
        graph: as for `enclose_tangent_gram`, but small.
        inputs: `verify_kernels.forward.inputs.Inputs`.
        frozen: roles that training does not change.
        deadline: ``time.monotonic`` from which on no further precision is tried.

    Returns:
        Enclosures of a relative width of about 2^-80; lambda_min exactly [0, 0] where K is proved
        singular, [0, hi] with the reason where that is not decided; unbounded, with the reason,
        where K is not enclosed.

    Raises:
        InputError: a frozen role that the network does not have, or no sample.
    """
    frozen = frozenset(frozen)
    try:
        exact = _rational(graph, inputs, frozen)
    except KinkError as reason:
        return _nothing(graph, str(reason))
    singular = structural_singularity(graph, inputs, frozen)
    if exact is not None and singular.value is not Truth.REFUTED:
        singular = kernel_vector(exact) or singular
    best: TangentSpectrum | None = None
    why, spent = "the time ran out", _seconds(graph, inputs) / 2.0
    for bits in BITS:
        if time.monotonic() + 2.0 * spent > deadline:
            break
        start = time.monotonic()
        try:
            K = exact if exact is not None else _gram(graph, inputs, bits, frozen)
        except KinkError as reason:
            why = str(reason)
            continue
        except OpenError as reason:
            why = str(reason)
            break
        found = _spectrum(graph, frozen, K, bits, singular)
        if best is None or found.smallest.enclosure().width <= best.smallest.enclosure().width:
            best = found
        if _is_sharp(best):
            break
        spent = time.monotonic() - start
    return best if best is not None else _nothing(graph, why)


def _seconds(graph: Graph, inputs: Any) -> float:
    """Return about how long the first precision takes."""
    rows, work = size_of(graph, inputs.count)
    return 1e-6 * rows**3 + 1e-7 * work


def _gram(graph: Graph, inputs: Any, bits: int, frozen: frozenset[str]) -> Any:
    return ball_gram(graph, inputs, bits, frozen=frozen, order=LARGEST, work=MOST)


def _rational(graph: Graph, inputs: Any, frozen: frozenset[str]) -> Any:
    """Return K exactly, or None where the network is not rational or too large.

    Raises:
        KinkError: J does not exist.
    """
    try:
        require_small(graph, inputs.count, ORDER, WORK)
        return rational_gram(graph, inputs, frozen=frozen)
    except KinkError:
        raise
    except OpenError:
        return None


def _is_sharp(found: TangentSpectrum) -> bool:
    for value in (found.smallest.enclosure(), found.largest.enclosure()):
        if not (isinstance(value.width, Fraction) and value.width <= SHARP * value.hi):
            return False
    return True


def _nothing(graph: Graph, why: str) -> TangentSpectrum:
    nothing = Evidence(Enclosure.unbounded(), why_open=why)
    outputs = math.prod(graph.nodes[output_place(graph)].shape)
    gram = TangentGram(np.zeros((1, 1)), math.inf, outputs, 0, (), why)
    return TangentSpectrum(nothing, nothing, gram)


def _spectrum(
    graph: Graph, frozen: frozenset[str], K: Any, bits: int, singular: Evidence
) -> TangentSpectrum:
    place = output_place(graph)
    parameters = count_parameters(graph, trained_slots(graph, place, frozen))
    outputs = math.prod(graph.nodes[place].shape)
    exact = isinstance(K, fmpq_mat)
    with ctx.workprec(bits):
        balls = arb_mat(K) if exact else K
        least, most = extreme_eigenvalues(balls)
        gram = _in_floats(balls, outputs, parameters)
    kind = "exact rational K, " if exact else ""
    how = f"{kind}approximate eigenvectors in balls of {bits} bits"
    why = f"K is not told apart from a singular matrix with {bits} bits"
    if singular.value is Truth.REFUTED:
        smallest = Evidence(Enclosure.exact(0), singular.witness, how=singular.how)
    else:
        smallest = Evidence(least, how=how, why_open="" if least.lo > 0 else why)
    return TangentSpectrum(smallest, Evidence(most, how=how), gram, K, bits)


def extreme_eigenvalues(K: Any) -> tuple[Enclosure, Enclosure]:
    """Enclose the extreme eigenvalues of every symmetric semidefinite matrix in an ``arb_mat``.

    In the precision of the context; unbounded above where K is not finite or the vectors fail.
    """
    n = K.nrows()
    V = _basis(K)
    if V is None:
        return Enclosure(0, math.inf), Enclosure(0, math.inf)
    turned = V.transpose()
    G, B = turned * V, turned * K * V
    unit = arb_mat(n, n, [int(i == j) for i in range(n) for j in range(n)])
    alpha = _largest([_row(G - unit, i, None) for i in range(n)])
    quotients = [B[i, i] / G[i, i] for i in range(n)]
    if not (alpha < 1 and all(q.is_finite() for q in quotients)):
        return Enclosure(0, math.inf), Enclosure(0, math.inf)
    radii = [_row(B, i, i) for i in range(n)]
    low = _least([(B[i, i] - radii[i]).lower() for i in range(n)]) / (1 + alpha)
    high = _largest([(B[i, i] + radii[i]).upper() for i in range(n)]) / (1 - alpha)
    least = _between(low.lower(), _least([q.upper() for q in quotients]))
    most = _between(_largest([q.lower() for q in quotients]), high.upper())
    return least, most


def _between(lo: Any, hi: Any) -> Enclosure:
    low, high = Enclosure.from_arb(lo), Enclosure.from_arb(hi)
    return clipped(Enclosure(low.lo, high.hi))


def _basis(K: Any) -> Any:
    """Return approximate orthonormal eigenvectors as columns, or None."""
    n = K.nrows()
    if not all(entry.is_finite() for entry in K.entries()):
        return None
    _, R = acb_mat(K.mid()).eig(right=True, algorithm="approx")
    columns: list[Any] = []
    for j in range(n):
        v = arb_mat(n, 1, [R[i, j].real.mid() for i in range(n)])
        for _ in range(2):  # eigenvectors of one eigenvalue are not orthogonal of themselves
            for u in columns:
                v = (v - u * (u.transpose() * v)[0, 0].mid()).mid()
            v = (v / (v.transpose() * v)[0, 0].sqrt()).mid()
        columns.append(v)
    return arb_mat(n, n, [columns[j][i, 0] for i in range(n) for j in range(n)])


def _row(matrix: Any, i: int, left_out: int | None) -> Any:
    """Return an upper bound of the sum of the moduli of a row."""
    total = arb(0)
    for j in range(matrix.ncols()):
        if j != left_out:
            total += abs(matrix[i, j])
    return total.upper()


def _largest(values: list[Any]) -> Any:
    found = values[0]
    for value in values[1:]:
        found = value if value > found else found
    return found


def _least(values: list[Any]) -> Any:
    found = values[0]
    for value in values[1:]:
        found = value if value < found else found
    return found


def _in_floats(balls: Any, outputs: int, parameters: int) -> TangentGram:
    """Round K to floats, with a bound of the distance by row sums."""
    n = balls.nrows()
    mid = np.array([float(entry.mid()) for entry in balls.entries()]).reshape(n, n)
    mid = np.triu(mid) + np.triu(mid, 1).T
    why = "numbers leave the range of binary64"
    if not np.isfinite(mid).all():
        return TangentGram(np.zeros((n, n)), math.inf, outputs, parameters, (), why)
    rest = balls - arb_mat(n, n, [arb(entry) for entry in mid.ravel().tolist()])
    bound = Enclosure.from_arb(_largest([_row(rest, i, None) for i in range(n)])).hi
    error = float_up(bound) if isinstance(bound, Fraction) else math.inf
    return TangentGram(mid, error, outputs, parameters, (), "" if error < math.inf else why)
