"""``verify check`` on two-layer networks, with data, formulas, settings and training runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

TWO = ["--family", "two-layer", "--activation", "tanh", "--condition", "well-posedness"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A two-layer network, an equilibrium network, samples that fit the first, and a run."""
    np.savez(tmp_path / "two.npz", W=np.ones((2, 3)), a=np.ones(2))
    np.savez(tmp_path / "eq.npz", W=np.eye(2) / 2)
    np.savez(tmp_path / "data.npz", X=np.ones((4, 3)), y=np.ones(4))
    (tmp_path / "run").mkdir()
    for k in (2, 1, 10):
        np.savez(tmp_path / "run" / f"step{k}.npz", W=np.full((2, 3), float(k)), a=np.ones(2))
    return tmp_path


def test_another_familys_condition_is_not_applicable(verify_command: Any, folder: Path) -> None:
    done = verify_command("check", folder / "two.npz", *TWO)
    assert done.code == 3
    assert "not applicable" in done.out
    text = " ".join(done.out.split())
    assert "speaks about equilibrium networks" in text
    assert "and this is a two-layer network" in text
    assert done.err == ""
    assert verify_command("check", folder / "two.npz", *TWO, "--allow-undecided").code == 0


def test_reports_and_certificates_show_the_family(verify_command: Any, folder: Path) -> None:
    page = folder / "page.html"
    done = verify_command("check", folder / "two.npz", *TWO, "--data", folder / "data.npz",
                          "--report", page, "--json", folder / "c")  # fmt: skip
    assert done.code == 3
    assert "u(x) = a . tanh(W x)" in page.read_text(encoding="utf-8")
    (written,) = (folder / "c").glob("*well-posedness.json")
    assert '"family":"two-layer"' in written.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["two.npz", "--family", "two-layer"], "--activation: expected the activation"),
        (["two.npz", "--activation", "tanh"], "this could be equilibrium, two-layer"),
        (["two.npz", *TWO, "--activation", "z^2"], "expected ** for a power"),
        (["two.npz", *TWO, "--activation", "foo"], "or a formula in z as in log(1+exp(z))"),
        (["two.npz", *TWO, "--activation", "__import__('os')"], "--activation: expected"),
        (["two.npz", *TWO, "--data", "eq.npz"], "expected samples named X"),
        (["eq.npz", *TWO], "expected the tensors of two-layer"),
        (["two.npz", *TWO, "--run", "nowhere"], "--run: expected a folder of checkpoints"),
        (["two.npz", *TWO, "--set", "nonsense.outer=frozen"], "--set: expected one of"),
        (["two.npz", *TWO, "--set", "villani.outr=frozen"], "--set: expected one of villani.outer"),
    ],
)
def test_what_is_missing_or_wrong_is_one_sentence(
    verify_command: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(folder)
    done = verify_command("check", *arguments)
    assert done.code == 2
    assert told in done.err
    assert done.err.count("\n") == 1


def test_samples_must_fit_the_network(verify_command: Any, folder: Path) -> None:
    np.savez(folder / "bad.npz", X=np.ones((4, 2)))
    done = verify_command("check", folder / "two.npz", *TWO, "--data", folder / "bad.npz")
    assert done.code == 2
    assert "bad.npz': expected samples X of shape (n, 3), but got (4, 2)" in done.err
    np.savez(folder / "many.npz", X=np.ones((4, 3)), y=np.ones((4, 2)))
    done = verify_command("check", folder / "two.npz", *TWO, "--data", folder / "many.npz")
    assert done.code == 2
    assert "many.npz': expected targets y of shape (4,)" in done.err


def test_slopes_of_a_formula_are_those_of_its_name(verify_command: Any, folder: Path) -> None:
    told = []
    for activation in ("log(1+exp(z))", "softplus"):
        done = verify_command(
            "check",
            folder / "eq.npz",
            "--family",
            "equilibrium",
            "--activation",
            activation,
            "--condition",
            "well-posedness",
        )
        assert done.code == 0
        told.append(" ".join(done.out.split()))
    assert "secant slopes = [0, 1]" in told[0]
    assert "secant slopes = [0, 1]" in told[1]


# --- training runs -------------------------------------------------------------------------------


def test_a_run_that_nothing_looks_at_is_said_to_change_nothing(
    verify_command: Any, folder: Path
) -> None:
    done = verify_command("check", folder / "two.npz", *TWO, "--run", folder / "run")
    assert done.code == 3
    assert "--run: no condition of this check looks at a training run" in done.err


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Install one condition that looks at runs; the list holds the runs it was given."""
    from verify import registry
    from verify.condition import Condition, Goal, NotApplicable

    seen: list[Any] = []

    def prepare(network: Any, data: Any, run: Any, settings: Any) -> None:
        seen.append(run)
        raise NotApplicable("it only looks")

    condition = Condition(
        "looker", "Looker", (Goal("goal", "it holds"),), (), prepare, lambda problem: "goal", "",
        uses_run=True,
    )  # fmt: skip
    monkeypatch.setattr(registry, "conditions", lambda: {"looker": condition})
    return seen


LOOK = ["--family", "two-layer", "--activation", "tanh", "--condition", "looker"]


def test_a_run_reaches_the_condition_that_looks_at_it(
    verify_command: Any, folder: Path, looked_at: list[Any]
) -> None:
    np.savez(folder / "run" / "data.npz", X=np.ones((4, 3)), y=np.ones(4))
    done = verify_command("check", folder / "two.npz", *LOOK, "--run", folder / "run", "--data",
                          folder / "run" / "data.npz")  # fmt: skip
    assert done.code == 3
    assert done.err == ""
    (run,) = looked_at
    assert [(one.step, one.network.W[0, 0]) for one in run.checkpoints] == [
        (1, 1),
        (2, 2),
        (10, 10),
    ]


def test_without_a_run_the_condition_gets_none(
    verify_command: Any, folder: Path, looked_at: list[Any]
) -> None:
    verify_command("check", folder / "two.npz", *LOOK)
    assert looked_at == [None]


def test_a_checkpoint_that_does_not_fit_is_named(
    verify_command: Any, folder: Path, looked_at: list[Any]
) -> None:
    np.savez(folder / "run" / "step3.npz", W=np.ones((2, 4)), a=np.ones(2))
    done = verify_command("check", folder / "two.npz", *LOOK, "--run", folder / "run")
    assert done.code == 2
    assert "step3.npz': expected a checkpoint of the model, with tensors W [2, 3]" in done.err
    assert done.err.count("\n") == 1
    assert not looked_at
