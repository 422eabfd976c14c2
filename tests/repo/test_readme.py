"""What the README shows is run."""

import re
import shlex
from pathlib import Path

import pytest

from verify.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
ARRAYS, CHECKPOINT, TWO_LAYER, DEEP, TRAINED, MARKER = BLOCKS


def test_the_two_models_of_the_readme_pass(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(ARRAYS, names)
    assert main(["check", "w.npz", "--family", "equilibrium", "--activation", "relu"]) == 0
    told = capsys.readouterr().out
    for word in ("spectral norm of W", "Lipschitz constant x -> z", "W is scaled by"):
        assert word in " ".join(told.split())
    pytest.importorskip("torch")
    exec(CHECKPOINT, names)
    assert main(["check", "model.pt", "--report", "report.html"]) == 0
    assert "<math" in (tmp_path / "report.html").read_text()


def test_the_two_layer_network_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(ARRAYS, names)
    exec(TWO_LAYER, names)
    (command,) = re.findall(r"^verify (check two\.npz .*?)\n```", README, re.DOTALL | re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " "))
    assert main(words) == 0
    told = " ".join(capsys.readouterr().out.split())
    for word in ("certified radius", "gLip", "lambda_cvx", "guaranteed rate"):
        assert word in told
    trained = [word.replace("outer=frozen", "outer=trained") for word in words]
    assert main(trained) == 1
    assert main([*words, "--activation", "z*exp(-z**2)"]) == 0


def test_the_deep_network_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in (ARRAYS, TWO_LAYER, DEEP):
        exec(block, names)
    (command,) = re.findall(r"^verify (check net\.npz .*?)\n```", README, re.DOTALL | re.MULTILINE)
    words = shlex.split(command)
    assert main(words) == 0
    told = " ".join(capsys.readouterr().out.split())
    for word in ("PL constant", "step", "contraction", "the rank of Z at the stored weights is n"):
        assert word in told
    narrow = {name: names["tensors"][name] for name in ("W1", "b1", "W2", "b2", "W3", "b3")}
    narrow["W2"], narrow["b2"], narrow["W3"] = (
        narrow["W2"][:198], narrow["b2"][:198], narrow["W3"][:, :198],
    )  # fmt: skip
    names["np"].savez("net.npz", X=names["X"], **narrow)
    assert main(words) == 1


def test_the_trained_network_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(ARRAYS, names)
    exec(TRAINED, names)
    found = re.findall(r"^verify (check trained\.npz .*?)\n```", README, re.DOTALL | re.MULTILINE)
    (command,) = found
    words = shlex.split(command)
    assert main(words) == 0
    told = " ".join(capsys.readouterr().out.split())
    for word in ("lstar", "rate", "eta", "contraction"):
        assert word in told
    assert main([*words, "--set", "converges-from-here.step=0.001"]) == 0


def test_the_marker_of_the_readme_works(pytester):
    names = {}
    monkey = pytester.path
    exec(ARRAYS.replace('"w.npz"', f'"{monkey}/w.npz"'), names)
    flags = 'model="w.npz", family="equilibrium", activation="relu"'
    pytester.makepyfile("import pytest\n\n" + MARKER.replace('model="model.pt"', flags))
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
