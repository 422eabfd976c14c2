"""Elementwise operators of ONNX: activations, sums, products, casts, and the choice in softplus.

A single number that is written in the code of the network makes an affine step with the decimal
that it prints as; a tensor, and a parameter of one entry, makes a constant that is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import reduce

import numpy as np

from verify.errors import InputError
from verify.network.operations import Shape
from verify.readers.graph_patterns import Draft
from verify.readers.onnx_norms import joined, layer_norm
from verify.readers.onnx_tensors import FLOATS
from verify.readers.onnx_values import Above, Call, Flow, Known, Root, Value

Rule = Callable[[Draft, Call], Flow | Above | Root]
_PLAIN = {
    "Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Erf": "erf", "Atan": "atan",
    "Sin": "sin", "Abs": "abs", "Softsign": "softsign", "Mish": "mish", "Softplus": "softplus(1)",
    "Exp": "exp(z)", "Cos": "cos(z)", "Sinh": "sinh(z)", "Cosh": "cosh(z)",
    "HardSwish": "z*Min(Max(z/6 + 1/2, 0), 1)",
}  # fmt: skip
_ROUNDINGS = {"Floor": "floor", "Ceil": "ceil", "Round": "nearest"}
_WIDE_INTEGERS = (6, 7)
# ONNX states the constants of Selu in float32.
_SELU = ("1.6732632", "1.050701")
_BOUNDED_BY: dict[tuple[object, object], str] = {
    (-1, 1): "hardtanh",
    (0, 6): "relu6",
    (0, None): "relu",
}


def _activation(draft: Draft, call: Call, text: str) -> Flow:
    return Flow(draft.activation(call.flow(0).node, text))


def _plain(draft: Draft, call: Call) -> Flow:
    return _activation(draft, call, _PLAIN[call.op])


def _leaky_relu(draft: Draft, call: Call) -> Flow:
    return _activation(draft, call, f"leaky_relu({call.fraction('alpha', '0.01')})")


def _elu(draft: Draft, call: Call) -> Flow:
    return _activation(draft, call, f"elu({call.fraction('alpha', '1')})")


def _celu(draft: Draft, call: Call) -> Flow:
    alpha = call.fraction("alpha", "1")
    if alpha <= 0:
        raise InputError(f"expected a positive alpha, but got {alpha}")
    text = f"Piecewise((({alpha})*(exp(z/({alpha})) - 1), z < 0), (z, True))"
    return _activation(draft, call, text)


def _selu(draft: Draft, call: Call) -> Flow:
    alpha, gamma = (call.fraction(n, d) for n, d in zip(("alpha", "gamma"), _SELU, strict=True))
    text = f"Piecewise((({alpha * gamma})*(exp(z) - 1), z < 0), (({gamma})*z, True))"
    return _activation(draft, call, text)


def _hard_sigmoid(draft: Draft, call: Call) -> Flow:
    alpha, beta = call.fraction("alpha", "0.2"), call.fraction("beta", "0.5")
    return _activation(draft, call, f"Min(Max(({alpha})*z + ({beta}), 0), 1)")


def _gelu(draft: Draft, call: Call) -> Flow:
    form = call.text("approximate", "none")
    if form not in ("none", "tanh"):
        raise InputError(f"expected approximate as none or tanh, but got {form[:40]!a}")
    return _activation(draft, call, "gelu" if form == "none" else "gelu_tanh")


def _bounded(draft: Draft, call: Call, low: Fraction | None, high: Fraction | None) -> Flow:
    """Return min(max(x, low), high); a bound that is None is none."""
    if low is None and high is None:
        return call.flow(0)
    if low is not None and high is not None and low > high:
        raise InputError(f"expected a lower bound below the upper one, but got {low} and {high}")
    inner = "z" if low is None else f"Max(z, {low})"
    text = inner if high is None else f"Min({inner}, {high})"
    return _activation(draft, call, _BOUNDED_BY.get((low, high), text))


def _bound(known: Known | None, side: int) -> Fraction | None:
    """Return a bound, the upper one for side 1 and the lower one for side -1.

    The end of the range of its own type bounds nothing.
    """
    if known is None:
        return None
    if known.literal and known.is_float and known.values.size == 1:
        value = known.values.reshape(())[()]
        if side * value >= np.finfo(known.values.dtype).max:
            return None
    return known.number()


def _clip(draft: Draft, call: Call) -> Flow:
    if call.opset >= 11:
        known = [call.optional(1), call.optional(2)]
    else:
        ends = [call.take(name, np.float32, None) for name in ("min", "max")]
        known = [None if e is None else Known(np.asarray(e), "float32", "", True) for e in ends]
    return _bounded(draft, call, _bound(known[0], -1), _bound(known[1], 1))


def _max_min(draft: Draft, call: Call) -> Flow:
    values = call.all_values()
    if len(values) != 2:
        raise InputError(f"expected a value and a number, but got {len(values)} inputs")
    if isinstance(values[0], Known):
        call.inputs = values[::-1]
    bound = call.known(1)
    if not _is_number(bound, draft.shape(call.flow(0).node)):
        raise InputError(f"expected a single number as bound, but got shape {bound.shape}")
    end = bound.number()
    return _bounded(draft, call, *((end, None) if call.op == "Max" else (None, end)))


def _rounded(draft: Draft, call: Call) -> Flow:
    how = {"how": _ROUNDINGS[call.op]}
    return Flow(draft.add("round", (call.flow(0).node,), how))


def _cast(draft: Draft, call: Call) -> Flow:
    """Return a cast: between floating-point numbers nothing, to integers the part before the point.

    trunc(x) = floor(max(x, 0)) - floor(max(-x, 0)).
    """
    flow, to = call.flow(0), call.integer("to", 0)
    call.ignore("saturate")
    if to in FLOATS:
        return Flow(flow.node)
    if to not in _WIDE_INTEGERS:
        raise InputError(f"expected a cast to numbers of 16 to 64 bits, but got data type {to}")
    if flow.whole or draft.steps[flow.node].op == "round":
        return Flow(flow.node, whole=True)
    above, below = (
        draft.add("round", (draft.activation(node, "relu"),), {"how": "floor"})
        for node in (flow.node, draft.affine(flow.node, -1))
    )
    return Flow(draft.add("sub", (above, below)), whole=True)


def _cast_like(draft: Draft, call: Call) -> Flow:
    """Return the value itself: its type stays among the floating-point types."""
    flow, other = call.flow(0), call.value(1)
    if flow.whole or not (isinstance(other, Flow) and not other.whole):
        raise InputError("expected a cast between real numbers of the sample, but got another")
    return flow


def _is_number(known: Known, shape: Shape) -> bool:
    return known.literal and known.values.size == 1 and known.values.ndim <= len(shape) + 1


def stored_beside(
    known: Known, shape: Shape
) -> tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Return a stored tensor as it stands beside samples of a shape.

    Raises:
        InputError: it differs from sample to sample, or has more axes than they.
    """
    name, values = known.slot()
    if values.ndim == len(shape) + 1 and values.shape[0] == 1:
        values = values.reshape(values.shape[1:])
    if values.ndim > len(shape):
        raise InputError(
            f"expected a tensor of at most {len(shape)} axes, the same for every sample, "
            f"but got shape {known.shape}"
        )
    return name, values


def combine(draft: Draft, op: str, left: Value | None, right: Value | None, name: str) -> Flow:
    """Return ``add``, ``sub``, ``mul`` or ``div`` of two values, one of which is of the sample.

    Raises:
        InputError: numbers of axes that differ, or a division by zero.
    """
    flows = [value for value in (left, right) if isinstance(value, Flow)]
    if op == "div" and isinstance(left, Flow) and isinstance(right, Root):
        return layer_norm(draft, left, right)
    whole = all(flow.whole for flow in flows)
    if isinstance(left, Flow) and isinstance(right, Flow):
        axes = [len(draft.shape(flow.node)) for flow in flows]
        if axes[0] != axes[1]:
            raise InputError(f"expected samples with equally many axes, but got {axes}")
        return Flow(draft.add(op, (left.node, right.node)), whole)
    flow, known = (left, right) if isinstance(left, Flow) else (right, left)
    if not isinstance(flow, Flow) or not isinstance(known, Known):
        raise InputError("expected numbers, but got a comparison")
    if _is_number(known, draft.shape(flow.node)):
        return Flow(_with_number(draft, op, flow.node, known.number(), flow is left, name), whole)
    norm = joined(draft, op, flow, known) if flow.norm else None
    if norm is not None:
        return norm
    constant = draft.constant(*stored_beside(known, draft.shape(flow.node)))
    pair = (flow.node, constant) if flow is left else (constant, flow.node)
    return Flow(draft.add(op, pair), whole)


def _with_number(draft: Draft, op: str, node: int, number: Fraction, first: bool, name: str) -> int:
    """Return x + c, x - c, c - x, x c, x / c or c / x; ``first`` says that x stands first."""
    if op == "add":
        return draft.affine(node, 1, number)
    if op == "sub":
        return draft.affine(node, 1, -number) if first else draft.affine(node, -1, number)
    if op == "mul":
        return draft.affine(node, number)
    if first:
        if number == 0:
            raise InputError("expected a division by a number other than zero, but got zero")
        return draft.affine(node, 1 / number)
    one = draft.constant(f"{name}: one", np.ones(()))
    return draft.affine(draft.add("div", (one, node)), number)


def _binary(op: str) -> Rule:
    def rule(draft: Draft, call: Call) -> Flow:
        if len(call.inputs) != 2:
            raise InputError(f"expected two inputs, but got {len(call.inputs)}")
        return combine(draft, op, call.value(0), call.value(1), call.name)

    return rule


def _sum(draft: Draft, call: Call) -> Flow:
    def add(left: Value | None, right: Value | None) -> Value:
        if isinstance(left, Known) and isinstance(right, Known):
            raise InputError("expected a sum with one stored tensor, but got several")
        return combine(draft, "add", left, right, call.name)

    found = reduce(add, call.all_values())
    if not isinstance(found, Flow):
        raise InputError("expected a sum of values of the sample, but got another")
    return found


def _negated(draft: Draft, call: Call) -> Flow:
    flow = call.flow(0)
    return Flow(draft.affine(flow.node, -1), flow.whole)


def _power(draft: Draft, call: Call) -> Flow:
    flow, exponent = call.flow(0), call.known(1)
    k = exponent.number() if _is_number(exponent, draft.shape(flow.node)) else None
    return Flow(draft.power(flow.node, k))


def _prelu(draft: Draft, call: Call) -> Flow:
    """Return max(x, 0) + slope min(x, 0)."""
    node = call.flow(0).node
    below = draft.activation(node, "Min(z, 0)")
    slope = draft.constant(*stored_beside(call.known(1), draft.shape(node)))
    scaled = draft.add("mul", (below, slope))
    if draft.shape(scaled) != draft.shape(node):
        raise InputError("expected slopes that fit the channels, but got a larger tensor")
    return Flow(draft.add("add", (draft.activation(node, "relu"), scaled)))


def _greater(draft: Draft, call: Call) -> Above:
    node, bound = call.flow(0).node, call.known(1)
    if bound.values.size != 1:
        raise InputError(f"expected a comparison with one number, but got shape {bound.shape}")
    return Above(draft.add("greater", (node,), {"threshold": bound.number()}))


def _root(draft: Draft, call: Call) -> Root:
    return Root(call.flow(0).node)


def _where(draft: Draft, call: Call) -> Flow:
    test = call.value(0)
    if not isinstance(test, Above):
        raise InputError("expected a choice inside softplus, but got another")
    nodes = (test.node, call.flow(1).node, call.flow(2).node)
    if len({draft.shape(node) for node in nodes}) != 1:
        raise InputError("expected a choice entry by entry, but got different shapes")
    return Flow(draft.add("where", nodes))


def _same(draft: Draft, call: Call) -> Flow:
    return call.flow(0)


RULES: dict[str, Rule] = {
    **dict.fromkeys(_PLAIN, _plain), **dict.fromkeys(_ROUNDINGS, _rounded),
    "LeakyRelu": _leaky_relu, "Elu": _elu, "Celu": _celu, "Selu": _selu, "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid, "Clip": _clip, "Max": _max_min, "Min": _max_min,
    "PRelu": _prelu, "Pow": _power, "Cast": _cast, "CastLike": _cast_like, "Identity": _same,
    "Neg": _negated,
    "Add": _binary("add"), "Sub": _binary("sub"), "Mul": _binary("mul"), "Div": _binary("div"),
    "Sum": _sum, "Greater": _greater, "Where": _where, "Sqrt": _root,
}  # fmt: skip
