"""Where people wait: import, help, and the check of a 256-wide model, start-up included.

Peers in the same run: an empty interpreter, and one that imports NumPy and SymPy.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

VERIFY = str(Path(sys.executable).with_name("verify"))


def run(*command, folder=None):
    subprocess.run(command, check=True, capture_output=True, cwd=folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "w.npz",
        W=0.4 * rng.standard_normal((256, 256)) / 16,
        U=rng.standard_normal((256, 64)),
        b=rng.standard_normal(256),
    )
    return folder


@pytest.mark.benchmark(group="start-up")
def test_empty_interpreter(benchmark):
    benchmark.pedantic(run, (sys.executable, "-c", "pass"), rounds=15, warmup_rounds=2)


@pytest.mark.benchmark(group="start-up")
def test_numpy_and_sympy(benchmark):
    command = (sys.executable, "-c", "import numpy, sympy")
    benchmark.pedantic(run, command, rounds=7, warmup_rounds=2)


@pytest.mark.benchmark(group="start-up")
def test_import_verify(benchmark):
    command = (sys.executable, "-c", "import verify")
    benchmark.pedantic(run, command, rounds=15, warmup_rounds=2)


@pytest.mark.benchmark(group="start-up")
def test_verify_help(benchmark):
    benchmark.pedantic(run, (VERIFY, "--help"), rounds=15, warmup_rounds=2)


@pytest.mark.benchmark(group="start-up")
def test_verify_check_256(benchmark, model):
    command = (VERIFY, "check", "w.npz", "--family", "equilibrium", "--activation", "relu")
    benchmark.pedantic(run, command, kwargs={"folder": model}, rounds=7, warmup_rounds=1)
