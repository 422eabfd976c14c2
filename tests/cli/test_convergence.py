"""``verify check`` and ``explain`` for convergence from given weights and gradient inequalities."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from verify.certificate import read_certificate

HERE, SLOPE = "converges-from-here", "gradient-inequality"
TWO = ["--family", "two-layer", "--activation", "tanh"]


def asked(*names: str, **settings: str) -> list[str]:
    told = [word for name in names for word in ("--condition", name)]
    for name in names:
        for key, value in ({"frozen": "none"} | settings).items():
            told += ["--set", f"{name}.{key}={value}"]
    return told


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer network near its targets, three layers for digits, an implicit one, a pair."""
    made = tmp_path_factory.mktemp("convergence")
    rng = np.random.default_rng(8)
    W, a, b = rng.standard_normal((9, 2)), rng.standard_normal(9), rng.standard_normal(9)
    X = rng.standard_normal((4, 2))
    np.savez(made / "two.npz", W=W, a=a, b=b)
    np.savez(made / "near.npz", X=X, y=np.tanh(X @ W.T + b) @ a + 1e-4)
    np.savez(made / "twice.npz", X=X[[0, 1, 2, 0]], y=np.array([0.0, 1.0, 0.0, 1.0]))
    pixels = rng.integers(0, 17, (12, 64)).astype(float)
    labels = np.arange(12) % 10
    np.savez(made / "digits.npz", X=pixels, y=np.eye(10)[labels])
    np.savez(made / "labels.npz", X=pixels, y=labels)
    wide = [rng.standard_normal(shape) / 8 for shape in ((40, 64), (40, 40), (10, 40))]
    np.savez(
        made / "deep.npz", W1=wide[0], b1=np.zeros(40), W2=wide[1], b2=np.zeros(40), W3=wide[2],
        b3=np.zeros(10),
    )  # fmt: skip
    A, V = rng.standard_normal((16, 16)), rng.standard_normal((16, 2))
    np.savez(made / "implicit.npz", A=A, W=V, u=np.zeros(16), v=np.zeros(16))
    np.savez(made / "still.npz", X=X[:2], y=np.zeros(2))
    np.savez(made / "pair.npz", W=np.array([[2.0, 0.5]]), W_star=np.array([[1.0, 1.0]]))
    np.savez(made / "dead.npz", W=np.zeros((1, 2)), W_star=np.array([[1.0, 1.0]]))
    return made


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_two_layer_network_with_reports(verify_command: Any, folder: Path) -> None:
    page, junit = folder / "page.html", folder / "suite.xml"
    done = verify_command(
        "check", folder / "two.npz", *TWO, "--data", folder / "near.npz", *asked(HERE, SLOPE),
        "--report", page, "--junit", junit, "--json", folder / "certificates",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    said = words(done.out)
    assert "Proved: the gradient flow of the loss from these weights exists for all time" in said
    assert "h < 1/2, where h = beta*r/sigma^2" in said
    assert "the whole path of the flow is at most" in said
    assert "Proved: full-batch gradient descent from these weights" in said
    for name in ("lstar", "rate", "eta", "contraction", "threshold_residual", "PL constant"):
        assert name in said
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert html.count("where</span>") >= 2  # formulas with letters
    assert ElementTree.parse(junit).getroot().attrib["failures"] == "0"
    stored = read_certificate(folder / "certificates" / f"two.{HERE}.json")
    assert stored.claim["verdict"] == "pass"


def test_three_layers_and_ten_outputs(verify_command: Any, folder: Path) -> None:
    flags = ["--family", "feedforward", "--activation", "tanh"]
    done = verify_command("check", folder / "deep.npz", *flags, "--data", folder / "digits.npz",
                          *asked(HERE, SLOPE, input_divisor="16"))  # fmt: skip
    assert done.code == 3  # far from its targets, with a tangent kernel that is nonsingular
    said = words(done.out)
    assert "train until ||r|| <" in said
    assert "samples n = 12, outputs = 10" in said
    labels = verify_command("check", folder / "deep.npz", *flags, "--data", folder / "labels.npz",
                            *asked(HERE))  # fmt: skip
    assert labels.code == 2
    assert "for classification store one-hot targets" in labels.err
    assert labels.err.count("\n") == 1


def test_an_implicit_network(verify_command: Any, folder: Path) -> None:
    flags = ["--family", "implicit-relu", "--set", "well-posedness.gamma=0.0625"]
    told = [*asked(HERE), "--data", folder / "still.npz"]
    done = verify_command("check", folder / "implicit.npz", *flags, *told)
    assert done.code == 0, done.out + done.err
    assert "Theorem I" in done.out
    stepped = verify_command("check", folder / "implicit.npz", *flags, *told, "--set",
                             f"{HERE}.step=0.01")  # fmt: skip
    assert stepped.code == 3
    assert "no theorem here speaks of gradient descent on this network" in words(stepped.out)


def test_students_and_teachers(verify_command: Any, folder: Path) -> None:
    flags = ["--family", "teacher-student", "--activation", "abs", "--condition", SLOPE]
    done = verify_command("check", folder / "pair.npz", *flags)
    assert done.code == 0
    assert "as recalled, and used in no verdict" in words(done.out)
    dead = verify_command("check", folder / "dead.npz", *flags)
    assert dead.code == 1
    assert "refuted" in words(dead.out)


def test_nothing_declared_does_not_stop_what_needs_nothing(
    verify_command: Any, folder: Path
) -> None:
    done = verify_command("check", folder / "two.npz", *TWO, "--data", folder / "near.npz")
    assert (done.code, done.err) == (0, "")
    said = words(done.out)
    assert "expressivity ✓ pass" in said
    for name in (HERE, SLOPE):
        assert f"{name} - not applicable" in said
        assert f"add --set {name}.frozen=none if all stored tensors are trained" in said
    part = verify_command("check", folder / "two.npz", *TWO, "--data", folder / "twice.npz",
                          "--set", f"{SLOPE}.frozen=none")  # fmt: skip
    assert part.code == 1  # repeated samples: this one was asked
    named = verify_command("check", folder / "two.npz", *TWO, "--data", folder / "near.npz",
                           "--condition", HERE)  # fmt: skip
    assert named.code == 2
    bare = verify_command("check", folder / "two.npz", *TWO)
    assert bare.code == 2  # nobody can speak: one sentence
    assert bare.err.count("\n") == 1


@pytest.mark.parametrize("name", [HERE, SLOPE])
def test_explain(verify_command: Any, name: str) -> None:
    done = verify_command("explain", name)
    assert done.code == 0
    said = words(done.out)
    assert f"--set {name}.frozen=VALUE" in said
    assert "R = radius of the ball around the stored weights" in said
