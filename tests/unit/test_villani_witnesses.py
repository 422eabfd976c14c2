"""Witnesses against (and for) the Villani property: each trap, each kind, each tampered copy."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels.activation_analysis import analyse
from verify_kernels.two_layer import (
    cancelling_pair,
    constant_output,
    curvature,
    exact_data,
    kinks,
    log_oscillation,
    mirror_data,
    noise_spectrum,
    oscillation_form,
    polynomial,
    polynomial_form,
    positive_span,
    ray_search,
    ray_sums,
    rays,
    spanning,
)
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.balls import precision

X2 = np.array([[1.0, 0.5], [-0.25, 2.0], [3.0, -1.0]])
Y2 = np.array([1.0, -0.5, 0.25])


def problem(
    activation: str, X: Any = X2, y: Any = Y2, loss: str = "squared", **penalties: Any
) -> Problem:
    return Problem(
        np.asarray(X, dtype=float),
        np.asarray(y, dtype=float),
        Activation.parse(activation),
        {role: Fraction(value) for role, value in penalties.items()},
        loss,  # type: ignore[arg-type]
    )


def point(a: Any, d: int = 2, b: Any = None, c: Any = None) -> Point:
    W = np.arange(len(a) * d, dtype=float).reshape(len(a), d) / 4.0 - 0.5
    return Point(W, np.asarray(a, dtype=float), b, c)


def tampered(evidence: Evidence, **changes: Any) -> Witness:
    assert evidence.witness is not None
    return Witness(evidence.witness.kind, {**evidence.witness.data, **changes})


@pytest.mark.parametrize(
    ("activation", "order"),
    [
        ("relu", 1), ("leaky_relu(0.1)", 1), ("hardtanh", 1), ("relu6", 1), ("abs", 1),
        ("elu(2)", 1), ("elu(1)", 2), ("softsign", 2), ("Max(z,0)**2", 2), ("Abs(tanh(z))", 1),
        ("sign(z)", 0), ("Max(z,0)**3", 3), ("Max(z-1/10,0)", 1),
        ("Max(z,1/3)", 1), ("Abs(z**2-2)", 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_first_derivative_that_jumps(activation: str, order: int, loss: str) -> None:
    risk = problem(activation, y=[1.0, -1.0, 1.0], loss=loss, W=1)
    at, facts = point([1.0, -0.5]), analyse(risk.activation)
    found = kinks.decide_smoothness(risk, at, facts)
    assert found.value is Truth.REFUTED
    assert found.witness is not None
    assert found.witness.data["order"] == order
    assert kinks.replay_kink(found.witness, risk, at, facts)
    shifted = [end + 1 for end in found.witness.data["jump"]]
    assert not kinks.replay_kink(tampered(found, jump=shifted), risk, at, facts)
    moved = [w + 1 for w in found.witness.data["row"]]
    assert not kinks.replay_kink(tampered(found, row=moved), risk, at, facts)


def test_a_kinked_activation_alone_refutes_nothing() -> None:
    """Mirror inputs make a smooth risk, a = 0 too; a repeated input leaves the second order."""
    facts = analyse(Activation.parse("relu"))
    mirror = problem("relu", X=[[1.0], [-1.0]], y=[1.0, -1.0], W=1)
    assert kinks.decide_smoothness(mirror, point([1.0], 1), facts).value is Truth.UNDECIDED
    nothing = problem("relu", W=1)
    assert kinks.decide_smoothness(nothing, point([0.0, 0.0]), facts).value is Truth.UNDECIDED
    repeated = problem("relu", X=[[1.0], [1.0]], y=[1.0, -1.0], W=1)
    found = kinks.decide_smoothness(repeated, point([1.0], 1), facts)
    assert found.witness is not None
    assert found.witness.data["order"] == 2
    zero = kinks.Candidate(0, [Fraction(0)], None, [Fraction(1)], [Fraction(1)])
    first = kinks.jump_at(repeated, point([1.0], 1), facts, zero, lowest=1)
    assert first is not None
    assert first.order == 2


def test_a_kink_known_as_an_enclosure_needs_the_other_data_away() -> None:
    """At 1/10 repeated inputs are at the kink together; a multiple so near is not told apart."""
    facts = analyse(Activation.parse("Max(z-1/10,0)"))
    assert not facts.kinks[0].place.is_exact
    risk = problem("Max(z-1/10,0)", X=[[1.0], [1.0], [-2.0]], y=[1.0, -1.0, 3.0], W=1)
    found = kinks.decide_smoothness(risk, point([1.0], 1), facts)
    assert found.value is Truth.REFUTED
    assert found.witness is not None
    assert kinks.replay_kink(found.witness, risk, point([1.0], 1), facts)
    assert found.witness.data["data"] == [0, 1]
    assert found.witness.data["order"] == 2  # the first derivatives cancel
    middle = kinks.places_of(facts)[0].middle
    near = replace(risk, X=np.array([[1.0], [1.0 + 2.0**-52], [-2.0]]))
    wide = replace(facts.kinks[0], place=Enclosure(middle - Fraction(1, 2**40), middle))
    blurred = replace(facts, kinks=(wide,))
    assert kinks.decide_smoothness(near, point([1.0], 1), facts).value is Truth.REFUTED
    centre = kinks.places_of(blurred)[0].middle
    line = kinks.Candidate(0, [centre], None, [Fraction(1)], [Fraction(1)], 0)
    assert kinks.line_series(near, point([1.0], 1), blurred, line) is None


def test_mirror_data_hide_the_kinks() -> None:
    cases = [
        ("relu", [[1.0], [-1.0]], [1.0, -1.0], [1.0], Truth.PROVED),
        ("relu", [[1.0], [-1.0]], [1.0, 1.0], [1.0], Truth.UNDECIDED),
        ("relu", [[1.0], [-2.0]], [1.0, -0.5], [1.0], Truth.UNDECIDED),
        ("relu", [[3.0], [-5.0], [4.0]], [0.0, 0.0, 0.0], [1.0], Truth.PROVED),
        ("leaky_relu(1/4)", [[1.0, 2.0], [-1.0, -2.0]], [1.0, -1.0], [0.0, 1.0], Truth.PROVED),
        ("relu", [[1.0], [-1.0]], [1.0, -1.0], [1.0, 1.0], Truth.UNDECIDED),
        ("abs", [[2.0], [1.0]], [1.0, -2.0], [1.0], Truth.PROVED),
        ("abs", [[2.0], [1.0]], [1.0, 2.0], [1.0], Truth.UNDECIDED),
        ("abs", [[2.0], [0.0]], [0.0, 7.0], [1.0], Truth.PROVED),
        ("elu(1)", [[1.0], [-1.0]], [1.0, -1.0], [1.0], Truth.UNDECIDED),
        ("hardtanh", [[1.0], [-1.0]], [1.0, -1.0], [1.0], Truth.UNDECIDED),
    ]
    for name, X, y, a, truth in cases:
        risk = problem(name, X=X, y=y, W="1/9")
        at, facts = point(a, len(X[0])), analyse(risk.activation)
        assert mirror_data.decide_mirror_data(risk, at, facts).value is truth, (name, X, y)
        smooth = kinks.decide_smoothness(risk, at, facts).value
        assert (smooth is Truth.REFUTED) == (truth is Truth.UNDECIDED)
        free = replace(risk, penalties={"W": Fraction(0)})
        assert mirror_data.decide_mirror_data(free, at, facts).value is Truth.UNDECIDED


def test_smooth_activations_are_proved_smooth() -> None:
    risk = problem("tanh", W=1)
    found = kinks.decide_smoothness(risk, point([1.0]), analyse(risk.activation))
    assert found.value is Truth.PROVED


def test_the_float_filter_keeps_every_exact_hit() -> None:
    generator = np.random.default_rng(5)
    for _ in range(200):
        X = generator.integers(-9, 10, (40, 3)) * 2.0 ** generator.integers(-600, 600, (40, 3))
        row = [Fraction(int(v), 7) for v in generator.integers(-9, 10, 3)]
        i = int(generator.integers(40))
        target = exact_data.dot(row, exact_data.fractions(X[i].tolist()))
        assert i in kinks._near(X, row, Fraction(0), [target])
        wanted = [k for k in range(40) if exact_data.dot(row, exact_data.fractions(X[k].tolist())) == target]  # fmt: skip  # noqa: E501
        assert set(wanted) <= set(kinks._near(X, row, Fraction(0), [target]))


def test_the_float_filter_needs_its_error_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.array([[0.1, 0.2, 0.3]])
    row = [Fraction(1, 3), Fraction(1, 7), Fraction(-1, 11)]
    target = exact_data.dot(row, exact_data.fractions(X[0].tolist()))
    assert kinks._near(X, row, Fraction(0), [target]) == [0]
    monkeypatch.setattr(kinks, "gamma", lambda k: 0.0)
    lost = 0
    for scale in range(1, 60):
        moved = [w * scale / 13 for w in row]
        lost += not kinks._near(X, moved, Fraction(0), [target * scale / 13])
    assert lost > 0


def test_the_outer_ray_is_tied_to_its_numbers() -> None:
    risk, at = problem("sigmoid", W="1/10", a="1/5"), point([1.0, 2.0])
    facts = analyse(risk.activation)
    found = cancelling_pair.decide_outer_layer(risk, at, facts)
    assert found.value is Truth.REFUTED
    assert found.witness is not None
    data = found.witness.data
    assert data["V_above"][-1][1] < 0 < data["V_below"][-1][0]
    assert data["s_below"] < data["s_crit"][0] <= data["s_crit"][1] < data["s_above"]
    assert cancelling_pair.replay_outer_layer(found.witness, risk, at)
    for name in ("V_above", "V_below"):
        wrong = [[lo * 2, hi * 2] for lo, hi in data[name]]
        assert not cancelling_pair.replay_outer_layer(tampered(found, **{name: wrong}), risk, at)
    assert not cancelling_pair.replay_outer_layer(tampered(found, signs=[1, 1]), risk, at)
    assert not cancelling_pair.replay_outer_layer(found.witness, replace(risk, loss_scale=2), at)


def test_the_outer_ray_refuses_a_frozen_layer_and_large_replays() -> None:
    risk = problem("tanh", W=1)
    facts = analyse(risk.activation)
    with pytest.raises(InputError, match=r"expected a trained outer layer, but got a frozen one"):
        cancelling_pair.decide_outer_layer(risk, point([1.0]), facts)
    big = problem("tanh", X=np.ones((60_000, 2)), y=np.ones(60_000), W=1, a=1)
    found = cancelling_pair.decide_outer_layer(big, point([1.0, 2.0]), facts)
    assert found.witness is not None
    with pytest.raises(InputError, match=r"expected at most \d+ products, but got"):
        cancelling_pair.replay_outer_layer(found.witness, big, point([1.0, 2.0]))


def test_an_ordinary_w0_needs_later_times() -> None:
    """Data shifted by 100: with such a w0, V_s is negative on both sides of s_crit until 1e6."""
    risk = problem("tanh", X=X2 + 100.0, W="1/10", a="1/10")
    at, facts = point([1.0, 2.0]), analyse(risk.activation)
    w0 = [[Fraction(1, 2), Fraction(1, 4)]]
    found = cancelling_pair.decide_outer_layer(risk, at, facts, candidates=w0)
    assert found.witness is not None
    data = found.witness.data
    assert all(hi < 0 for _, hi in data["V_below"][:3])
    assert data["V_below"][-1][0] > 0 > data["V_above"][-1][1]
    assert cancelling_pair.replay_outer_layer(found.witness, risk, at)


def test_one_neuron_with_a_trained_outer_layer() -> None:
    """s(0) = 0 refutes for one neuron as for two; a sigmoid has no zero and stays open."""
    for name, truth in (("tanh", Truth.REFUTED), ("gelu", Truth.REFUTED), ("sigmoid", Truth.UNDECIDED)):  # fmt: skip  # noqa: E501
        risk, at = problem(name, W=1, a=1), point([1.0])
        found = cancelling_pair.decide_outer_layer(risk, at, analyse(risk.activation))
        assert found.value is truth
        if found.witness:
            assert cancelling_pair.replay_outer_layer(found.witness, risk, at)


def test_the_sign_below_s_crit_is_shown_for_shifted_data_and_huge_labels() -> None:
    for risk in (
        problem("tanh", X=X2 + 100.0, W="1/10", a="1/10"),
        problem("tanh", y=Y2 * 1e160, W="1/10", a="1/10"),
        problem("softplus", X=X2 - 1000.0, W="1/10", a="1/10"),
        problem("tanh", X=X2 * 1e-300, W="1/10", a="1/10"),
    ):
        at = point([1.0, 2.0])
        found = cancelling_pair.decide_outer_layer(risk, at, analyse(risk.activation))
        assert found.witness is not None
        assert found.witness.data["V_below"][-1][0] > 0 > found.witness.data["V_above"][-1][1]
        assert cancelling_pair.replay_outer_layer(found.witness, risk, at)


def test_float_means_contain_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(8)
    violated = 0
    for _ in range(40):
        X = generator.standard_normal((30, 4)) * 2.0 ** generator.integers(-30, 30, (30, 4))
        y = generator.standard_normal(30)
        with precision(256):
            exactly = ray_sums.data_means(X, y)
            with monkeypatch.context() as patch:
                patch.setattr(exact_data, "LARGE", 0)
                in_floats = ray_sums.data_means(X, y)
                patch.setattr(ray_sums, "gamma", lambda m: 0.0)
                without = ray_sums.data_means(X, y)
        assert exactly is not None
        assert in_floats is not None
        assert without is not None
        for name in ("x", "yx", "y", "square", "y_square"):
            parts = [getattr(found, name) for found in (exactly, in_floats, without)]
            rows = zip(*(p if isinstance(p, list) else [p] for p in parts), strict=True)
            for true, wide, narrow in rows:
                assert wide.contains(true)
                violated += not narrow.overlaps(true)
    assert violated > 100


def test_flat_rays_of_every_argument() -> None:
    cases = [
        ("tanh", [1.0, 2.0], {"W": 0}, "one side"),
        ("softplus", [1.0, -2.0], {"W": 0}, "cancelling"),
        ("softplus", [1.0, -1.0], {"W": 0}, "constant"),
        ("softplus", [1.0, 0.0], {"W": 0}, "constant"),
        ("square", [1.0, -1.0], {"W": 1, "b": 0}, "constant"),
        ("gelu", [1.0, 2.0], {"W": 1, "b": 0}, "one side"),
        ("softplus", [1.0, 2.0], {"W": 0, "a": 1}, "constant"),
        ("softplus", [1.0, 2.0], {"W": 1, "a": 0}, "constant"),
    ]
    for name, a, penalties, argument in cases:
        risk = problem(name, X=[[1.0, 0.0], [-1.0, 1.0], [0.5, -1.0]], **penalties)
        at, facts = point(a, b=np.zeros(2) if "b" in penalties else None), analyse(risk.activation)
        found = rays.decide_growth(risk, at, facts)
        assert found.witness is not None
        assert found.witness.data["argument"] == argument
        assert rays.replay_flat_ray(found.witness, risk, at, facts)
        assert found.witness.data["bound"] is not None
        penalised = {role: Fraction(1) for role in risk.penalties}
        assert not rays.replay_flat_ray(
            found.witness, replace(risk, penalties=penalised), at, facts
        )
        low = tampered(found, bound=Fraction(-1))
        assert not rays.replay_flat_ray(low, risk, at, facts)


def test_frozen_biases_widen_the_bound_on_a_side() -> None:
    risk = problem("softplus", X=[[1.0, 2.0], [3.0, 1.0]], y=[0.0, 0.0], W=0)
    at, facts = point([1.0, 1.0], b=np.array([40.0, -3.0])), analyse(risk.activation)
    found = rays.decide_growth(risk, at, facts)
    assert found.witness is not None
    assert rays.replay_flat_ray(found.witness, risk, at, facts)


def test_jumps_void_the_asymptotes() -> None:
    """kappa0 = 0 here, and yet |s(4) - 4| = 4: the bound by kappa0 needs a continuous s."""
    risk = problem("Piecewise((0, z < 5), (z, True))", W=0)
    facts = analyse(risk.activation)
    assert facts.order == -1
    assert not ray_search.has_asymptotes(facts)
    found = rays.decide_growth(risk, point([1.0, -2.0]), facts)
    assert found.witness is None or found.witness.data["bound"] is None


def test_no_ray_where_the_risk_grows() -> None:
    triangle = [[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]]
    for name, a, penalties in (
        ("softplus", [1.0, 2.0], {"W": 0}),
        ("tanh", [1.0, 2.0], {"W": "1/1000000"}),
        ("square", [1.0, 2.0], {"W": 1, "b": 0}),
        ("identity", [1.0], {"W": 0}),
    ):
        risk = problem(name, X=triangle, **penalties)
        found = rays.decide_growth(risk, point(a), analyse(risk.activation))
        assert found.value is Truth.UNDECIDED


def test_spanning_data_without_a_penalty() -> None:
    triangle = [[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]]
    cases = [
        ("softplus", triangle, [1.0, 2.0], Truth.PROVED),
        ("silu", triangle, [-1.0, -2.0], Truth.PROVED),
        ("softplus", triangle, [1.0, 0.0], Truth.UNDECIDED),
        ("softplus", triangle, [1.0, -1.0], Truth.UNDECIDED),
        ("softplus", [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [1.0, 2.0], Truth.UNDECIDED),
        ("sqrt(1+z**2)-1", [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [1.0, 2.0], Truth.PROVED),
        ("tanh", triangle, [1.0, 2.0], Truth.UNDECIDED),
        ("relu", triangle, [1.0, 2.0], Truth.UNDECIDED),
    ]
    for name, X, a, truth in cases:
        risk = problem(name, X=X, W=0)
        found = spanning.decide_without_penalty(risk, point(a), analyse(risk.activation))
        assert found.value is truth, (name, a)
        if found.witness:
            facts = analyse(risk.activation)
            assert spanning.replay_spanning(found.witness, risk, point(a), facts)
            flat = replace(risk, X=np.array([[1.0, 1.0], [2.0, 2.0], [-3.0, -3.0]]))
            assert not spanning.replay_spanning(found.witness, flat, point(a), facts)


def test_half_spaces_and_positive_combinations_exclude_each_other() -> None:
    generator, seen = np.random.default_rng(77), {True: 0, False: 0}
    for _ in range(300):
        d = int(generator.integers(1, 4))
        X = generator.integers(-3, 4, (int(generator.integers(d + 1, 8)), d)) * 1.0
        half, weights = positive_span.half_space(X), positive_span.positive_combination(X)
        assert (half is None) != (weights is None)
        if half is not None:
            assert positive_span.is_half_space(X, half)
        if weights is not None:
            assert positive_span.is_positive_combination(X, weights)
            assert not positive_span.is_positive_combination(X, [-w for w in weights])  # fmt: skip
        seen[half is None] += 1
    assert min(seen.values()) > 30


def test_null_vectors() -> None:
    null = positive_span.null_vector(np.array([[1.0, 2.0], [2.0, 4.0]]))
    assert null is not None
    assert exact_data.dot(null, [Fraction(1), Fraction(2)]) == 0
    assert positive_span.null_vector(np.eye(3)) is None
    wide = np.zeros((100_000, 3))
    wide[:, 0] = 1.0
    assert positive_span.null_vector(wide) == [0, 1, 0]


def test_logistic_loss_without_a_penalty_never_dominates() -> None:
    y = [1.0, -1.0, 1.0]
    cases = [
        ("tanh", {"W": 1, "c": 0}, Truth.REFUTED),
        ("softplus", {"W": 0}, Truth.REFUTED),
        ("tanh", {"W": 1, "b": 0}, Truth.REFUTED),
        ("tanh", {"W": 1, "a": 1, "c": 0}, Truth.REFUTED),
        ("tanh", {"W": 1, "c": 1}, Truth.UNDECIDED),
        ("square", {"W": 0}, Truth.UNDECIDED),
        ("relu", {"W": 1, "c": 0}, Truth.UNDECIDED),  # V_s does not exist at W = 0
        ("Max(z,0)**3", {"W": 1, "c": 0}, Truth.REFUTED),
    ]
    for name, penalties, truth in cases:
        risk = problem(name, y=y, loss="logistic", **penalties)
        at = point([1.0, -2.0], b=np.zeros(2) if "b" in penalties else None)
        at = replace(at, c=np.zeros(1) if "c" in penalties else None)
        facts = analyse(risk.activation)
        found = rays.bounded_gradient_ray(risk, at, facts)
        assert found.value is truth, (name, penalties)
        if found.witness:
            assert rays.replay_bounded_gradient(found.witness, risk, at, facts)
            low = tampered(found, gradient_squared=Fraction(-1))
            assert not rays.replay_bounded_gradient(low, risk, at, facts)
    squares = problem("tanh", W=1, c=0)
    open_ = rays.bounded_gradient_ray(squares, point([1.0], c=np.zeros(1)), analyse(squares.activation))  # fmt: skip  # noqa: E501
    assert open_.value is Truth.UNDECIDED


def test_constant_output() -> None:
    zero_x = np.zeros((2, 2))
    cases = [
        ("relu", X2, Y2, [0.0, 0.0], {"W": 1}, Truth.PROVED),
        ("relu", X2, Y2, [0.0, 0.0], {"W": 0}, Truth.REFUTED),
        ("relu", X2, Y2, [0.0, 0.0], {"W": 1, "b": 0}, Truth.REFUTED),
        ("relu", zero_x, [1.0, 2.0], [1.0, 2.0], {"W": "1/3"}, Truth.PROVED),
        ("tanh", zero_x, [1.0, 2.0], [1.0, 2.0], {"W": 1, "a": 1}, Truth.PROVED),
        ("tanh", zero_x, [1.0, 2.0], [1.0, 2.0], {"W": 1, "b": 1}, Truth.UNDECIDED),
        ("tanh", zero_x, [1.0, 2.0], [1.0, 2.0], {"W": 0, "a": 1}, Truth.REFUTED),
        ("tanh", zero_x, [1.0, 2.0], [1.0, 2.0], {"W": 1, "a": 0}, Truth.UNDECIDED),
        ("log(z)", X2, Y2, [0.0, 0.0], {"W": 1}, Truth.UNDECIDED),
        ("tanh", X2, Y2, [0.0, 1.0], {"W": 1}, Truth.UNDECIDED),
        ("tanh", X2, Y2, [0.0, 0.0], {"W": 1, "c": 1}, Truth.UNDECIDED),
    ]
    for name, X, y, a, penalties, truth in cases:
        risk = problem(name, X=X, y=y, **penalties)
        at = point(a, b=np.zeros(2) if "b" in penalties else None)
        found = constant_output.decide_constant_output(risk, at, analyse(risk.activation))
        assert found.value is truth, (name, penalties)
        if found.witness:
            assert constant_output.replay_constant_output(found.witness, risk, at)
            other = point([1.0, 1.0])
            moved = replace(risk, X=X2, y=Y2)
            assert not constant_output.replay_constant_output(found.witness, moved, other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("z**2", [0, 0, 1]), ("square", [0, 0, 1]), ("z*z*z/3", [0, 0, 0, Fraction(1, 3)]),
        ("(1+z)**2-1-2*z", [0, 0, 1]), ("-(z-1)*(z+1)", [1, 0, -1]), ("z", None),
        ("z/z*z**2", None),
        ("z**2-z**2", None), ("sqrt(z**4)", None), ("pi*z**2", None), ("exp(z)", None),
        ("(z**8)**8", None), ("z**2+0*z**5", [0, 0, 1]),
    ],
)  # fmt: skip
def test_polynomials_as_written(text: str, expected: list[Any] | None) -> None:
    assert polynomial_form.coefficients(Activation.parse(text)) == expected


def test_polynomial_pairs_and_even_monomials() -> None:
    cases = [
        ("square", [1.0, -3.0], {"W": 100}, Truth.REFUTED),
        ("z**3", [1.0, 3.0], {"W": 1}, Truth.REFUTED),
        ("z**3", [1.0], {"W": 1}, Truth.UNDECIDED),
        ("z**2+z", [2.0, -2.0], {"W": 1}, Truth.REFUTED),
        ("z**2+z", [2.0, -1.0], {"W": 1}, Truth.UNDECIDED),
        ("z**4", [1.0, -3.0], {"W": 1, "b": 0}, Truth.REFUTED),
        ("z**2+1", [2.0, -2.0, 5.0], {"W": 1}, Truth.REFUTED),
        ("square", [1.0, 3.0], {"W": 1}, Truth.PROVED),
        ("-2*z**4", [1.0, 0.0], {"W": 1}, Truth.PROVED),
        ("square", [1.0, 3.0], {"W": 0}, Truth.PROVED),
        ("square", [1.0, 0.0], {"W": 0}, Truth.UNDECIDED),
        ("square", [1.0, 3.0], {"W": 1, "b": 0}, Truth.PROVED),
        ("square", [1.0, 0.0], {"W": 1, "b": 0}, Truth.UNDECIDED),
        ("square", [1.0, 3.0], {"W": 0, "b": 1}, Truth.UNDECIDED),
        ("square", [1.0, 3.0], {"W": 1, "a": 1}, Truth.UNDECIDED),
        ("square", [1.0, 3.0], {"W": 1, "c": 1}, Truth.UNDECIDED),
    ]
    for name, a, penalties, truth in cases:
        risk = problem(name, **penalties)
        at = point(a, b=np.zeros(len(a)) if "b" in penalties else None)
        found = polynomial.decide_polynomial(risk, replace(at, c=np.zeros(1)))
        assert found.value is truth, (name, a, penalties)
        if found.witness:
            assert polynomial.replay_polynomial(found.witness, risk, at)
            other = point([1.0, 1.0] if truth is Truth.REFUTED else [1.0, -1.0])
            if name != "z**3":
                assert not polynomial.replay_polynomial(found.witness, risk, other)


def test_polynomials_with_many_data_have_an_upper_bound_of_s_crit() -> None:
    generator = np.random.default_rng(4)
    X, y = generator.standard_normal((200, 3)), generator.choice([-1.0, 1.0], 200)
    for loss in ("squared", "logistic"):
        risk = problem("square", X=X, y=y, loss=loss, W="1/3", b=0)
        at = point([1.0, -2.0], 3, b=np.zeros(2))
        exactly = polynomial.decide_polynomial(risk, at)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exact_data, "LARGE", 10)
            bounded = polynomial.decide_polynomial(risk, at)
        assert exactly.witness is not None
        assert bounded.witness is not None
        assert bounded.value is Truth.REFUTED
        assert bounded.witness.data["s_crit"][1] >= exactly.witness.data["s_crit"][1]
        assert bounded.witness.data["s_crit"][0] <= exactly.witness.data["s_crit"][0]
        assert polynomial.replay_polynomial(bounded.witness, risk, at)


def test_polynomials_in_the_logistic_loss_and_with_equal_frozen_biases() -> None:
    risk = problem("z**3-z**2", y=[1.0, -1.0, 1.0], loss="logistic", W="1/7")
    at = point([2.0, -2.0, 1.0], b=np.array([0.5, 0.5, -1.0]))
    found = polynomial.decide_polynomial(risk, at)
    assert found.value is Truth.REFUTED
    assert found.witness is not None
    assert polynomial.replay_polynomial(found.witness, risk, at)
    unequal = replace(at, b=np.array([0.5, 0.25, -1.0]))
    assert polynomial.decide_polynomial(risk, unequal).value is Truth.UNDECIDED
    assert not polynomial.replay_polynomial(found.witness, risk, unequal)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("z*cos(log(1+z**2)/4)", (1, Fraction(1, 4))),
        ("-3*z*cos(-log(z*z+1)*sqrt(3)/2)", (9, 3)),
        ("cos(log1p(z**2))*z/sqrt(2)", (Fraction(1, 2), 4)),
        ("z*cos(log(2+z**2)/4)", None), ("z*sin(log(1+z**2)/4)", None), ("z*cos(z)", None),
        ("z**2*cos(log(1+z**2))", None), ("z*cos(pi*log(1+z**2))", None), ("z", None),
        ("z*cos(0*log(1+z**2))", None), ("z*cos(log(1+z**2))+z", None),
    ],
)  # fmt: skip
def test_oscillations_as_written(text: str, expected: tuple[Any, Any] | None) -> None:
    found = oscillation_form.recognise(Activation.parse(text))
    shape = None if found is None else (found.amplitude_squared, found.frequency_squared)
    assert shape == expected


def test_oscillation_witnesses_are_tied_to_the_problem() -> None:
    name = "z*cos(3*log(1+z**2)/4)"
    X, y = [[2.0, 1.0], [0.0, 0.0], [2.0, 1.0]], [1.0, 5.0, -3.0]
    risk, at = problem(name, X=X, y=y, W="1/10"), point([0.0, 1.5])
    found = log_oscillation.decide_log_oscillation(risk, at)
    assert found.value is Truth.REFUTED
    assert found.witness is not None
    assert log_oscillation.replay_log_oscillation(found.witness, risk, at)
    wrong = [[hi, hi * 2] for _, hi in found.witness.data["zeros"]]
    assert not log_oscillation.replay_log_oscillation(tampered(found, zeros=wrong), risk, at)
    assert log_oscillation.decide_log_oscillation(risk, point([1.0, 1.5])).value is Truth.UNDECIDED
    large = problem(name, X=X, y=y, W=100)
    proved = log_oscillation.decide_log_oscillation(large, at)
    assert proved.value is Truth.PROVED
    assert proved.witness is not None
    assert log_oscillation.replay_log_oscillation(proved.witness, large, at)
    assert not log_oscillation.replay_log_oscillation(proved.witness, risk, at)
    free = problem(name, W=1, b=0)
    zeros = log_oscillation.decide_log_oscillation(free, point([1.0, 1.5], b=np.zeros(2)))
    assert zeros.value is Truth.REFUTED
    assert zeros.witness is not None
    assert log_oscillation.replay_log_oscillation(zeros.witness, free, at)
    uneven = problem(name, X=[[1.0]], y=[0.0], W=1, b=2)
    assert log_oscillation.decide_log_oscillation(uneven, point([1.0], 1)).value is Truth.UNDECIDED


def test_no_lipschitz_gradient_needs_two_neurons_and_an_input() -> None:
    facts = analyse(Activation.parse("softplus"))
    for a, X, truth in (
        ([1.0, 2.0], X2, Truth.REFUTED),
        ([1.0, 0.0], X2, Truth.UNDECIDED),
        ([1.0, 2.0], np.zeros((3, 2)), Truth.UNDECIDED),
    ):
        risk, at = problem("softplus", X=X, W=1), point(a)
        found = curvature.decide_lipschitz_gradient(risk, at, facts)
        assert found.value is truth
        if found.witness:
            assert curvature.replay_unbounded_hessian(found.witness, risk, at, facts)
            wrong = [[-hi, -lo] for lo, hi in found.witness.data["D2"]]
            bad = tampered(found, D2=wrong)
            assert not curvature.replay_unbounded_hessian(bad, risk, at, facts)
    bounded = problem("tanh", W=1)
    tanh = analyse(bounded.activation)
    assert curvature.decide_lipschitz_gradient(bounded, point([1.0, 2.0]), tanh).value is Truth.UNDECIDED  # fmt: skip  # noqa: E501
    outer = problem("sigmoid", W=1, c=1)
    at = replace(point([1.0]), c=np.zeros(1))
    assert curvature.decide_lipschitz_gradient(outer, at, analyse(outer.activation)).value is Truth.UNDECIDED  # fmt: skip  # noqa: E501
    bent = problem("softplus", W=1, c=1)
    found = curvature.decide_lipschitz_gradient(bent, at, facts)
    assert found.witness is not None
    assert curvature.replay_unbounded_hessian(found.witness, bent, at, facts)


def test_mixed_signs_are_never_convex() -> None:
    risk, at = problem("softplus", W=1000), point([1.0, -0.001])
    found = curvature.decide_convexity(risk, at, analyse(risk.activation))
    assert found.value is Truth.REFUTED
    assert found.witness is not None
    assert curvature.replay_negative_curvature(found.witness, risk, at)
    heavy = replace(risk, penalties={"W": Fraction(10**30)})
    assert not curvature.replay_negative_curvature(found.witness, heavy, at)


def test_the_published_nonconvex_one_signed_sigmoid() -> None:
    """399 of 400 outer weights positive: the rule for balanced signs would call it convex."""
    p = 400
    a = np.full(p, 1 / np.sqrt(p))
    a[-1] *= -1
    risk = problem("sigmoid", X=[[1.0]], y=[-0.7 * np.sqrt(p)], W="13/100")
    W = np.full((p, 1), 1.3)
    direction = np.zeros((p, 1))
    direction[:2] = [[1.0], [-1.0]]
    found = curvature.evaluate(risk, Point(W, a)).second_derivative(Point(direction, a))
    assert found < 0


def test_noise_spectrum() -> None:
    at = point([1.0, 2.0])
    risk = problem("tanh", W=0, a=0)
    spectrum = noise_spectrum.noise_spectrum(risk, at)
    assert spectrum is not None
    assert len(spectrum) == 6
    assert spectrum[0].value > 0
    assert spectrum[2].value < 1e-20 * spectrum[0].value
    big = problem("tanh", X=np.ones((20_000, 2)), y=np.ones(20_000), W=0)
    assert noise_spectrum.noise_spectrum(big, at) is None


def test_exact_views() -> None:
    assert exact_data.short(Fraction(1, 3), bits=4) == Fraction(10, 32)
    assert exact_data.short(Fraction(-1)) == 0
    with pytest.raises(InputError, match=r"expected X as finite numbers of 64 bits with 2 axes"):
        exact_data.inputs(replace(problem("tanh", W=1), X=[1.0, 2.0]))
