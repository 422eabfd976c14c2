"""What the README shows is run."""

import re
import shlex
from pathlib import Path

import pytest

from verify.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text()
ARRAYS, CHECKPOINT, TWO_LAYER, MARKER = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


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


def test_the_marker_of_the_readme_works(pytester):
    names = {}
    monkey = pytester.path
    exec(ARRAYS.replace('"w.npz"', f'"{monkey}/w.npz"'), names)
    flags = 'model="w.npz", family="equilibrium", activation="relu"'
    pytester.makepyfile("import pytest\n\n" + MARKER.replace('model="model.pt"', flags))
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
