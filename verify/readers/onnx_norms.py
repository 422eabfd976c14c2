"""Layer normalisation as exporters before operator set 17 spell it out.

(x - m)/sqrt(v + epsilon) with m the mean over the last axes and v the mean of (x - m)^2, then the
product with a stored factor and the sum with a stored offset.
"""

from __future__ import annotations

from fractions import Fraction

from verify.errors import InputError
from verify.readers.graph_patterns import Draft
from verify.readers.onnx_values import Flow, Known, Root


def layer_norm(draft: Draft, deviation: Flow, root: Root) -> Flow:
    """Return the quotient of a deviation and a root as layer normalisation.

    Raises:
        InputError: they are something else.
    """
    shifted = draft.steps[root.node]
    found = None
    if shifted.op == "affine" and shifted.attributes["factor"] == 1:
        variance = _mean_over_last(draft, shifted.inputs[0])
        difference = draft.steps[deviation.node]
        if variance is not None and difference.op == "sub":
            squared, axes = variance
            x, mean = difference.inputs
            fits = _mean_over_last(draft, mean) == (x, axes)
            found = x if fits and _is_square(draft, squared, deviation.node) else None
    if found is None:
        raise InputError("expected a square root inside a layer norm, but got another")
    attributes = {"axes": axes, "epsilon": not_negative(shifted.attributes["offset"])}
    return Flow(draft.add("layer_norm", (found,), attributes), norm=True)


def not_negative(epsilon: Fraction) -> Fraction:
    """Return what a normalisation adds to a variance.

    Raises:
        InputError: it is negative.
    """
    if epsilon < 0:
        raise InputError(f"expected an epsilon of at least zero, but got {float(epsilon)!r}")
    return epsilon


def _mean_over_last(draft: Draft, node: int) -> tuple[int, int] | None:
    """Return (x, k) where a node is the mean of x over its last k axes, which stay."""
    kept = draft.steps[node]
    if kept.op != "reshape":
        return None
    mean = draft.steps[kept.inputs[0]]
    if mean.op != "mean":
        return None
    x, axes = mean.inputs[0], mean.attributes["axes"]
    shape, count = draft.shape(x), len(axes)
    last = tuple(axes) == tuple(range(len(shape) - count, len(shape)))
    stay = kept.shape == (*shape[: len(shape) - count], *(1,) * count)
    return (x, count) if last and stay else None


def _is_square(draft: Draft, node: int, of: int) -> bool:
    step = draft.steps[node]
    if step.op == "mul":
        return step.inputs == (of, of)
    return step.is_activation("square") and step.inputs == (of,)


def joined(draft: Draft, op: str, norm: Flow, known: Known) -> Flow | None:
    """Return a layer norm with a stored factor or offset as one operation, or None."""
    step = draft.steps[norm.node]
    slot = {"mul": "weight", "add": "bias"}.get(op)
    wanted = step.shape[len(step.shape) - step.attributes["axes"] :]
    if slot is None or slot in step.tensors or known.shape != wanted:
        return None
    if slot == "bias" and "weight" not in step.tensors:
        return None
    tensors = {**step.tensors, slot: known.slot()}
    return Flow(draft.add("layer_norm", step.inputs, step.attributes, tensors), norm=True)
