"""Real model files and the command, run in this process."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

FLAGS = ["--family", "equilibrium", "--activation", "relu", "--condition", "well-posedness"]


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Runs:
    """A pickle that would write a file if anybody loaded it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


@pytest.fixture
def verify_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    from verify.cli import main

    def run(*arguments: str | Path) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        seen = capsys.readouterr()
        return Result(code, seen.out, seen.err)

    return run


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """good, bad (cyclic inhibition), open (dense, undecided in no time), text, unsafe, declared."""
    folder = tmp_path_factory.mktemp("models")
    np.savez(folder / "good.npz", W=np.array([[0.0, -0.5], [-0.5, 0.0]]))
    np.savez(folder / "bad.npz", W=np.array([[0.0, -3.0], [-3.0, 0.0]]))
    generator = np.random.default_rng(5)
    np.savez(folder / "open.npz", W=0.85 * generator.standard_normal((40, 40)) / np.sqrt(40))
    np.savez(folder / "input.npz", W=np.array([[0.0, -0.5], [-0.5, 0.0]]), U=np.eye(2))
    np.savez(folder / "samples.npz", X=np.array([[0.25, -1.0], [0.5, 2.0], [0.0, 0.0]]))
    declared = '{"family": "equilibrium", "activation": "relu"}'
    np.savez(folder / "declared.npz", W=np.array([[0.5]]), verify=np.array(declared))
    (folder / "text.npz").write_text("not an archive", encoding="utf-8")
    payload = np.empty(1, dtype=object)
    payload[0] = Runs(folder / "executed")
    np.savez(folder / "unsafe.npz", W=payload)
    return folder


@pytest.fixture
def flags() -> list[str]:
    return FLAGS
