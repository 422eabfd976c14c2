"""`gradient-inequality` against the published vectors, sampled balls, runs, declared kappas."""

import json
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from flint import arb, arb_mat, ctx

from verify.condition import Effort, NotApplicable
from verify.enclosure import Enclosure, endpoint_from_hex
from verify.engine import check
from verify.network import (
    Activation,
    Data,
    Equilibrium,
    Feedforward,
    ReluFeatureInput,
    Run,
    ScaledGaussianWeight,
    StoredCheckpoint,
    TeacherStudent,
    TwoLayer,
)
from verify_conditions.gradient_inequality.problem import prepare
from verify_kernels.forward import Inputs
from verify_kernels.jacobian_lipschitz import lipschitz_of_jacobian, pattern_radius

VECTORS = Path(__file__).parents[1] / "vectors"
NAME = "gradient-inequality"
CASES = [c for c in json.loads((VECTORS / "convergence.json").read_text())["cases"] if "y" in c]
PAIRS = json.loads((VECTORS / "teacher_student.json").read_text())["cases"]
TANH, RELU = Activation("tanh"), Activation("relu")
UNIT = Fraction(1, 10**38)


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=[c["id"] for c in cases])


@pytest.fixture(autouse=True)
def digits():
    ctx.prec = 200
    yield
    ctx.prec = 53


def floats(rows):
    return np.vectorize(float.fromhex, otypes=[float])(np.array(rows, dtype=object))


def explicit(case):
    if case["kind"] == "mlp-tanh":
        weights, biases = zip(
            *((floats(each["W"]), floats(each["b"])) for each in case["layers"]), strict=True
        )
        return Feedforward(weights, biases, (TANH,) * (len(weights) - 1))
    b = None if case["b"] is None else floats(case["b"])
    return TwoLayer(
        floats(case["W"]), floats(case["a"]), TANH if "tanh" in case["kind"] else RELU, b
    )


def network_of(case):
    if case["kind"] == "teacher-student":
        values = [
            None if case[key] is None else floats(case[key])
            for key in ("students", "teachers", "student_outputs", "teacher_outputs")
        ]
        return TeacherStudent(
            values[0], values[1], Activation(case["activation"]), values[2], values[3]
        )
    if case["kind"] != "implicit-relu":
        return explicit(case)
    weight = ScaledGaussianWeight(floats(case["A"]), Fraction(float.fromhex(case["gamma"])))
    readout = {"u": floats(case["u"]), "v": floats(case["v"])}
    return Equilibrium(weight, RELU, ReluFeatureInput(floats(case["W"])), readout)


def claim_of(network, data=None, run=None, *, all_routes=False, **settings):
    told = {f"{NAME}.{key}": str(value) for key, value in settings.items()}
    if data is not None:
        told.setdefault(f"{NAME}.frozen", "none")
    effort = Effort(all_routes=all_routes)
    (found,) = check(network, data, run, conditions=[NAME], settings=told, effort=effort)
    return found.claim


def decided(case, **settings):
    return claim_of(network_of(case), Data(floats(case["X"]), floats(case["y"])), **settings)


def holds(found, value):
    """Whether the enclosure holds the number whose 40 digits are given."""
    slack = abs(value) * UNIT
    return found.lo <= value + slack and found.hi >= value - slack


def enclosure_of(found):
    return Enclosure(endpoint_from_hex(found["lo"]), endpoint_from_hex(found["hi"]))


def consequence(claim, name, by=""):
    kept = [c for c in claim["consequences"] if c["name"] == name and by in ("", c["by"])]
    return enclosure_of(kept[0])


def route(claim, name):
    return next(r for r in claim["routes"] if r["name"] == name)


def side(claim, name):
    return next(s["truth"] for s in claim["side_statements"] if s["name"] == name)


# The tangent kernel at the point -----------------------------------------------------------------


@each([c for c in CASES if "lambda_min_K" in c])
def test_the_tangent_kernel_decides_pl_at_the_point(case):
    claim = decided(case)
    exact = Fraction(case["lambda_min_K"])
    found = route(claim, "tangent-kernel")["quantities"]["lambda_min"]
    assert holds(enclosure_of(found), exact)
    assert claim["scope"] == "point"
    if exact == 0:
        assert claim["verdict"] == "fail"
        assert found["witness"] is not None
    else:
        assert claim["verdict"] == "pass"
        assert holds(consequence(claim, "PL constant"), 2 * exact)


@each([c for c in CASES if "lambda_min_K" not in c])
def test_the_last_layer_suffices_and_refutes_nothing(case):
    claim = decided(case)
    found = route(claim, "last-layer")["quantities"]["s0"]
    assert holds(enclosure_of(found), Fraction(case["s0"]))
    if case["s0"] != "0":
        assert claim["verdict"] == "pass"
    elif case["kind"] == "implicit-relu":
        assert claim["verdict"] == "undecided"


def test_loss_scalings_scale_the_constant_exactly_as_they_should():
    case = CASES[2]
    exact, n = Fraction(case["lambda_min_K"]), len(case["X"])
    scales = {"half-sum-squares": 1, "sum-squares": 2, "half-mean-squares": Fraction(1, n),
              "mean-squares": Fraction(2, n)}  # fmt: skip
    for loss, s in scales.items():
        claim = decided(case, loss=loss)
        assert claim["verdict"] == "pass"
        assert holds(consequence(claim, "PL constant"), 2 * s * exact)
        squares = Fraction(case["half_sum_squares"])
        assert holds(consequence(claim, "loss"), s * squares)


# On a ball ---------------------------------------------------------------------------------------


def inputs_of(case):
    X = floats(case["X"])
    return Inputs.of(X, X.shape[1:])


@cache
def critical_radius(name):
    """About the R with sigma = beta(R) R, in floats."""
    case = next(c for c in CASES if c["id"] == name)
    sigma = float(case["sigma_n_J"])
    network, inputs = explicit(case), inputs_of(case)
    low, high = 0.0, sigma
    for _ in range(30):
        middle = 0.5 * (low + high)
        beta = lipschitz_of_jacobian(network, inputs, Fraction(middle)).enclosure().hi_float
        low, high = (middle, high) if beta * middle < sigma else (low, middle)
    return Fraction(low)


SMOOTH = [c for c in CASES if c["id"][-3:] in ("003", "009", "012", "019", "023")]


@each(SMOOTH)
def test_radii_just_below_and_just_above_sigma_by_beta(case):
    radius = critical_radius(case["id"])
    below = decided(case, radius=radius * (1 - Fraction(1, 10**6)))
    assert below["verdict"] == "pass"
    assert below["scope"] == "ball"
    above = decided(case, radius=radius * (1 + Fraction(1, 10**6)))
    tried = [r for r in above["routes"] if r["name"].removesuffix("-precise") == "ball-tangent"]
    assert {r["truth"] for r in tried if r["quantities"]} == {"refuted"}
    assert above["verdict"] == "undecided" or above["decided_by"].startswith("ball-last-layer")


def jacobian(case, W, a, b, X):
    """J of a two-layer tanh network in balls, rows by sample."""
    rows = []
    for x in X:
        row = []
        for k in range(len(W)):
            p = sum((arb(w) * arb(v) for w, v in zip(W[k], x, strict=True)), arb(0))
            h = (p if b is None else p + arb(b[k])).tanh()
            slope = arb(a[k]) * (1 - h * h)
            row += [h, *(slope * arb(v) for v in x), *([] if b is None else [slope])]
        rows.append(row)
    return arb_mat(rows)


def violates(K, c):
    """Whether v^T K v < c/2 |v|^2 is certain for the eigenvector v that floats find."""
    n = K.nrows()
    values = np.array([[float(K[i, j].mid()) for j in range(n)] for i in range(n)])
    _, vectors = np.linalg.eigh(values)
    v = arb_mat([[arb(float(x))] for x in vectors[:, 0]])
    half = arb(c.numerator) / (2 * arb(c.denominator))
    difference = (v.transpose() * K * v)[0, 0] - half * (v.transpose() * v)[0, 0]
    return bool(difference < 0)


def moved(case, radius, rng, target):
    """Random directions, and one along which the least singular value falls."""
    network = explicit(case)
    tensors = [network.W, network.a, *([] if network.b is None else [network.b])]
    direction = [rng.standard_normal(t.shape) for t in tensors]
    if target is not None:
        direction = target
    size = np.sqrt(sum(float((d * d).sum()) for d in direction))
    step = float(radius) / size * (1 - 2.0**-40)
    found = [t + step * d for t, d in zip(tensors, direction, strict=True)]
    return found[0], found[1], (found[2] if len(found) == 3 else None)


def descent_direction(case):
    """Minus the derivative of the least eigenvalue of K, by differences of floats."""
    network, X = explicit(case), floats(case["X"])
    tensors = [network.W, network.a, *([] if network.b is None else [network.b])]

    def least(parts):
        W, a, b = (*parts, None)[:3]
        H = np.tanh(X @ W.T + (0.0 if b is None else b))
        D = (1 - H * H) * a
        ones = X if b is None else np.c_[X, np.ones(len(X))]
        return np.linalg.eigvalsh(H @ H.T + (D @ D.T) * (ones @ ones.T))[0]

    found = []
    for place, tensor in enumerate(tensors):
        slope = np.zeros(tensor.shape)
        for index in np.ndindex(*tensor.shape):
            ends = []
            for sign in (1.0, -1.0):
                parts = [t.copy() for t in tensors]
                parts[place][index] += sign * 1e-6
                ends.append(least(parts))
            slope[index] = ends[1] - ends[0]
        found.append(slope)
    return found


@each([c for c in SMOOTH if c["kind"] == "two-layer-tanh"])
def test_no_sampled_point_of_the_ball_violates_the_constant(case):
    rng = np.random.default_rng(int(case["id"][-3:]))
    radius = critical_radius(case["id"]) / 2
    claim = decided(case, radius=radius)
    assert claim["decided_by"] == "ball-tangent"
    c = consequence(claim, "PL constant", by="ball-tangent").lo
    X, target = floats(case["X"]), descent_direction(case)
    at_centre = 2 * Fraction(case["lambda_min_K"]) * (1 - Fraction(1, 10**9))
    fooled = False
    for k in range(12):
        W, a, b = moved(case, radius, rng, target if k == 0 else None)
        J = jacobian(case, W, a, b, X)
        K = J * J.transpose()
        assert not violates(K, c)
        fooled = fooled or violates(K, at_centre)
    assert fooled  # the constant of the point alone does not hold on the ball


def test_a_ball_of_stable_patterns_for_relu():
    case = next(c for c in CASES if c["name"] == "relu, large residual")
    network = explicit(case)
    room = pattern_radius(network, inputs_of(case), precise=True).enclosure()
    inside = decided(case, radius=Fraction(room.lo) * Fraction(1, 100))
    assert inside["verdict"] == "pass"
    outside = decided(case, radius=Fraction(room.hi) * Fraction(101, 100))
    tried = [r for r in outside["routes"] if r["name"].startswith("ball-pattern")]
    assert "proved" not in {r["truth"] for r in tried}


def test_a_certificate_of_a_point_never_passes_with_a_radius():
    for case in SMOOTH:
        claim = decided(case, radius=10**6)
        assert claim["verdict"] == "undecided"
        assert claim["goal"]["name"] == "pl-ball"
        assert route(claim, "tangent-kernel")["truth"] == "proved"


# Along a run -------------------------------------------------------------------------------------


def run_of(*networks):
    return Run({}, tuple(StoredCheckpoint(k, f"step{k}", n) for k, n in enumerate(networks)))


def shifted(network, size):
    return TwoLayer(network.W + size, network.a, network.activation, network.b)


def singular(network):
    """All units off: J has rows of zeros."""
    return TwoLayer(0.0 * network.W, 0.0 * network.a, network.activation, 0.0 * network.b)


def test_a_run_passes_where_every_checkpoint_does():
    case = CASES[2]
    network, data = explicit(case), Data(floats(case["X"]), floats(case["y"]))
    run = run_of(shifted(network, 0.125), shifted(network, 0.0625), network)
    claim = claim_of(network, data, run, scope="trajectory")
    assert (claim["verdict"], claim["scope"]) == ("pass", "stored trajectory")
    assert claim["decided_by"] == "trajectory"
    least = min(
        consequence(claim_of(each.network, data), "PL constant").lo for each in run.checkpoints
    )
    assert consequence(claim, "PL constant").lo == least
    assert [row["checkpoint"] for row in claim["samples"]["rows"]] == [
        "the checked network", "step0", "step1", "step2",
    ]  # fmt: skip


def test_one_singular_checkpoint_makes_a_run_fail():
    case = CASES[2]
    network, data = explicit(case), Data(floats(case["X"]), floats(case["y"]))
    claim = claim_of(network, data, run_of(network, singular(network)), scope="trajectory")
    assert claim["verdict"] == "fail"
    assert route(claim, "trajectory")["quantities"]["lambda_run"]["witness"] is not None
    point = claim_of(network, data, run_of(network, singular(network)))
    assert point["verdict"] == "pass"  # at the checked network alone
    assert point["scope"] == "point"


def test_a_checkpoint_of_another_family_is_one_sentence():
    case = CASES[2]
    network, data = explicit(case), Data(floats(case["X"]), floats(case["y"]))
    other = Feedforward((network.W, network.a[None]), (network.b, None), (TANH,))
    settings = {"scope": "trajectory", "frozen": "none"}
    with pytest.raises(NotApplicable, match=r"checkpoint step0 is a network of another family"):
        prepare(network, data, run_of(other), settings)
    assert claim_of(network, data, run_of(other), scope="trajectory")["verdict"] == "not applicable"


# A declared kappa --------------------------------------------------------------------------------


def ratio(case, alpha):
    """|grad L| / L^alpha from the 40 digits of K and the outputs."""
    n = len(case["y"])
    K = {(i, i + k): arb(t) for i, row in enumerate(case["K"]) for k, t in enumerate(row)}
    r = [arb(t) - arb(float(y)) for t, y in zip(case["outputs"], floats(case["y"]), strict=True)]
    square = sum(
        (K[min(i, j), max(i, j)] * r[i] * r[j] for i in range(n) for j in range(n)), arb(0)
    )
    return square.sqrt() / arb(case["half_sum_squares"]) ** (
        arb(alpha.numerator) / alpha.denominator
    )


@each([c for c in SMOOTH if c["id"][-3:] in ("003", "009", "023")])
@pytest.mark.parametrize("alpha", [Fraction(1, 2), Fraction(2, 3), Fraction(1)], ids=str)
def test_a_declared_kappa_is_decided_on_both_sides_of_the_ratio(case, alpha):
    """The outputs have 40 digits and the residual about 35, so 1e-9 tells the sides apart."""
    true = Fraction(float(ratio(case, alpha).mid()))
    for factor, wanted in ((1 - Fraction(1, 10**9), "proved"), (1 + Fraction(1, 10**9), "refuted")):
        claim = decided(case, kappa=true * factor, exponent=alpha, all_routes=True)
        assert side(claim, "lojasiewicz") == wanted
        assert claim["verdict"] == "pass"  # the verdict is about every target


# Teacher and student -----------------------------------------------------------------------------


@each(PAIRS)
def test_teacher_and_student(case):
    claim = claim_of(network_of(case))
    assert claim["goal"]["name"] == "lojasiewicz"
    loss = consequence(claim, "loss")
    assert holds(loss, Fraction(case["loss"]))
    if case["loss_is_exactly_zero"]:
        assert (claim["verdict"], loss.hi) == ("pass", 0)
    elif case["grad_norm"] is None:
        assert claim["verdict"] == "undecided"
    elif Fraction(case["grad_norm"]) == 0:
        assert claim["verdict"] == "fail"
    else:
        assert claim["verdict"] == "pass"
        assert holds(consequence(claim, "gradient norm"), Fraction(case["grad_norm"]))
        assert holds(consequence(claim, "kappa at 1"), Fraction(case["grad_over_L"]))
        assert holds(consequence(claim, "kappa at 3/4"), Fraction(case["grad_over_L_3_4"]))


@each([c for c in PAIRS if c["grad_over_L_3_4"] is not None][::6])
@pytest.mark.parametrize("exponent", ["1", "3/4"])
def test_a_declared_kappa_of_teacher_and_student_is_sharp(case, exponent):
    true = Fraction(case["grad_over_L" if exponent == "1" else "grad_over_L_3_4"])
    for factor, wanted in ((1 - Fraction(1, 10**15), "pass"), (1 + Fraction(1, 10**15), "fail")):
        claim = claim_of(network_of(case), kappa=true * factor, exponent=exponent)
        assert claim["verdict"] == wanted


@each([c for c in PAIRS if c["loss_only"] is not None])
def test_angles_from_the_loss_alone(case):
    claim = claim_of(network_of(case))
    rows, known = claim["samples"]["rows"], case["loss_only"]
    for row, angle, bound in zip(rows, known["angle"], known["angle_bound"], strict=True):
        if angle is not None and row["angle"] is not None:
            ends = Enclosure(*(endpoint_from_hex(end) for end in row["angle"]))
            assert holds(ends, Fraction(angle))
        assert (row["angle_bound"] is None) == (bound is None)
        if bound is not None:
            told = endpoint_from_hex(row["angle_bound"])
            assert not told < Fraction(bound) * (1 - UNIT)
            assert not told < Fraction(angle) * (1 - UNIT)


def test_a_run_of_teacher_and_student_is_decided_at_each_checkpoint():
    case = next(c for c in PAIRS if c["grad_norm"] not in (None, "0") and c["weights"] == "tied")
    network = network_of(case)
    half = TeacherStudent(network.students / 2, network.teachers, network.activation)
    dead = TeacherStudent(0 * network.students, network.teachers, network.activation)
    good = claim_of(network, run=run_of(half, network), scope="trajectory")
    assert (good["verdict"], good["scope"]) == ("pass", "stored trajectory")
    bad = claim_of(network, run=run_of(dead, network), scope="trajectory")
    assert bad["verdict"] == "fail"
    other = TeacherStudent(network.students, network.teachers / 2, network.activation)
    with pytest.raises(NotApplicable, match="checkpoint step0 has other teachers"):
        prepare(network, None, run_of(other), {"scope": "trajectory"})
