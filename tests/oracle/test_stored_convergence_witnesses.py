"""Witnesses about convergence and gradient inequalities, read back from disk, hold in fractions.

The stored tensors, samples and targets are all that is used, and no code of a kernel.
"""

from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest

from verify.certificate import decode_value, read_certificate

FOLDER = Path(__file__).parents[1] / "golden"
NAMES = [
    path
    for folder in ("convergence", "gradient_inequality")
    for path in sorted((FOLDER / folder).glob("*.json"))
    if "witness" not in path.name
]
ODD = {"tanh"}


def exact(array):
    return [exact(row) for row in array] if array.ndim > 1 else [Fraction(float(x)) for x in array]


class Stored:
    """What one file tells: tensors by their own names, samples, targets, what is trained."""

    def __init__(self, path):
        certificate = read_certificate(path)
        self.claim = certificate.claim
        parts = certificate.network
        self.X, self.y = (parts.get(f"data.{key}") for key in ("X", "y"))
        self.X = None if self.X is None else exact(self.X)
        self.y = None if self.y is None else exact(self.y.reshape(len(self.y), -1))
        self.tensors = {k: exact(v) for k, v in parts.items() if not k.startswith("data.")}
        frozen = self.claim["settings"].get("frozen", "none").split(",")
        self.trained = {k for k in self.tensors if k not in frozen}
        self.arrays = certificate.arrays

    @property
    def activation(self):
        return self.claim["network"]["activation"]

    def witnesses(self):
        for route in self.claim["routes"]:
            for found in (*route["facts"].values(), *route["quantities"].values()):
                if found["witness"] is not None:
                    data = found["witness"]["data"]
                    decoded = {k: decode_value(v, self.arrays) for k, v in data.items()}
                    yield route, found["witness"]["kind"], decoded

    def outputs(self):
        return 1 if "a" in self.tensors else len(self.tensors["W2"])

    def parameters(self):
        return sum(entries(self.tensors[key]) for key in self.trained)


def entries(value):
    return sum(map(entries, value)) if isinstance(value, list) else 1


def arguments(stored, x):
    """The arguments of the hidden units of a two-layer network."""
    b = stored.tensors.get("b", [Fraction(0)] * len(stored.tensors["W"]))
    return [
        sum((w * v for w, v in zip(row, x, strict=True)), shift)
        for row, shift in zip(stored.tensors["W"], b, strict=True)
    ]


def relu_row(stored, x):
    """One row of J of a two-layer relu network off its kinks, the trained entries alone."""
    row, p = [], arguments(stored, x)
    assert stored.activation == "relu"
    assert 0 not in p
    for k, a in enumerate(stored.tensors["a"]):
        on = Fraction(p[k] > 0)
        if "a" in stored.trained:
            row.append(on * p[k])
        if "W" in stored.trained:
            row += [on * a * v for v in x]
        if "b" in stored.trained:
            row.append(on * a)
    return row


def is_odd(stored):
    return stored.activation in ODD and not {"b", "c", "b1", "b2"} & set(stored.tensors)


def unreachable(stored, data):
    samples, o = list(data["samples"]), data["output"]
    targets = [stored.y[k][o] for k in samples]
    if list(data["targets"]) != targets:
        return False
    rows = [stored.X[k] for k in samples]
    if data["reason"] == "equal samples":
        return rows[0] == rows[1] and targets[0] != targets[1]
    if data["reason"] == "zero output":
        return is_odd(stored) and not any(rows[0]) and targets[0] != 0
    if data["reason"] == "law":
        opposite = rows[1] == [-v for v in rows[0]]
        return is_odd(stored) and opposite and targets[1] != -targets[0]
    if data["reason"] == "fixed output":
        p = arguments(stored, rows[0])
        value = sum(
            (a * max(v, Fraction(0)) for a, v in zip(stored.tensors["a"], p, strict=True)),
            Fraction(0),
        )
        return not stored.trained and stored.activation == "relu" and value != targets[0]
    return False


def weight_decay(stored, data):
    """With the last layer trained, zero weights give zero outputs; this target is not zero."""
    told = Fraction(stored.claim["settings"]["weight_decay"])
    last = {"a", "c"} & set(stored.tensors) <= stored.trained
    target = stored.y[data["sample"]][data["output"]]
    return told == data["decay"] > 0 and last and data["target"] == target != 0


def merged(stored, data):
    return data["i"] != data["j"] and stored.X[data["i"]] == stored.X[data["j"]]


def related(stored, data):
    """sum_k c_k f(x_k) = 0 for all weights of an odd network: by classes of samples up to sign."""
    total = {}
    for k, c in zip(data["samples"], data["coefficients"], strict=True):
        x = tuple(stored.X[k])
        sign = -1 if x < tuple(-v for v in x) else 1
        key = tuple(sign * v for v in x)
        total[key] = total.get(key, Fraction(0)) + sign * Fraction(c) * any(x)
    some = any(Fraction(c) for c in data["coefficients"])
    return is_odd(stored) and some and not any(total.values())


def few_parameters(stored, data):
    rows = len(stored.X) * stored.outputs()
    return stored.parameters() == data["parameters"] < data["rows"] == rows


def zero_row(stored, data):
    return data["output"] == 0 and not any(relu_row(stored, stored.X[data["sample"]]))


def few_columns(stored, data):
    columns = zip(*(relu_row(stored, x) for x in stored.X), strict=True)
    return sum(map(any, columns)) <= data["columns"] < data["rows"] == len(stored.X)


def few_features(stored, data):
    width = len(stored.tensors["W2"][0])
    ones = int("b2" in stored.trained)
    counts = (data["width"], data["outputs"], data["samples"], int(data["bias"]))
    told = (width, stored.outputs(), len(stored.X), ones)
    return counts == told and width < stored.outputs() and width + ones < len(stored.X)


def kernel_vector(stored, data):
    """K v = 0 exactly where J^T v = 0."""
    v = [Fraction(int(x)) for x in data["vector"]]
    columns = zip(*(relu_row(stored, x) for x in stored.X), strict=True)
    return any(v) and not any(
        sum((c * w for c, w in zip(column, v, strict=True)), Fraction(0)) for column in columns
    )


RULES = {
    "unreachable-targets": unreachable,
    "weight-decay": weight_decay,
    "merged-samples": merged,
    "sample-relation": related,
    "few-parameters": few_parameters,
    "zero-row": zero_row,
    "few-columns": few_columns,
    "few-features": few_features,
    "kernel-vector": kernel_vector,
}
BY_SAMPLES = ("merged-samples", "sample-relation", "kernel-vector")


@pytest.mark.parametrize("path", NAMES, ids=[f"{p.parent.name}-{p.stem}" for p in NAMES])
def test_every_stored_witness_holds_again(path):
    stored = Stored(path)
    for _, kind, data in stored.witnesses():
        assert RULES[kind](stored, data), kind


def test_each_failing_network_with_data_has_a_witness_and_each_kind_occurs():
    kinds = set()
    for path in NAMES:
        stored = Stored(path)
        own = {kind for _, kind, _ in stored.witnesses()}
        if stored.claim["verdict"] == "fail" and stored.X is not None:
            assert own, path.name
        kinds |= own
    assert kinds == set(RULES)


def test_no_witness_holds_for_other_targets_or_samples():
    """Targets that follow the law, samples that differ and more parameters clear each of them."""
    changed = 0
    for path, spoil in product(NAMES, ("targets", "samples")):
        stored = Stored(path)
        for _, kind, data in stored.witnesses():
            if spoil == "targets" and kind in ("unreachable-targets", "weight-decay"):
                stored.y = [[Fraction(0)] * len(row) for row in stored.y]
                assert not RULES[kind](stored, data), (path.name, kind)
                changed += 1
            if spoil == "samples" and kind in (
                "merged-samples",
                "sample-relation",
                "kernel-vector",
            ):
                stored.X = [
                    [v + Fraction(k + 1, 7) ** (j + 2) for j, v in enumerate(row)]
                    for k, row in enumerate(stored.X)
                ]
                assert not RULES[kind](stored, data), (path.name, kind)
                changed += 1
    assert changed > 10
