"""What docs/networks.md and docs/ee_wrapper.md show is run, block by block."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from verify.cli import main
from verify.network.operations import OPERATIONS

torch = pytest.importorskip("torch")

DOCS = Path(__file__).parents[2] / "docs"
NETWORKS = (DOCS / "networks.md").read_text(encoding="utf-8")
WRAPPER = (DOCS / "ee_wrapper.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", NETWORKS, re.DOTALL)
NAMED = re.compile(r"# ([\w.]+)\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which every block of the document was run in order."""
    pytest.importorskip("onnx")
    place = tmp_path_factory.mktemp("networks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.syspath_prepend(str(place))
        names: dict[str, Any] = {}
        for count, (kind, text) in enumerate(BLOCKS):
            _run(kind, text, place, names, f"json{count}")
        yield place
        sys.modules.pop("net", None)


def _run(kind: str, text: str, place: Path, names: dict[str, Any], json_folder: str) -> None:
    named = NAMED.match(text)
    if named is not None:
        file = place / named[1]
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        file.write_text(before + text, encoding="utf-8")
    elif kind == "python":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(text, names)
    else:
        for line in text.splitlines():
            words = shlex.split(line)
            assert words[:2] == ["verify", "check"]
            assert main([*words[1:], "--json", str(place / json_folder)]) == 0


def test_every_block_was_run_and_passes(folder: Path) -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert (kinds.count("python"), kinds.count("toml"), kinds.count("")) == (3, 2, 3)
    written = {path.parent.name for path in folder.glob("json*/*.json")}
    assert len(written) == 3


def test_three_files_of_one_network_give_one_claim(folder: Path) -> None:
    found = [json.loads(path.read_text()) for path in folder.glob("json*/net*.expressivity.json")]
    assert len(found) == 3
    assert len({json.dumps(certificate["digests"]) for certificate in found}) == 1


def test_the_tables_of_the_readme_are_those_of_the_document() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    shown = {name: part for kind, text in BLOCKS if kind == "toml" for name, part in _models(text)}
    assert dict(_models(block)) == shown


def _models(text: str) -> list[tuple[str, Any]]:
    return [(name, table["model"]) for name, table in tomllib.loads(text)["files"].items()]


def test_without_trust_nothing_is_imported(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = ["check", "net.pt", "--data", "images.npz", "--condition", "expressivity"]
    assert main(words) == 2
    assert "add --trust if you trust that code" in capsys.readouterr().err


def test_folded_batch_norms_are_another_network(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from net import Net  # type: ignore[import-not-found]

    monkeypatch.chdir(folder)
    sample = torch.zeros(2, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Net().eval(), (sample,), "folded.onnx", dynamo=False)
    assert main(["check", "folded.onnx", "--data", "images.npz", "--condition", "expressivity"]) < 2
    told = capsys.readouterr().out
    assert "batch_norm" not in told
    assert "conv1.bias" in told


def test_the_marker_takes_a_class_with_trust(folder: Path, pytester: pytest.Pytester) -> None:
    where = f"model={str(folder / 'net.pt')!r}, data={str(folder / 'images.npz')!r}"
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.verify(condition="expressivity", {where}, trust=True)
        def test_it():
            pass

        @pytest.mark.verify(condition="expressivity", {where})
        def test_without_trust():
            pass
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*expected --trust*"])


def test_the_table_of_operations_is_that_of_the_code() -> None:
    part = NETWORKS.split("## Operations that are read")[1].split("\n## ")[0]
    told = {
        name
        for row in re.findall(r"^\| (`.*?) \|", part, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert told == set(OPERATIONS) - {"input"}


def test_the_activations_of_the_table_are_known() -> None:
    from verify.network import Activation
    from verify.network.activation import NAMES

    (row,) = re.findall(r"^\| `activation` \| (.*?);", NETWORKS, re.MULTILINE)
    assert set(row.split(", ")) == set(NAMES) - {"identity"}
    for name in ("leaky_relu(0.01)", "softplus(100)"):
        assert name in NETWORKS
        assert Activation.parse(name).parameters


def test_the_example_of_the_wrapper(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", WRAPPER, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["guarantee"].holds
    assert names["guarantee"].proved
    assert capsys.readouterr().out.startswith("guarantee for the loss cross-entropy: holds\n")
    assert names["certificate"].verdict == "pass"


class Attention(torch.nn.Module):
    """One operation that is not covered."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(x, x, x)


class AcrossSamples(torch.nn.Module):
    """Subtracts the mean of the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0, keepdim=True)


@pytest.mark.parametrize(
    "module",
    [
        torch.nn.GroupNorm(2, 4),
        torch.nn.InstanceNorm1d(4),
        torch.nn.ConvTranspose1d(4, 4, 3),
        torch.nn.Softplus(1, 19),
        Attention(),
        AcrossSamples(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_what_is_refused_is_told_in_one_sentence(module: torch.nn.Module) -> None:
    from verify.errors import InputError
    from verify.readers.live import graph_of_module

    with pytest.raises(InputError, match=r"^[^\n]*expected .*$"):
        graph_of_module(torch.nn.Sequential(module, torch.nn.Flatten()), torch.zeros(3, 4, 6))
