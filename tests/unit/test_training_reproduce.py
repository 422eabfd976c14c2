"""The demo and the reproduction, end to end, with short runs."""

import json
from fractions import Fraction

import numpy as np
import pytest

from verify.certificate import read_certificate
from verify.enclosure import endpoint_from_hex
from verify.verdict import Verdict
from verify_conditions.well_posedness import reproduce
from verify_conditions.well_posedness.reproduce import check_file, run, run_demo


def check_two_equilibria(folder):
    """Substitute both equilibria of the certificate into the stored weights, exactly."""
    certificate = read_certificate(folder / "certificates" / "scaled.well-posedness.json")
    [route] = [r for r in certificate.claim["routes"] if r["name"] == "p-matrix"]
    witness = route["facts"]["P"]["witness"]
    assert witness["kind"] == "two-equilibria"
    b, first, second = (
        [Fraction(int(p), int(q)) for p, q in witness["data"][name]["rationals"]]
        for name in ("b", "z1", "z2")
    )
    with np.load(folder / "scaled.npz", allow_pickle=False) as stored:
        W = [[Fraction(float(entry)) for entry in row] for row in stored["W"]]
    assert len(b) == len(W) == 100
    for z in (first, second):
        for i, row in enumerate(W):
            assert z[i] == max(0, sum(w * t for w, t in zip(row, z, strict=True)) + b[i])
    assert first != second


@pytest.mark.slow
def test_the_quick_demo_ends_with_its_three_verdicts(tmp_path):
    said = []
    folder = tmp_path / "demo"
    assert run_demo(quick=True, echo=said.append, folder=folder) == 0, "\n".join(said)
    found = {path.name for path in folder.iterdir()}
    assert found == {"implicit-relu.npz", "monotone.safetensors", "scaled.npz", "digits.npz",
                     "training-run.json", "certificates", "report.html"}  # fmt: skip
    verdicts = {
        stem: read_certificate(folder / "certificates" / f"{stem}.well-posedness.json").verdict
        for stem in ("implicit-relu", "monotone", "scaled")
    }
    assert verdicts == {
        "implicit-relu": Verdict.PASS, "monotone": Verdict.PASS, "scaled": Verdict.FAIL
    }  # fmt: skip
    check_two_equilibria(folder)
    stored = json.loads((folder / "training-run.json").read_text())
    assert stored["at every step"] == "proved"
    for step in stored["stored steps"]:
        assert endpoint_from_hex(step["gamma norm / sqrt(m)"][1]) < 1
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_the_quick_reproduction_certifies_each_stored_step(tmp_path):
    said = []
    page = tmp_path / "page.html"
    assert run(quick=True, json_dir=tmp_path / "json", report=page, echo=said.append) == 0
    names = sorted(path.name for path in (tmp_path / "json").glob("*.json"))
    assert names == [f"implicit-relu-step-{k:04d}.well-posedness.json" for k in (0, 15, 30)]
    assert page.exists()
    assert any("by the a-priori argument: proved" in line for line in said)


def test_an_outcome_that_differs_is_told_and_exits_with_1():
    said = []
    assert reproduce.outcome(["w.npz: expected pass, but got fail"], said.append) == 1
    assert said == ["w.npz: expected pass, but got fail"]


def test_a_saved_file_is_decided_with_its_own_declaration(tmp_path):
    path = tmp_path / "w.npz"
    reproduce.save_tensors(path, {"W": [[1.0]]}, {"family": "equilibrium", "activation": "relu"})
    certificate = check_file(path)
    assert certificate.verdict is Verdict.FAIL
    assert certificate.provenance["command"] == f"verify check {path}"
