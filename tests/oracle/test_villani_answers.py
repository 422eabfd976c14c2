"""Verdicts and side statements of the Villani condition on both sides of every threshold.

Networks with many zeros, mirrored samples and every setting: each legal question has an answer
that the theorems allow, and what cannot be answered is refused in one sentence.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verify.engine import check
from verify.errors import InputError, SettingsError
from verify.network import Activation, Data, Run, StoredCheckpoint, TwoLayer

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
Given = dict[str, Any]


def number(text: str) -> Fraction | None:
    """Read an end of an enclosure in a claim; None if it is infinite."""
    if "inf" in text:
        return None
    mantissa, power = text.split("p")
    return Fraction(int(mantissa, 16)) * Fraction(2) ** int(power)


def numbers(claim: dict[str, Any]) -> dict[str, tuple[Fraction | None, Fraction | None]]:
    return {
        item["name"]: (number(item["lo"]), number(item["hi"]))
        for item in claim["consequences"]
        if "lo" in item
    }


def sides(claim: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["truth"] for item in claim["side_statements"]}


def route(claim: dict[str, Any], name: str) -> str:
    found = [item["truth"] for item in claim["routes"] if item["name"] == name]
    return str(found[0]) if found else "not tried"


def ask(*, W: Any, a: Any, activation: str, X: Any, y: Any, b: Any = None, c: Any = None,
        **settings: str) -> dict[str, Any]:  # fmt: skip
    """Return the claim about a network."""
    network = TwoLayer(np.asarray(W), np.asarray(a), Activation.parse(activation), b, c)
    told = {"outer": "frozen", "weight_decay": "1/10"} | settings
    if "l2" in told:
        del told["weight_decay"]
    asked = {f"villani.{key}": value for key, value in told.items()}
    data = Data(np.asarray(X), np.asarray(y))
    (certificate,) = check(network, data, conditions=["villani"], settings=asked)
    return certificate.claim


# Which verdict the theorems allow ------------------------------------------------------------

REGULAR = ("tanh", "sigmoid", "sin", "softplus", "gelu", "silu", "sqrt(1+z**2)", "3", "z")
FLAT_SOMEWHERE = ("tanh", "sigmoid", "sin", "softplus", "gelu", "silu", "3")
KINKED = ("relu", "abs(z)", "hardtanh", "softsign", "elu(1)", "Max(z,0)**2", "sign(z)", "z**2",
          "z**3", "z*cos(log(1+z**2))", "abs(tanh(z))", "log(1+z**2)")  # fmt: skip


def degenerate_case(rng: Any) -> Given:
    """Few values, many zeros, mirrored and repeated samples, every setting."""
    p, d, n = (int(k) for k in rng.integers(1, 4, size=3))
    W, a, X, y = (rng.choice([-2.0, -1.0, 0.0, 0.0, 0.5, 1.0], shape)
                  for shape in ((p, d), p, (n, d), n))  # fmt: skip
    if n > 1 and rng.random() < 0.4:
        X[1], y[1] = X[0] * rng.choice([1, -1]), y[0] * rng.choice([1, -1])
    X, a = X * (rng.random() > 0.1), a * (rng.random() > 0.1)
    told = {
        "outer": str(rng.choice(["frozen", "frozen", "trained"])),
        "loss": str(rng.choice(["half-mean-squares", "sum-squares", "logistic"])),
        "weight_decay": str(rng.choice(["0", "1/10", "3"])),
        "s": "1", "step": "1/10", "epsilon": "1/10",
        "init": str(rng.choice(["gaussian(1/10)", "gaussian(5)", "compact", "point"])),
        "noise": str(rng.choice(["injected", "minibatch"])),
    }  # fmt: skip
    y = rng.choice([-1.0, 1.0], n) if told["loss"] == "logistic" else y
    b = c = None
    if rng.random() < 0.5:
        b = rng.choice([-1.0, 0.0, 2.0], p)
        told["bias"] = str(rng.choice(["regularised", "unregularised", "frozen"]))
    if rng.random() < 0.4:
        c = float(rng.choice([-1.0, 0.0, 2.0]))
        told["outer_bias"] = str(rng.choice(["regularised", "unregularised", "frozen"]))
    if told["outer"] == "trained":
        told["outer_penalty"] = str(rng.choice(["quadratic", "quartic"]))
        told["outer_decay"] = str(rng.choice(["0", "1"]))
    activation = str(rng.choice(REGULAR + KINKED))
    return {"W": W, "a": a, "activation": activation, "X": X, "y": y, "b": b, "c": c} | told


def impossible(case: Given) -> set[str]:
    """The verdicts that a theorem excludes."""
    told, excluded = case, set[str]()
    frozen, decay = told["outer"] == "frozen", Fraction(told["weight_decay"])
    free_b = told.get("bias") == "unregularised"
    free_c = told.get("outer_bias") == "unregularised"
    logistic = told["loss"] == "logistic"
    if case["activation"] in REGULAR and frozen and decay > 0 and not free_b:
        excluded |= set() if logistic and free_c else {"fail"}
    if logistic and free_c:  # at W = 0 the gradient stays bounded as c grows
        excluded.add("pass")
    if free_b and frozen and case["activation"] in FLAT_SOMEWHERE:
        excluded.add("pass")
    if decay == 0 and frozen and case["activation"] in ("tanh", "sigmoid", "sin", "3"):
        excluded.add("pass")
    pair = not frozen and told["outer_penalty"] == "quadratic" and len(case["a"]) > 1
    if (
        pair
        and case["X"].any()
        and case["activation"] in ("tanh", "sigmoid", "softplus", "gelu", "z")
    ):
        excluded.add("pass")
    return excluded


@pytest.mark.soundness
def test_every_legal_question_has_an_answer_that_the_theorems_allow() -> None:
    started, seed, count = time.perf_counter(), 4300, 1000 if FULL else 100
    rng, decided = np.random.default_rng(seed), 0
    for _ in range(count):
        case = degenerate_case(rng)
        claim = ask(**case)
        assert claim["verdict"] not in impossible(case), case
        decided += claim["verdict"] != "undecided"
    assert decided > count / 2
    seconds = time.perf_counter() - started
    print(f"campaign villani verdicts: {count} cases, seed {seed}, {seconds:.1f} s, 0 wrong")


# Both sides of every threshold ------------------------------------------------------------------

ONE: dict[str, Any] = {"W": [[1.0]], "a": [1.0], "X": [[1.0]], "y": [0.0]}
NEAR = Fraction(1, 10**12)


@pytest.mark.parametrize("loss", ["half-mean-squares", "logistic"])
@pytest.mark.parametrize("activation", ["tanh", "sin", "softplus", "silu"])
def test_any_penalty_suffices_and_none_does_not(activation: str, loss: str) -> None:
    given = ONE | {"y": [1.0], "activation": activation, "loss": loss}
    assert ask(**given, weight_decay="0")["verdict"] == "fail"
    assert ask(**given, weight_decay="0x1p-1074")["verdict"] == "pass"
    assert ask(**given, l2="0x1p-1074")["verdict"] == "pass"


@pytest.mark.parametrize("scale", [1, 3])
def test_linear_growth_turns_at_its_threshold(scale: int) -> None:
    # l0 = l1 - 1 = 1 and kappa_1 = 1: min(l0 l1, 1/4) = 1/4, times ||a||^2 Lambda = 2 * 5/2
    a, X, y = [1.0, -1.0], [[1.0], [2.0]], [1.0, 0.0]
    loss = {1: "half-mean-squares", 3: "mean-squares"}[scale]
    turn = Fraction(5, 4) * (1 if scale == 1 else 2)
    for side, truth, verdict in ((1, "proved", "pass"), (0, "refuted", "undecided"),
                                 (-1, "refuted", "undecided")):  # fmt: skip
        claim = ask(W=[[1.0], [2.0]], a=a, activation="z+sin(z)", X=X, y=y, loss=loss,
                    weight_decay=str(turn * (1 + side * NEAR)))  # fmt: skip
        assert claim["verdict"] == verdict
        assert route(claim, "linear-growth") in ({truth, "undecided"} if side == 0 else {truth})


def test_log_oscillation_turns_at_its_own_threshold_and_is_open_beyond_one_sample() -> None:
    # A = 1, omega = 2: (sqrt(5) - 1)/2 = 0.618..., while the theorem for linear growth needs 1
    turn = Fraction(6180339887498948482, 10**19)
    given = ONE | {"activation": "z*cos(log(1+z**2))"}
    assert ask(**given, weight_decay=str(turn * (1 - NEAR)))["verdict"] == "fail"
    assert ask(**given, weight_decay=str(turn * (1 + NEAR)))["verdict"] == "pass"
    two = given | {"X": [[1.0], [2.0]], "y": [0.0, 0.0]}
    top = Fraction(5, 2)
    assert ask(**two, weight_decay=str(top * (1 + NEAR)))["verdict"] == "pass"
    for decay in (top * (1 - NEAR), Fraction(7, 4), Fraction(1, 10)):
        claim = ask(**two, weight_decay=str(decay))
        assert claim["verdict"] == "undecided"
        assert route(claim, "linear-growth") == "refuted"


@pytest.mark.parametrize("loss", ["half-mean-squares", "logistic"])
def test_strong_convexity_turns_at_its_threshold(loss: str) -> None:
    given = ONE | {"a": [2.0, -1.0], "W": [[1.0], [0.0]], "y": [1.0], "loss": loss}
    given["activation"] = "sin"  # S_2 = 1
    # squares: ||a||_inf (|y| + ||a||_1) = 8; logistic: ||a||_inf = 2; both exact
    turn = Fraction(8 if loss != "logistic" else 2)
    above = ask(**given, weight_decay=str(turn * (1 + NEAR)))
    below = ask(**given, weight_decay=str(turn * (1 - NEAR)))
    name = "convex" if loss != "logistic" else "convex-logistic"
    assert (route(above, name), route(below, name)) == ("proved", "refuted")
    assert sides(above)["strong-convexity"] == "proved"
    assert sides(below)["strong-convexity"] != "proved"
    assert (above["verdict"], below["verdict"]) == ("pass", "pass")


def test_the_step_turns_at_the_lipschitz_constant() -> None:
    # lambda + ||a||_2^2 S_1^2 + S_2 ||a||_inf (|y| + ||a||_1) = 1 + 5 + 8 for sin
    given = ONE | {"a": [2.0, -1.0], "W": [[1.0], [0.0]], "y": [1.0], "activation": "sin",
                   "weight_decay": "1"}  # fmt: skip
    for side, truth in ((-1, "proved"), (1, "undecided")):
        claim = ask(**given, step=str(Fraction(1, 14) * (1 + side * NEAR)))
        assert sides(claim)["step-size"] == truth


# What has no answer, and what must be refused ---------------------------------------------------


@pytest.mark.parametrize("init", ["gaussian(1/10)", "compact"])
@pytest.mark.parametrize("loss", ["half-mean-squares", "logistic"])
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_no_initial_law_is_good_without_a_gibbs_law(activation: str, loss: str, init: str) -> None:
    given = ONE | {"y": [1.0], "activation": activation, "loss": loss, "init": init, "s": "1"}
    assert sides(ask(**given, weight_decay="1/2"))["initial-law"] == "proved"
    assert sides(ask(**given, weight_decay="0")).get("initial-law") != "proved"


@pytest.mark.parametrize("init", ["gaussian(1/10)", "compact"])
@pytest.mark.parametrize("activation", ["log(abs(z))", "Piecewise((log(z),z>0),(0,True))"])
def test_compact_support_needs_a_risk_that_is_bounded_there(activation: str, init: str) -> None:
    # exp(2f/s) = exp(log(w)^2/s) is not integrable near w = 0
    with suppress(SettingsError):  # a formula without a value at 0 may be refused as well
        claim = ask(**ONE, activation=activation, weight_decay="1/2", init=init, s="1")
        assert sides(claim).get("initial-law") != "proved"


def test_the_gaussian_law_at_the_critical_width() -> None:
    given = ONE | {"activation": "tanh", "s": "1/2", "init": "gaussian(1)"}
    for decay, truth in ((Fraction(1, 2) * (1 - NEAR), "proved"), (Fraction(1, 2), "refuted"),
                         (Fraction(1, 2) * (1 + NEAR), "refuted")):  # fmt: skip
        assert sides(ask(**given, weight_decay=str(decay)))["initial-law"] == truth
    biased = given | {"b": [1.0], "bias": "regularised", "weight_decay": "1/4", "epsilon": "1"}
    claim = ask(**biased, bias_decay="1/2")
    assert sides(claim)["initial-law"] == "refuted"
    claim = ask(**biased, bias_decay="1/3")
    assert sides(claim)["initial-law"] == "proved"
    assert "time to epsilon" not in numbers(claim)


def test_checkpoints_turn_their_own_statement_alone() -> None:
    own = TwoLayer(np.ones((1, 1)), np.array([0.0]), Activation.parse("tanh"), np.ones(1))
    settings = {"outer": "frozen", "bias": "frozen", "weight_decay": "1/10"}
    asked = {f"villani.{key}": value for key, value in settings.items()}
    stored = {
        "same": TwoLayer(2 * own.W, np.array([-0.0]), own.activation, own.b),
        "other a": TwoLayer(own.W, np.array([1.0]), own.activation, own.b),
        "other b": TwoLayer(own.W, own.a, own.activation, np.zeros(1)),
        "no b": TwoLayer(own.W, own.a, own.activation),
    }
    for name, network in stored.items():
        run = Run(checkpoints=(StoredCheckpoint(1, name, network),))
        (certificate,) = check(own, Data(np.ones((1, 1)), np.ones(1)), run,
                               conditions=["villani"], settings=asked)  # fmt: skip
        assert certificate.claim["verdict"] == "pass"
        wanted = "undecided" if name == "same" else "refuted"
        assert sides(certificate.claim)["declaration"] == wanted


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_labels_that_binary64_would_round_are_refused(dtype: Any) -> None:
    given = ONE | {"activation": "tanh"}
    with pytest.raises(InputError, match=r"integers up to 2\^53"):
        ask(**given | {"y": np.array([2**53 + 1], dtype=dtype)})
    assert ask(**given | {"y": np.array([2**53], dtype=np.int64)})["verdict"] == "pass"


def test_targets_that_are_no_numbers_of_64_bits_are_refused() -> None:
    for y in (np.array([1.0], dtype=np.longdouble), np.array([1j]), np.array(["1"])):
        with pytest.raises(InputError, match="expected targets y"):
            ask(**ONE | {"activation": "tanh", "y": y})


def test_inputs_of_every_kind_give_the_same_numbers() -> None:
    given: dict[str, Any] = {
        "W": [[1.0, 2.0]],
        "a": [1.0],
        "activation": "tanh",
        "y": [1.0, 0.0],
        "s": "1",
    }
    X = [[1, 0], [1, 1]]
    wanted = numbers(ask(**given, X=np.array(X, dtype=float)))
    for dtype in (bool, np.uint8, np.int64, np.float16, np.float32):
        assert numbers(ask(**given, X=np.array(X, dtype=dtype))) == wanted
    column = given | {"y": np.array([[1], [0]], dtype=np.uint8)}
    assert numbers(ask(**column, X=np.array(X))) == wanted


SCALES = [1e-200, 5e-324, 1e200, 1e307]


@pytest.mark.parametrize("activation", ["tanh", "softplus", "sin"])
@pytest.mark.parametrize("place", ["X", "y", "a"])
def test_numbers_at_the_ends_of_the_range(place: str, activation: str) -> None:
    for scale in SCALES:
        given: dict[str, Any] = {"X": [[1.0], [-0.5]], "y": [1.0, -1.0], "a": [1.0, -2.0]}
        given[place] = np.array(given[place]) * scale
        claim = ask(W=[[1.0], [2.0]], activation=activation, s="1", epsilon="1/100",
                    init="gaussian(1/100)", step="1e-9", **given)  # fmt: skip
        assert claim["verdict"] == "pass"
        for name, (lo, hi) in numbers(claim).items():
            assert lo is None or hi is None or lo <= hi, name
