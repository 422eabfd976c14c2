"""Planted structure: no rank over random weights exceeds a bound, Theorem D finds full ranks."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx

from verify.network import Activation, GraphBuilder
from verify.verdict import Truth
from verify_conditions.expressivity.checklist import theorem_d
from verify_kernels.exact_forward.balls import ball_features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure import (
    find_merged_samples,
    polynomial_dimension,
    rank_bound_by_symmetry,
    rank_bound_by_width,
)

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
COUNT = 500 if FULL else 50
SEED = 20
BITS = 256
ODD = ("tanh", "erf", "sin", "atan")
SMOOTH = ("tanh", "softplus", "sigmoid", "sin", "silu")


class Draw:
    """A random network; which structure was planted is in ``expected``."""

    def __init__(self, rng):
        self.rng, self.builder, self.count = rng, GraphBuilder(), 0
        self.expected, self.frozen, self.ones = "", frozenset(), bool(rng.integers(2))

    def input(self, *shape):
        self.place = self.builder.input(shape)
        return self

    def pick(self, *choices):
        return choices[int(self.rng.integers(len(choices)))]

    def numbers(self, *shape):
        return self.rng.integers(-16, 17, shape) / 8.0

    def add(self, op, attributes=None, tensors=None, reads=None):
        self.count += 1
        named = {slot: (f"{slot}{self.count}", np.array(v)) for slot, v in (tensors or {}).items()}
        reads = (self.place,) if reads is None else reads
        self.place = self.builder.add(op, reads, attributes or {}, named)
        return self

    def linear(self, width, bias):
        weight = {"weight": self.numbers(width, self.builder.shape(self.place)[-1])}
        return self.add("linear", {}, weight | ({"bias": self.numbers(width)} if bias else {}))

    def act(self, text):
        return self.add("activation", {"activation": Activation.parse(text)})

    def norm(self, bias, mean):
        (width,) = self.builder.shape(self.place)
        tensors = {"mean": self.numbers(width) * mean, "variance": self.numbers(width) ** 2 + 1,
                   "weight": self.numbers(width)}  # fmt: skip
        tensors |= {"bias": self.numbers(width)} if bias else {}
        return self.add("batch_norm", {"epsilon": Fraction(1, 1000), "training": False}, tensors)

    def build(self):
        self.linear(1, self.ones)
        graph = self.builder.build(self.place)
        return graph, graph.nodes[graph.last_affine].inputs[0]


def odd(draw):
    """Odd activations, no biases, samples in opposite pairs."""
    d, pairs = draw.pick(1, 2, 3), draw.pick(2, 3)
    x = draw.numbers(pairs, d) + 4
    X = np.concatenate([x, -x, np.zeros((1, d))])
    draw.input(d).linear(draw.pick(2, 5), False)
    if draw.rng.integers(2):
        draw.norm(False, 0)
    draw.act(draw.pick(*ODD))
    if draw.rng.integers(2):
        draw.linear(4, False).act(draw.pick(*ODD))
    draw.linear(8, bool(draw.rng.integers(2)))
    draw.expected = "symmetry"
    return X


def even(draw):
    """An even first activation: opposite samples have equal rows."""
    x = draw.numbers(3, 2) + 4
    draw.input(2).linear(4, False).act(draw.pick("square", "abs", "cos(z)"))
    draw.linear(9, True).act("tanh")
    draw.expected = "symmetry"
    return np.concatenate([x, -x[:2]])


def rays(draw):
    """Positively homogeneous layers without biases, samples on few rays."""
    x = draw.numbers(2, 3) + 3
    X = np.concatenate([x, x / 2, 3 * x, x / 1024])
    draw.input(3).linear(4, False).act(draw.pick("relu", "leaky_relu(1/4)", "abs", "square"))
    draw.linear(9, False).act(draw.pick("relu", "square"))
    draw.expected = "symmetry"
    return X


def polynomials(draw):
    """Polynomial activations: fewer monomials than samples, or samples on a conic."""
    text, d = draw.pick("square", "identity", "z**2 - 3*z", "z**3 + z"), draw.pick(1, 2)
    draw.input(d).linear(draw.pick(2, 4), bool(draw.rng.integers(2))).act(text)
    draw.linear(14, bool(draw.rng.integers(2)))
    draw.expected = "polynomial"
    t = draw.rng.permutation(np.arange(1, 13))
    if d == 1:
        return t[:6, None] / 4.0
    return np.stack([t, t * t], axis=1) / 4.0 if text != "z**3 + z" else draw.numbers(12, d)


def merged(draw):
    """A fixed map before the first trained layer that makes two samples equal."""
    X = draw.rng.integers(0, 50, (4, 1, 4, 4)).astype(float)
    X[3] = X[1]
    kind = draw.pick("pool", "stride", "round", "frozen", "equal")
    draw.input(1, 4, 4)
    if kind == "pool":
        X[3, 0, 0, 0], X[3, 0, 1, 1] = X[3, 0, 0, 0] + 3, X[3, 0, 1, 1] - 3
        draw.add("adaptive_average_pool", {"size": (2, 2)})
    if kind == "stride":
        X[3, 0, 1, 1] += 1
        told = {"strides": (3, 3), "padding": ((0, 0),) * 2, "dilations": (1, 1), "groups": 1}
        draw.add("conv", told, {"weight": draw.numbers(4, 1, 1, 1)})
    if kind == "round":
        X[3] += 0.25
        draw.add("round", {"how": "floor"})
    draw.add("reshape", {"shape": (int(np.prod(draw.builder.shape(draw.place))),)})
    if kind == "frozen":
        X[1, 0, 0, 0], X[3, 0, 0, 0] = -1, -2
        draw.add("linear", {}, {"weight": np.eye(16)}).act("relu")
        draw.frozen = frozenset({"linear1.weight"})
    draw.linear(3, True).act("tanh").linear(6, True).act(draw.pick(*SMOOTH))
    draw.expected = "merged"
    return X


def narrow(draw):
    """A residual last block of small inner width after a narrow stem."""
    draw.input(draw.pick(1, 2)).linear(12, True)
    skip = draw.place
    draw.linear(draw.pick(1, 2), True).act(draw.pick("tanh", "relu", "softplus"))
    draw.linear(12, True).add("add", reads=(skip, draw.place))
    draw.expected = "width"
    return draw.numbers(9, draw.builder.shape(0)[0])


def theorem(draw):
    """Every item of the checklist, at the smallest width."""
    text, n, d = draw.pick(*SMOOTH, "relu"), draw.pick(2, 3, 4, 5), draw.pick(1, 3)
    draw.input(d)
    if draw.rng.integers(2):
        draw.linear(draw.pick(1, 4), True).act(text)
    if draw.rng.integers(2):
        draw.linear(3, False)
        skip = draw.place
        draw.linear(2, True).act(text).linear(3, True).add("add", reads=(skip, draw.place))
    width = n - 1 if draw.ones else n
    if draw.rng.integers(2):
        draw.linear(width, False).norm(True, 1).act(text)
    else:
        draw.linear(width, True).act(text)
    draw.expected = "theorem"
    return draw.rng.permutation(np.arange(1, 20))[: n * d].reshape(n, d) / 8.0


KINDS = (odd, even, rays, polynomials, merged, narrow, theorem)


def anything(draw):
    """A chain of random operations, biases and shapes; samples related in several ways."""
    draw.input(2, 3, 3)
    for _ in range(draw.pick(1, 2, 3, 4)):
        STEPS[int(draw.rng.integers(len(STEPS)))](draw)
    draw.add("reshape", {"shape": (int(np.prod(draw.builder.shape(draw.place))),)})
    if draw.rng.integers(2):
        draw.linear(draw.pick(2, 12), draw.rng.integers(3) == 0)
        draw.act(draw.pick("tanh", "relu", "square", "identity", "abs", "z**3"))
    x = draw.numbers(2, 2, 3, 3)
    parts = [x, -x, x[:1] / 2, np.zeros((1, 2, 3, 3)), x[:1] + 8.0 * (x[:1] == 0.5), -3 * x[:1]]
    kept = [part for part in parts if draw.rng.integers(3)] or parts
    roles = [f"{node}.{slot}" for node in ("conv1", "linear1", "batch_norm1", "layer_norm1")
             for slot in ("weight", "bias")]  # fmt: skip
    draw.held = [role for role in roles if draw.rng.integers(4) == 0]
    return np.concatenate(kept)


def _conv(draw):
    c = draw.builder.shape(draw.place)[0]
    told = {"strides": (draw.pick(1, 2),) * 2, "padding": ((draw.pick(0, 1),) * 2,) * 2,
            "dilations": (1, 1), "groups": 1}  # fmt: skip
    bias = {"bias": draw.numbers(3) * draw.pick(0, 1)} if draw.rng.integers(2) else {}
    draw.add("conv", told, {"weight": draw.numbers(3, c, 1, 1), **bias})


def _norm(draw):
    width = draw.builder.shape(draw.place)[0]
    tensors = {"mean": draw.numbers(width) * draw.pick(0, 1), "variance": np.ones(width)}
    tensors |= {"bias": draw.numbers(width) * draw.pick(0, 1)} if draw.rng.integers(2) else {}
    draw.add("batch_norm", {"epsilon": Fraction(1, 10), "training": False}, tensors)


def _layer_norm(draw):
    width = draw.builder.shape(draw.place)[-1]
    tensors = {"bias": draw.numbers(width) * draw.pick(0, 1)} if draw.rng.integers(2) else {}
    draw.add("layer_norm", {"axes": 1, "epsilon": Fraction(1, 10)}, tensors)


def _pool(draw):
    draw.add(draw.pick("adaptive_average_pool", "adaptive_max_pool"), {"size": (2, 2)})


def _window(draw):
    told = {"kernel": (2, 2), "strides": (2, 2), "padding": ((1, 0), (0, 1))}
    kind = draw.pick({"count_padding": True}, {"count_padding": False}, {"dilations": (1, 1)})
    draw.add("max_pool" if "dilations" in kind else "average_pool", told | kind)


def _skip(draw):
    before = draw.place
    draw.act(draw.pick("tanh", "relu", "abs", "square"))
    op = draw.pick("add", "sub", "mul", "concat")
    draw.add(op, {"axis": 0} if op == "concat" else {}, None, (before, draw.place))


STEPS = (
    _conv, _norm, _layer_norm, _pool, _window, _skip,
    lambda draw: draw.act(draw.pick("tanh", "relu", "square", "leaky_relu(1/4)", "hardtanh")),
    lambda draw: draw.add("affine", {"factor": Fraction(-1, 3),
                                     "offset": Fraction(draw.pick(0, 1))}),
    lambda draw: draw.add("round", {"how": draw.pick("floor", "nearest")}),
    lambda draw: draw.add("pad", {"amounts": ((0, 0), (1, 0), (0, 1)),
                                  "value": Fraction(draw.pick(0, 2))}),
    lambda draw: draw.add("transpose", {"order": (0, 2, 1)}),
    lambda draw: draw.add("softmax", {"axis": 0}),
)  # fmt: skip


def redrawn(graph, frozen, rng, scale):
    """Return the graph with other trained tensors."""
    kept = {role for role in graph.stored if role.endswith((".mean", ".variance"))} | set(frozen)
    stored = {
        role: values if role in kept else rng.integers(-64, 65, values.shape) / 64.0 * scale
        for role, values in graph.stored.items()
    }
    return replace(graph, stored=stored)


def z_rows(graph, place, inputs, ones):
    found = ball_features(graph, place, inputs, BITS).tolist()
    return [[*row, arb(1)] if ones else row for row in found]


def certain_rank(rows):
    """Return a proved lower bound of the rank, by elimination with pivots that are not zero."""
    rows, rank = [list(row) for row in rows], 0
    for column in range(len(rows[0])):
        pivots = [r for r in range(rank, len(rows)) if not rows[r][column].contains(0)]
        if not pivots:
            continue
        best = max(pivots, key=lambda r: float(abs(rows[r][column]).mid()))
        rows[rank], rows[best] = rows[best], rows[rank]
        for r in range(rank + 1, len(rows)):
            factor = rows[r][column] / rows[rank][column]
            rows[r] = [a - factor * b for a, b in zip(rows[r], rows[rank], strict=True)]
        rank += 1
        if rank == len(rows):
            break
    return rank


def vanishes(rows, samples, coefficients, widest):
    """Return whether sum c_i r_i may be zero, in balls of at most a radius."""
    sums = [
        sum((arb(c.numerator) / c.denominator * rows[i][k] for i, c in terms), arb(0))
        for terms in [list(zip(samples, map(Fraction, coefficients), strict=True))]
        for k in range(len(rows[0]))
    ]
    return all(each.contains(0) and float(each.rad()) < widest for each in sums if each.is_finite())


def check_bounds(draw, graph, place, inputs, rng):
    asked = (graph, place, inputs, draw.frozen, draw.ones)
    same = find_merged_samples(*asked)
    bounds = {
        "symmetry": rank_bound_by_symmetry(*asked),
        "polynomial": polynomial_dimension(*asked),
        "width": rank_bound_by_width(*asked),
    }
    n = inputs.count
    fails = {name for name, found in bounds.items() if found.enclosure().hi < n}
    fails |= {"merged"} if same.value is Truth.PROVED else set()
    relations = [found.witness.data for found in bounds.values()
                 if found.witness is not None and "coefficients" in found.witness.data]  # fmt: skip
    relations = [(r.get("samples", r.get("rows")), r["coefficients"]) for r in relations]
    if same.value is Truth.PROVED:
        relations.append(([same.witness.data["i"], same.witness.data["j"]], [1, -1]))
    # A ball around a number at which rounding jumps is wide after it.
    widest = np.inf if any(node.op == "round" for node in graph.nodes) else 1e-30
    least = min(found.enclosure().hi for found in bounds.values())
    for scale in (1, 1, 1, 4, 0.25):
        rows = z_rows(redrawn(graph, draw.frozen, rng, scale), place, inputs, draw.ones)
        rank = certain_rank(rows)
        assert rank <= least
        assert rank < n or not fails
        assert all(any(c) and vanishes(rows, r, c, widest) for r, c in relations)
    facts = theorem_d(graph, place, inputs, draw.frozen, draw.ones)
    assert not fails or any(fact.value is not Truth.PROVED for fact in facts.values())
    return fails


def check_theorem(draw, graph, place, inputs, rng):
    facts = theorem_d(graph, place, inputs, draw.frozen, draw.ones)
    assert all(fact.value is Truth.PROVED for fact in facts.values())
    for k in range(400):
        scale = (1, 4, 0.5, 2)[k % 4]
        rows = z_rows(redrawn(graph, draw.frozen, rng, scale), place, inputs, draw.ones)
        if certain_rank(rows) == inputs.count:
            return {"theorem"}
    raise AssertionError("no draw of the weights has full rank")


@pytest.mark.soundness
def test_campaign_of_planted_structure():
    started, before = time.process_time(), ctx.prec
    rng, found = np.random.default_rng(SEED), 0
    ctx.prec = BITS
    try:
        for case in range(COUNT):
            draw = Draw(rng)
            X = KINDS[case % len(KINDS)](draw)
            graph, place = draw.build()
            # Hinges of random relus seldom fall between samples that are close together.
            divisor = 1 if draw.expected == "theorem" else draw.pick(1, 3, 255)
            inputs = Inputs.of(X, graph.sample_shape, divisor)
            check = check_theorem if draw.expected == "theorem" else check_bounds
            planted = draw.expected in check(draw, graph, place, inputs, rng)
            assert planted, (case, draw.expected)
            found += planted
    finally:
        ctx.prec = before
    took = time.process_time() - started
    print(f"campaign structure: {COUNT} cases, seed {SEED}, {took:.1f} s, 0 wrong; "
          f"{found} planted structures found")  # fmt: skip


@pytest.mark.soundness
def test_campaign_of_any_networks():
    count, found, started, before = 2 * COUNT, 0, time.process_time(), ctx.prec
    rng = np.random.default_rng(SEED + 1)
    ctx.prec = BITS
    try:
        for _ in range(count):
            draw = Draw(rng)
            X = anything(draw)
            graph, place = draw.build()
            draw.frozen = frozenset(draw.held) & frozenset(graph.stored)
            found += bool(check_bounds(draw, graph, place, Inputs.of(X, graph.sample_shape), rng))
    finally:
        ctx.prec = before
    took = time.process_time() - started
    print(f"campaign any networks: {count} cases, seed {SEED + 1}, {took:.1f} s, 0 wrong; "
          f"{found} fail")  # fmt: skip
