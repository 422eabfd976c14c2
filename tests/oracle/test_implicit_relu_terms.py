"""Every error term of the implicit ReLU kernels is needed: without it a containment fails."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq, fmpq_mat

from verify.enclosure import INF, Enclosure
from verify.network import Activation, Equilibrium, ReluFeatureInput, ScaledGaussianWeight
from verify_kernels.enclosed_products import scale as exact_scale
from verify_kernels.equilibrium_residual import Modulus
from verify_kernels.forward import Features, Inputs
from verify_kernels.implicit_relu import (
    ball_work,
    balls,
    enclose_implicit,
    floats,
    gradients,
    layers,
    moduli,
    spectrum,
)
from verify_kernels.implicit_relu.state import read_task
from verify_kernels.matrix import MatrixEnclosure

RELU = Activation("relu")


def _network(rng: np.random.Generator, m: int, d: int) -> Equilibrium:
    weight = ScaledGaussianWeight(rng.standard_normal((m, m)), Fraction(1, 4))
    readout = {"u": rng.standard_normal(m), "v": rng.standard_normal(m)}
    return Equilibrium(weight, RELU, ReluFeatureInput(rng.standard_normal((m, d))), readout)


def _misses(value: Enclosure, ball: Any) -> bool:
    known = Enclosure.from_arb(ball)
    return bool(known.hi < value.lo or known.lo > value.hi)


def _entry_misses(given: MatrixEnclosure, truth: Any) -> bool:
    rad = np.zeros_like(given.mid) if given.rad is None else given.rad
    for index, mid in np.ndenumerate(given.mid):
        low, high = (Fraction(float(mid)) + sign * Fraction(float(rad[index])) for sign in (-1, 1))
        if _misses(Enclosure(low, high), truth[index[0], index[1]]):
            return True
    return False


def _truth(network: Equilibrium, X: Any, y: Any) -> dict[str, Any]:
    """All quantities at 400 bits by active sets that are proved by substitution."""
    A, W = network.weight.A, network.input.V
    m, n = len(A), len(X)
    g = arb(fmpq(1, 4)) / arb(m).sqrt()
    B = arb_mat([[arb(float(x)) * g for x in row] for row in A])
    Z, Phi = arb_mat(n, m), arb_mat(n, m)
    patterns = []
    for i, x in enumerate(X):
        exact = [sum(Fraction(float(a)) * Fraction(float(t)) for a, t in zip(w, x, strict=True))
                 for w in W]  # fmt: skip
        positive = [max(Fraction(0), t) for t in exact]
        b = arb_mat([[arb(fmpq(t.numerator, t.denominator)) / arb(m).sqrt()] for t in positive])
        z = np.zeros(m)
        G = A / 4 / np.sqrt(m)
        for _ in range(300):
            z = np.maximum(G @ z + np.array([float(t.mid()) for t in b.entries()]), 0.0)
        live = [k for k in range(m) if z[k] > 0]
        solved = arb_mat(m, 1)
        if live:
            block = arb_mat([[int(j == k) - B[j, k] for k in live] for j in live])
            part = block.solve(arb_mat([[b[k, 0]] for k in live]))
            for place, k in enumerate(live):
                solved[k, 0] = part[place, 0]
        v = B * solved + b
        assert all(v[k, 0] > 0 if k in live else v[k, 0] <= 0 for k in range(m))
        patterns.append(live)
        for k in range(m):
            Z[i, k], Phi[i, k] = solved[k, 0], b[k, 0]
    u, v = (arb_mat([[arb(float(t))] for t in network.readout[name]]) for name in ("u", "v"))
    r = Z * u + Phi * v - arb_mat([[arb(float(t))] for t in y])
    F = arb_mat([[*a, *b] for a, b in zip(Z.tolist(), Phi.tolist(), strict=True)])
    return {"Z": Z, "Phi": Phi, "r": r, "F": F, "B": B, "patterns": patterns}


def _length(entries: Any) -> Any:
    return sum((x * x for x in entries), arb(0)).nonnegative_part().sqrt()


def _extremes(F: Any) -> tuple[Any, Any]:
    K = F * F.transpose()
    n = K.nrows()
    near, radius = [], arb(0)
    for i in range(n):
        for k in range(n):
            mantissa, exponent = K[max(i, k), min(i, k)].mid().man_exp()
            near.append(fmpq(mantissa) * fmpq(2) ** int(exponent))
            radius += K[i, k].rad()
    roots = [root.real for root, _ in fmpq_mat(n, n, near).charpoly().numer().complex_roots()]
    moved = arb(0, radius.abs_upper())
    low, top = roots[0], roots[0]
    for root in roots[1:]:
        low, top = low.min(root), top.max(root)
    return tuple((x + moved).nonnegative_part().sqrt() for x in (low, top))


def _cases(count: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        m, d, n = int(rng.integers(3, 8)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
        network = _network(rng, m, d)
        X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
        with ctx.workprec(400):
            yield network, X, y, _truth(network, X, y)


def _wrong(count: int, seed: int, *, precise: bool = False) -> set[str]:
    """Return the names of the quantities whose enclosure missed the truth in some case."""
    missed: set[str] = set()
    for network, X, y, known in _cases(count, seed):
        state = enclose_implicit(network, Inputs.of(X, (X.shape[1],)), y, precise=precise)
        low, _ = _extremes(known["F"])
        _, top = _extremes(known["Z"])
        checks = {
            "Z": _entry_misses(state.equilibria, known["Z"]),
            "Phi": _entry_misses(state.features, known["Phi"]),
            "r": _misses(state.residual_norm.enclosure(), _length(known["r"].entries())),
            "u": _misses(state.gradient_norms["u"].enclosure(),
                         _length((known["Z"].transpose() * known["r"]).entries())),
            "s0": _misses(state.s0.enclosure(), low),
            "norm_Z0": _misses(state.norm_Z0.enclosure(), top),
        }  # fmt: skip
        missed |= {name for name, is_wrong in checks.items() if is_wrong}
    return missed


COUNT, SEED = 6, 5


def test_nothing_is_missed_as_it_stands() -> None:
    assert _wrong(COUNT, SEED) == set()
    assert _wrong(COUNT, SEED, precise=True) == set()


def _without_radius(given: MatrixEnclosure) -> MatrixEnclosure:
    return MatrixEnclosure(given.mid, None)


def test_the_radius_of_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    original = layers.rectify

    def mutated(argument: MatrixEnclosure) -> Any:
        found = original(argument)
        return replace(found, value=_without_radius(found.value))

    monkeypatch.setattr(floats, "rectify", mutated)
    monkeypatch.setattr(floats, "scale", lambda a, p, q: _without_radius(exact_scale(a, p, q)))
    assert "Phi" in _wrong(COUNT, SEED)


def test_the_rounding_of_the_scaling_by_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """With phi = relu(w x) exact (a power of two times w) only the scaling is rounded."""

    def mutated(a: MatrixEnclosure, p: Any, q: Any) -> MatrixEnclosure:
        return _without_radius(exact_scale(a, p, q))

    rng = np.random.default_rng(2)
    wrong = {False: 0, True: 0}
    for change in (False, True):
        if change:
            monkeypatch.setattr(floats, "scale", mutated)
        for _ in range(10):
            network = _network(rng, 3, 1)
            task = read_task(network, Inputs.of([[2.0]], (1,)), [0.0])
            phi, _ = floats.enclose_features(task)
            with ctx.workprec(400):
                truth = _truth(network, [[2.0]], [0.0])["Phi"]
                wrong[change] += _entry_misses(phi, truth)
    assert wrong[False] == 0
    assert wrong[True] > 0


def test_the_distance_to_the_equilibrium(monkeypatch: pytest.MonkeyPatch) -> None:
    original = floats.certify_samples
    monkeypatch.setattr(
        floats,
        "certify_samples",
        lambda *a, **k: [replace(record, radius_inf=0.0) for record in original(*a, **k)],
    )
    assert "Z" in _wrong(COUNT, SEED)


def _far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Move every proposed equilibrium by 2^-12 and say so: the enclosures stay true, and wide."""
    original = floats.certify_samples

    def coarse(*a: Any, **k: Any) -> Any:
        return [
            replace(record, z_mid=record.z_mid + 2.0**-12, radius_inf=record.radius_inf + 2.0**-11)
            for record in original(*a, **k)
        ]

    monkeypatch.setattr(floats, "certify_samples", coarse)


def test_far_proposals_stay_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    _far(monkeypatch)
    assert _wrong(COUNT, SEED) == set()


def test_the_radius_of_the_equilibria_in_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    _far(monkeypatch)
    original = floats.product
    monkeypatch.setattr(floats, "product", lambda a, b: original(_without_radius(a), b))
    assert "Z" in _wrong(COUNT, SEED)


def test_the_radius_in_s0_by_singular_values(monkeypatch: pytest.MonkeyPatch) -> None:
    _far(monkeypatch)
    monkeypatch.setattr(floats, "_by_gram", lambda given: Enclosure(0, INF))
    assert "s0" not in _wrong(COUNT, SEED)
    monkeypatch.setattr(
        floats, "Features", lambda mid, rows, radius: Features(mid, 0 * rows, 0 * radius)
    )
    assert "s0" in _wrong(COUNT, SEED)


def test_the_radius_in_s0_by_the_gram_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    _far(monkeypatch)
    monkeypatch.setattr(
        floats, "enclose_singular_extremes", lambda given, ones: (Enclosure(0, INF),) * 2
    )
    assert "s0" not in _wrong(COUNT, SEED)
    monkeypatch.setattr(floats, "norm_up", lambda values: 0.0)
    assert "s0" in _wrong(COUNT, SEED)


def test_the_radius_in_the_norm_of_z(monkeypatch: pytest.MonkeyPatch) -> None:
    _far(monkeypatch)
    original = floats.enclose_spectral_norm

    def mutated(given: Any, **settings: Any) -> Any:
        bare = _without_radius(given) if isinstance(given, MatrixEnclosure) else given
        return original(bare, **settings)

    monkeypatch.setattr(floats, "enclose_spectral_norm", mutated)
    assert "norm_Z0" in _wrong(COUNT, SEED)


def test_the_radius_in_norms_of_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    _far(monkeypatch)
    original = floats.frobenius
    monkeypatch.setattr(floats, "frobenius", lambda given: original(_without_radius(given)))
    monkeypatch.setattr(gradients, "frobenius", lambda given: original(_without_radius(given)))
    assert {"r", "u"} <= _wrong(COUNT, SEED)


@pytest.mark.parametrize("name", ["norm_up", "norm_down"])
def test_the_rounding_of_norms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    wrong = {False: 0, True: 0}
    for change in (False, True):
        if change:
            monkeypatch.setattr(layers, name, lambda values: float(np.linalg.norm(values)))
        for _ in range(40):
            matrix = rng.standard_normal((3, 3))
            with ctx.workprec(400):
                truth = _length([arb(float(x)) for x in matrix.ravel()])
                wrong[change] += _misses(layers.frobenius(MatrixEnclosure(matrix)), truth)
    assert wrong[False] == 0
    assert wrong[True] > 0


# ---------------------------------------------------------------- adjoints


def _adjoint_case(rng: np.random.Generator, m: int) -> tuple[Any, Any, Any, Any, Any]:
    """W with a modulus of each kind in turn, a mask and sources, and the exact adjoint."""
    W = rng.standard_normal((m, m))
    kind = int(rng.integers(3))
    if kind == 0:
        W *= 0.5 / np.linalg.norm(W, 2)
        found = Modulus("contraction", Fraction(1, 2) + Fraction(1, 2**40))
    elif kind == 1:
        W = 3.0 * (W - W.T)
        found = Modulus("monotone", Fraction(1))
    else:
        W = np.tril(W, -1)
        eta = 64.0 ** np.arange(m)
        ratio = (np.abs(W) @ eta / eta).max()
        found = Modulus("weighted", Fraction(float(ratio)) + Fraction(1, 2**20), eta)
        if found.value >= 1:
            return _adjoint_case(rng, m)
    mask = rng.random((2, m)) < 0.7
    sources = rng.standard_normal((2, m))
    P = fmpq_mat(2, m)
    for i in range(2):
        on = [int(k) for k in np.flatnonzero(mask[i])]
        if on:
            block = fmpq_mat([[fmpq(int(j == k)) - fmpq(*float(W[j, k]).as_integer_ratio())
                               for j in on] for k in on])  # fmt: skip
            right = fmpq_mat([[fmpq(*float(sources[i, k]).as_integer_ratio())] for k in on])
            for place, k in enumerate(on):
                P[i, k] = block.solve(right)[place, 0]
    return W, found, mask, sources, P


def _wrong_adjoints() -> int:
    rng = np.random.default_rng(8)
    wrong = 0
    for _ in range(60):
        W, found, mask, sources, P = _adjoint_case(rng, 4)
        near = gradients.adjoint(MatrixEnclosure(W), mask, MatrixEnclosure(sources), [found])
        with ctx.workprec(400):
            truth = arb_mat(P)
            wrong += _entry_misses(near, truth)
    return wrong


def test_the_distance_to_the_adjoint(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _wrong_adjoints() == 0
    monkeypatch.setattr(gradients, "adjoint_distances", lambda size, found: np.zeros(len(size)))
    assert _wrong_adjoints() > 0


def test_far_adjoints_stay_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    """An approximation that is off by 2^-6: each modulus pays for it, its residual alone not."""
    original = gradients._approximate
    monkeypatch.setattr(
        gradients,
        "_approximate",
        lambda W, mask, c: np.where(mask, original(W, mask, c) + 2.0**-6, 0),
    )
    assert _wrong_adjoints() == 0
    monkeypatch.setattr(
        gradients, "adjoint_distances", lambda size, found: np.max(size, axis=1, initial=0.0)
    )
    assert _wrong_adjoints() > 0


@pytest.mark.parametrize("kind", ["contraction", "monotone", "weighted"])
def test_every_factor_of_the_distance_is_needed(kind: str) -> None:
    """One unit z = w z + c attains ||rho||/(1 - w), which is ||rho||/mu."""
    w = 0.5
    found = Modulus(kind, Fraction(1, 2), np.ones(1) if kind == "weighted" else None)
    rho = np.array([[1.0]])
    bound = float(moduli.adjoint_distances(rho, [found])[0])
    assert 1.0 / (1.0 - w) <= bound < 2.0001
    assert np.isinf(moduli.adjoint_distances(rho, []))


# ---------------------------------------------------------------- balls


def test_the_distance_in_balls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ball_work, "_distance", lambda B, rho, modulus: arb(0))
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(5):
        network = _network(rng, 4, 2)
        X = rng.standard_normal((2, 2))
        state = enclose_implicit(network, Inputs.of(X, (2,)), [1.0, 1.0], precise=True)
        with ctx.workprec(400):
            known = _truth(network, X, [1.0, 1.0])["Z"]
            wrong += any(
                not a.overlaps(b)
                for a, b in zip(state.balls[0].entries(), known.entries(), strict=True)
            )
    assert wrong > 0


def test_far_proposals_in_balls_stay_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proposal that is off by 2^-20 has wide balls, and every quantity stays contained."""
    original = ball_work._propose

    def coarse(B: Any, b: Any, on: Any) -> Any:
        near = original(B, b, on)
        return arb_mat(near.nrows(), 1, [x + arb(2) ** -20 for x in near.entries()])

    monkeypatch.setattr(ball_work, "_propose", coarse)
    assert _wrong(4, SEED, precise=True) == set()
    middle = spectrum._middle
    monkeypatch.setattr(spectrum, "_middle", lambda given: (middle(given)[0], Fraction(0)))
    assert {"s0", "norm_Z0"} <= _wrong(4, SEED, precise=True)
    monkeypatch.setattr(ball_work, "_distance", lambda B, rho, modulus: arb(2) ** -30)
    assert "Z" in _wrong(4, SEED, precise=True)


def test_the_uncertainty_of_g(monkeypatch: pytest.MonkeyPatch) -> None:
    """||g A|| and mu0 hold an irrational factor: a rounded one misses."""
    original = balls.root
    rng = np.random.default_rng(9)
    wrong = {False: 0, True: 0}
    for change in (False, True):
        if change:

            def rounded(value: Enclosure) -> Enclosure:
                return Enclosure.exact(float(original(value).lo))

            monkeypatch.setattr(balls, "root", rounded)
            monkeypatch.setattr(moduli, "root", rounded)
        for precise in (False, True):
            a = float(rng.standard_normal())
            network = Equilibrium(
                ScaledGaussianWeight(np.diag([a, a, a]), Fraction(1, 4)), RELU,
                ReluFeatureInput(np.ones((3, 1))), {"u": np.ones(3), "v": np.ones(3)},
            )  # fmt: skip
            state = enclose_implicit(network, Inputs.of([[1.0]], (1,)), [1.0], precise=precise)
            with ctx.workprec(400):
                g = arb(a) / 4 / arb(3).sqrt()
                wrong[change] += _misses(state.norm_W.enclosure(), abs(g))
                wrong[change] += _misses(state.monotone_margin.enclosure(), 1 - g)
    assert wrong[False] == 0
    assert wrong[True] > 0
