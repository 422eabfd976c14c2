"""Shared by the tests of readers: a graph evaluated in plain double precision."""

import math

import numpy as np
import pytest

ERF = np.vectorize(math.erf, otypes=[float])


def sigma(activation, z):
    with np.errstate(over="ignore"):
        name, p = activation.name, [float(v) for v in activation.parameters]
        if name == "softplus":  # with the switch to the identity that torch executes
            return np.where(p[0] * z > 20, z, np.logaddexp(0, p[0] * z) / p[0])
        plain = {
            "relu": lambda: np.maximum(z, 0), "tanh": lambda: np.tanh(z), "abs": lambda: np.abs(z),
            "sigmoid": lambda: 1 / (1 + np.exp(-z)), "erf": lambda: ERF(z), "square": lambda: z * z,
            "gelu": lambda: z * (1 + ERF(z / math.sqrt(2))) / 2, "atan": lambda: np.arctan(z),
            "gelu_tanh": lambda: z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
            / 2,
            "silu": lambda: z / (1 + np.exp(-z)), "mish": lambda: z * np.tanh(np.logaddexp(0, z)),
            "leaky_relu": lambda: np.where(z > 0, z, p[0] * z), "sin": lambda: np.sin(z),
            "elu": lambda: np.where(z > 0, z, p[0] * np.expm1(np.minimum(z, 0))),
            "hardtanh": lambda: np.clip(z, -1, 1), "relu6": lambda: np.clip(z, 0, 6),
            "softsign": lambda: z / (1 + np.abs(z)),
        }  # fmt: skip
        return plain[name]() if name in plain else formula(activation, z)


def formula(activation, z):
    import sympy

    expression = activation.formula()
    (symbol,) = expression.free_symbols
    function = sympy.lambdify(symbol, expression, "math")
    return np.vectorize(function, otypes=[float])(z)


def patches(x, kernel, strides, padding, dilations, fill):
    """Windows of (n, c, *spatial) as (offsets, n, c, *out)."""
    x = np.pad(x, [(0, 0), (0, 0), *padding], constant_values=fill)
    out = [(s - (k - 1) * d - 1) // t + 1
           for s, k, t, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)]  # fmt: skip
    found = []
    for offset in np.ndindex(*kernel):
        places = zip(offset, dilations, out, strides, strict=True)
        cut = tuple(slice(o * d, o * d + (m - 1) * t + 1, t) for o, d, m, t in places)
        found.append(x[(slice(None), slice(None), *cut)])
    return np.array(found)


def conv(x, a, weight, bias=None):
    kernel = weight.shape[2:]
    windows = patches(x, kernel, a["strides"], a["padding"], a["dilations"], 0.0)
    per_in, per_out = x.shape[1] // a["groups"], weight.shape[0] // a["groups"]
    flat = weight.reshape(*weight.shape[:2], -1)
    parts = [
        np.einsum("kni...,oik->no...", windows[:, :, g * per_in : (g + 1) * per_in],
                  flat[g * per_out : (g + 1) * per_out])
        for g in range(a["groups"])
    ]  # fmt: skip
    y = np.concatenate(parts, axis=1)
    return y if bias is None else y + bias.reshape(-1, *(1,) * len(kernel))


def pooled(x, a, op):
    rank = len(a["kernel"])
    ones = (1,) * rank
    if op == "max_pool":
        return patches(
            x, a["kernel"], a["strides"], a["padding"], a["dilations"], -np.inf
        ).max(0)  # fmt: skip
    total = patches(x, a["kernel"], a["strides"], a["padding"], ones, 0.0).sum(0)
    inside = patches(
        np.ones_like(x), a["kernel"], a["strides"], a["padding"], ones, float(a["count_padding"])
    ).sum(0)
    return total / inside


def normalised(x, axes, epsilon):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + epsilon)


def value(node, reads, t, n):
    a = node.attributes
    channel = (-1, *(1,) * (reads[0].ndim - 2)) if reads else ()
    match node.op:
        case "constant":
            return np.broadcast_to(t["value"], (n, *t["value"].shape))
        case "linear":
            return reads[0] @ t["weight"].T + t.get("bias", 0.0)
        case "conv":
            return conv(reads[0], a, t["weight"], t.get("bias"))
        case "batch_norm":
            scale = t.get("weight", np.ones_like(t["mean"])) / np.sqrt(
                t["variance"] + float(a["epsilon"])
            )
            y = (reads[0] - t["mean"].reshape(channel)) * scale.reshape(channel)
            return y + t.get("bias", np.zeros_like(t["mean"])).reshape(channel)
        case "layer_norm":
            y = normalised(reads[0], tuple(range(-a["axes"], 0)), float(a["epsilon"]))
            return y * t.get("weight", 1.0) + t.get("bias", 0.0)
        case "average_pool" | "max_pool":
            return pooled(reads[0], a, node.op)
        case "adaptive_average_pool" | "adaptive_max_pool":
            assert set(a["size"]) == {1}
            axes = tuple(range(-len(a["size"]), 0))
            reduce = np.mean if "average" in node.op else np.max
            return reduce(reads[0], axis=axes, keepdims=True)
        case "mean":
            return reads[0].mean(tuple(k + 1 for k in a["axes"]))
        case "reshape":
            return reads[0].reshape(n, *a["shape"])
        case "transpose":
            return reads[0].transpose(0, *(k + 1 for k in a["order"]))
        case "pad":
            return np.pad(reads[0], [(0, 0), *a["amounts"]], constant_values=float(a["value"]))
        case "slice":
            cut = (slice(None),) * (a["axis"] + 1)
            return reads[0][(*cut, slice(a["start"], a["stop"], a["step"]))]
        case "concat":
            return np.concatenate(reads, axis=a["axis"] + 1)
        case "affine":
            return float(a["factor"]) * reads[0] + float(a["offset"])
        case "activation":
            return sigma(a["activation"], reads[0])
        case "round":
            how = {"floor": np.floor, "ceil": np.ceil, "nearest": np.rint}
            return how[a["how"]](reads[0])
        case "softmax" | "log_softmax":
            axis = a["axis"] + 1
            y = reads[0] - reads[0].max(axis, keepdims=True)
            y = y - np.log(np.exp(y).sum(axis, keepdims=True))
            return y if node.op == "log_softmax" else np.exp(y)
    binary = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
    return binary[node.op](*aligned(*reads))


def aligned(a, b):
    """Broadcast samples to samples: missing axes come after the batch."""
    rank = max(a.ndim, b.ndim)
    return tuple(v.reshape(v.shape[0], *(1,) * (rank - v.ndim), *v.shape[1:]) for v in (a, b))


def evaluate(graph, x):
    values = []
    for node in graph.nodes:
        reads = [values[k] for k in node.inputs]
        tensors = {slot: graph.stored[role] for slot, role in node.parameters.items()}
        values.append(x if node.op == "input" else value(node, reads, tensors, len(x)))
        assert values[-1].shape[1:] == node.shape
    return values[-1]


@pytest.fixture(name="evaluate")
def evaluation():
    """The function from a graph and samples to outputs."""
    return evaluate
