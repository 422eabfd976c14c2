"""Certificates along a real training loop, and a training that does not notice them."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import shlex
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.certificate import read_certificate
from verify.cli import main
from verify.errors import InputError, SettingsError
from verify.network import Activation, Equilibrium, ReluFeatureInput, ScaledGaussianWeight
from verify.training import certify_every
from verify.verdict import Verdict

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

DOCUMENT = (Path(__file__).parents[2] / "docs" / "certificate_trail.md").read_text(encoding="utf-8")
HERE = "converges-from-here"
FROZEN = {f"{HERE}.frozen": "none"}


@pytest.fixture(scope="module")
def diabetes():
    """Five patients of the diabetes data."""
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_diabetes(return_X_y=True)
    return torch.tensor(10 * X[:5]), torch.tensor((y[:5] - 150) / 100)[:, None]


def network(seed: int = 0, width: int = 20):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(10, width), nn.Tanh(), nn.Linear(width, 1)).double()


def train(model, X, y, trail, steps: int, *, rate: float = 1e-2) -> list[float]:
    """Train with Adam, and return the losses."""
    optimiser = torch.optim.Adam(model.parameters(), rate)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = ((model(X) - y) ** 2).sum() / 2
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if trail is not None and trail.step():
            break
    return losses


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """The run of the document, until the certificate fires, with everything stored."""
    pytest.importorskip("sklearn")
    (block,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    names: dict[str, Any] = {}
    place = tmp_path_factory.mktemp("document")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        exec(block, names)
    return names["trail"], place / "trail", names["step"] + 1, names["command"]


def test_convergence_is_proved_at_some_step(trained) -> None:
    trail, _, steps, _ = trained
    step = trail.first_pass(HERE)
    assert step is not None
    assert step % 100 == 0
    assert trail.finished
    assert steps == step
    assert list(trail.certificates) == list(range(0, step + 1, 100))
    verdicts = [found[0].verdict for found in trail.certificates.values()]
    assert verdicts == [Verdict.UNDECIDED] * (step // 100) + [Verdict.PASS]
    assert not trail.problems
    assert trail.step()  # counted, and nothing more is certified
    assert len(trail.entries) == 2 * (step // 100 + 1)


def test_rows_and_words(trained) -> None:
    trail = trained[0]
    rows = trail.table()
    assert [row["step"] for row in rows[:2]] == ["0", "0"]
    assert [row["condition"] for row in rows[:2]] == [HERE, "expressivity"]
    assert set(rows[0]) == {"step", "condition", "verdict", "sentence", "seconds"}
    assert rows[-2]["verdict"] == "pass"
    assert rows[-2]["sentence"].startswith("proved: the gradient flow")
    assert len(str(trail).splitlines()) == len(rows)
    with pytest.raises(InputError, match="expected one of"):
        trail.first_pass("villani")


def test_every_certificate_is_on_disk(trained) -> None:
    trail, folder, _, _ = trained
    for step, certificates in trail.certificates.items():
        for certificate in certificates:
            stored = read_certificate(folder / f"step-{step:06d}.{certificate.condition}.json")
            assert stored.digest == certificate.digest
            assert stored.network
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_stored_step_is_certified_again_by_the_command(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trail, folder, step, command = trained
    monkeypatch.chdir(folder.parent)
    words = shlex.split(command)
    assert words[:2] == ["verify", "check"]
    assert words[2].endswith(f"step-{step:06d}.safetensors")
    assert main([*words[1:], "--json", str(tmp_path)]) == 0
    capsys.readouterr()
    for certificate in trail.certificates[step]:
        (path,) = tmp_path.glob(f"*.{certificate.condition}.json")
        again = json.loads(path.read_text())["certificate"]
        # The reader of tensors tells in which layout it found them.
        again["network"]["notes"] = certificate.claim["network"]["notes"]
        assert again == certificate.claim
    assert trail.command(step) == command
    with pytest.raises(InputError, match="expected a step that is stored"):
        trail.command(step + 1)


def test_training_does_not_notice(diabetes) -> None:
    """The losses, the weights and all states are those of a training without certificates."""
    X, y = diabetes
    plain, watched = network(3), network(3)
    plain_losses = train(plain, X, y, None, 7)
    trail = certify_every(3, watched, X, y, conditions=["expressivity"], strict=True)
    assert train(watched, X, y, trail, 7) == plain_losses
    assert [entry.step for entry in trail.entries] == [0, 3, 6]
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one.grad, other.grad)


class Noisy(nn.Module):
    """Dropout and batch norm in training form, one frozen layer, one part in evaluation form."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(10, 12), nn.BatchNorm1d(12)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(12, 1)
        self.first.weight.requires_grad_(False)

    def forward(self, x):
        return self.last(self.drop(torch.tanh(self.norm(self.first(x)))))


def test_all_states_are_left_as_they_were(diabetes) -> None:
    X, y = diabetes[0].float(), diabetes[1].float()
    torch.manual_seed(1)
    model = Noisy()
    model.train()
    model.norm.eval()
    ((model(X) - y) ** 2).sum().backward()
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    optimiser.step()
    random.seed(5)
    np.random.seed(5)

    def state():
        return (
            [(name, part.training) for name, part in model.named_modules()],
            {name: value.clone() for name, value in model.state_dict().items()},
            {name: (p.requires_grad, p.dtype, p.device, p.data_ptr(),
                    None if p.grad is None else p.grad.clone())
             for name, p in model.named_parameters()},
            torch.get_rng_state(), random.getstate(), np.random.get_state(),
            torch.is_grad_enabled(), torch.get_default_dtype(), X.clone(),
        )  # fmt: skip

    def same(a, b) -> bool:
        if isinstance(a, torch.Tensor):
            return torch.equal(a, b)
        if isinstance(a, np.ndarray):
            return np.array_equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
        if isinstance(a, list | tuple):
            return len(a) == len(b) and all(map(same, a, b))
        return a == b

    before = state()
    trail = certify_every(1, model, X, y, conditions=["expressivity"], strict=True)
    trail.step()
    assert same(before, state())
    assert [entry.verdict for entry in trail.entries] != ["error", "error"]


def test_samples_are_those_that_the_module_is_fed(diabetes) -> None:
    """X in binary64 is rounded to the dtype of the module, once."""
    X, y = diabetes
    model = network().float()
    trail = certify_every(1, model, X, y, conditions=["expressivity"], strict=True)
    (certificate,) = trail.certificates[0]
    assert np.array_equal(certificate.network["data.X"], X.float().double().numpy())
    assert certificate.network["data.X"].dtype == np.float64


# Counting ---------------------------------------------------------------------------------------


def quick(model, X, every: int = 2, **more):
    return certify_every(every, model, X, conditions=["expressivity"], **more)


def test_counts_of_the_loop(diabetes) -> None:
    trail = quick(network(), diabetes[0], 10)
    for step in (4, 8, 12, 19, 20, 45):
        trail.step(step)
    assert [entry.step for entry in trail.entries] == [0, 12, 20, 45]
    for count in (45, 44, "50"):
        with pytest.raises(InputError, match="expected a count of steps above 45"):
            trail.step(count)
    assert [e.step for e in quick(network(), diabetes[0], 10, start=30).entries] == [30]
    late = quick(network(), diabetes[0], 10, start=35)
    assert not late.entries
    late.step(41)
    assert [entry.step for entry in late.entries] == [41]


def test_as_a_hook_of_the_optimiser(diabetes) -> None:
    X, y = diabetes
    model = network()
    trail = quick(model, X)
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)
    optimiser.register_step_post_hook(trail)
    for _ in range(5):
        optimiser.zero_grad()
        ((model(X) - y) ** 2).sum().backward()
        optimiser.step()
    assert [entry.step for entry in trail.entries] == [0, 2, 4]


def test_the_last_state_of_a_block(diabetes) -> None:
    with quick(network(), diabetes[0]) as trail:
        for _ in range(3):
            trail.step()
    assert [entry.step for entry in trail.entries] == [0, 2, 3]
    with quick(network(), diabetes[0]) as trail:
        trail.step(2)
    assert [entry.step for entry in trail.entries] == [0, 2]
    broken = quick(network(), diabetes[0])
    with pytest.raises(KeyError), broken:
        _fail_after_a_step(broken)
    assert [entry.step for entry in broken.entries] == [0]


def _fail_after_a_step(trail) -> None:
    trail.step()
    raise KeyError


# Errors -----------------------------------------------------------------------------------------


def test_an_error_is_one_sentence_and_training_goes_on(
    diabetes, caplog: pytest.LogCaptureFixture
) -> None:
    model = network()
    trail = quick(model, diabetes[0], 1)
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with caplog.at_level(logging.WARNING, "verify.training"):
        assert trail.step() is False
    (told,) = trail.problems[1]
    assert told.startswith("step 1: ")
    assert "expected finite numbers" in told
    assert "\n" not in told
    own = [record.message for record in caplog.records if record.name == "verify.training"]
    assert own == [told]
    assert trail.entries[-1].verdict == "error"
    assert "error: step 1" in str(trail).splitlines()[-1]
    assert trail.table()[-1]["sentence"] == told
    with torch.no_grad():
        model[0].weight[0, 0] = 0.5
    trail.step()
    assert list(trail.certificates) == [0, 2]


def test_strict_ends_the_training(diabetes) -> None:
    model = network()
    trail = quick(model, diabetes[0], 1, strict=True)
    with torch.no_grad():
        model[0].weight[0, 0] = float("inf")
    with pytest.raises(InputError, match="expected finite numbers"):
        trail.step()


def test_what_torch_cannot_export_is_told(diabetes) -> None:
    class Branches(nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x

    trail = quick(Branches(), diabetes[0], 1)
    assert "expected a module that torch can export" in trail.problems[0][0]
    unknown = quick(nn.Sequential(nn.GroupNorm(2, 10), nn.Linear(10, 1)).double(), diabetes[0])
    assert trail.entries[0].certificate is None
    assert unknown.problems[0]


def test_a_folder_that_cannot_be_written_is_told(diabetes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    trail = quick(network(), diabetes[0], folder=tmp_path / "file")
    assert "write_certificates: expected to write into" in trail.problems[0][0]
    assert list(trail.certificates) == [0]


def test_checkpoints_are_about_one_set_of_samples(diabetes, tmp_path: Path) -> None:
    """A second trail must not change what the stored steps of the first are certified on."""
    X = diabetes[0]
    first = quick(network(), X, 1, folder=tmp_path, store=True, strict=True)
    stored = (tmp_path / "checkpoints" / "data.npz").read_bytes()
    other = quick(network(), X + 1, 1, folder=tmp_path, store=True)
    assert "expected the samples of the checkpoints" in other.problems[0][0]
    assert (tmp_path / "checkpoints" / "data.npz").read_bytes() == stored
    assert first.command(0)
    quick(network(), X, 1, folder=tmp_path, store=True, strict=True, start=1)


def test_weights_without_numbers_are_told(diabetes) -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(10, 3), nn.Tanh(), nn.Linear(3, 1))
    trail = quick(model, diabetes[0], 1)
    assert "expected weights with numbers, but got the meta device" in trail.problems[0][0]


def test_counts_of_numpy(diabetes) -> None:
    trail = quick(network(), diabetes[0], np.int64(2))
    trail.step(np.int64(2))
    assert [entry.step for entry in trail.entries] == [0, 2]
    with pytest.raises(InputError, match="expected a count of steps above 2, but got True"):
        trail.step(True)


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
def test_an_interrupt_leaves_whole_files(
    diabetes, tmp_path: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1)).double()
    trail = quick(model, diabetes[0], 1, folder=tmp_path, store=True, strict=True)
    kept, before = torch.get_rng_state(), sorted(tmp_path.rglob("*"))
    original, calls = os.replace, []

    def interrupted(*given, **more):
        calls.append(given)
        if len(calls) == moment:
            raise KeyboardInterrupt
        return original(*given, **more)

    monkeypatch.setattr(os, "replace", interrupted)
    try:
        trail.step()
    except KeyboardInterrupt:
        assert [entry.step for entry in trail.entries] == [0]
    monkeypatch.undo()
    assert torch.equal(kept, torch.get_rng_state())
    assert model.training
    new = {path.name for path in tmp_path.rglob("*")} - {path.name for path in before}
    whole = {
        "step-000001.safetensors",
        "step-000001.expressivity.json",
        "step-000001.network.safetensors",
        "step-000001.expressivity.witness.safetensors",
    }
    assert new <= whole  # fmt: skip
    for path in tmp_path.glob("*.json"):
        read_certificate(path)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"every": 0}, "expected every as a whole number >= 1, but got 0"),
        ({"every": True}, "expected every as a whole number >= 1, but got True"),
        ({"every": 1.5}, "expected every as a whole number >= 1, but got 1.5"),
        ({"budget": float("nan")}, "expected budget as seconds >= 0, but got nan"),
        ({"budget": -1.0}, "expected budget as seconds >= 0"),
        ({"model": None}, "expected a torch module, or read beside it, but got 'NoneType'"),
        ({"X": ["a"]}, "expected numbers X, but got"),
        ({"start": -1}, "expected start as a whole number >= 0"),
        ({"conditions": []}, "expected at least one condition"),
        ({"conditions": ["nothing"]}, "expected one of .*, but got 'nothing'"),
        ({"stop": "villani"}, "expected one of expressivity, but got 'villani'"),
        ({"store": True}, "expected a folder where checkpoints are stored, but got None"),
        ({"settings": {"villani.loss": "squared"}}, "expected settings of expressivity"),
        ({"settings": {"expressivity.nothing": "1"}}, "expected one of expressivity"),
        ({"y": [1.0]}, "expected 5 targets y"),
        ({"X": np.zeros((0, 10))}, "expected at least one sample X"),
        ({"X": np.full((2, 10), np.inf)}, "expected finite samples X"),
    ],
)
def test_what_does_not_fit_is_told_before_training(diabetes, more, told: str) -> None:
    given = {"every": 5, "model": network(), "X": diabetes[0], "conditions": ["expressivity"]}
    with pytest.raises((InputError, SettingsError), match=told):
        certify_every(**{**given, **more})


def test_a_missing_setting_is_told_before_training(diabetes) -> None:
    with pytest.raises(SettingsError, match="frozen"):
        certify_every(5, network(), *diabetes, conditions=[HERE])


# Other networks ---------------------------------------------------------------------------------


def test_networks_of_ones_own(tmp_path: Path) -> None:
    class Holder:
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.A, self.V = 0.1 * rng.standard_normal((3, 3)), rng.standard_normal((3, 2))

        def network(self) -> Equilibrium:
            return Equilibrium(
                ScaledGaussianWeight(self.A, Fraction(1, 2)), Activation.parse("relu"),
                ReluFeatureInput(self.V), {"u": np.ones(3), "v": np.ones(3)},
            )  # fmt: skip

    model = Holder()
    trail = certify_every(
        1, model, np.ones((2, 2)), conditions=["well-posedness"], read=Holder.network,
        folder=tmp_path, settings={}, strict=True,
    )  # fmt: skip
    assert trail.first_pass("well-posedness") == 0
    model.A = 100 * model.A
    trail.step()
    assert trail.entries[-1].verdict != "pass"
    stored = certify_every(
        1, model, np.ones((2, 2)), conditions="well-posedness", read=Holder.network,
        folder=tmp_path / "other", store=True,
    )  # fmt: skip
    assert "to store, but got the family equilibrium" in stored.problems[0][0]


def test_convolutions_are_stored_as_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).double()
    X = torch.randn(4, 1, 6, 6, dtype=torch.float64)
    trail = certify_every(
        1, model, X, conditions=["expressivity"], folder=tmp_path, store=True, strict=True
    )
    words = shlex.split(trail.command(0))
    assert words[2].endswith("step-000000.pt2")
    assert main([*words[1:], "--json", str(tmp_path / "again")]) == 0
    (path,) = (tmp_path / "again").glob("*.expressivity.json")
    again = json.loads(path.read_text())["certificate"]
    assert again["verdict"] == trail.entries[0].verdict
