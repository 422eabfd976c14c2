"""Witnesses against zero loss, and of singular tangent kernels: what each is and its check.

J is the Jacobian of all outputs at all samples by the trained weights, a row for each sample and
output. Samples, outputs and rows are counted from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from verify_reports._rank_witness import relation
from verify_reports._risk_witness import Data, Kind
from verify_reports._shown import MOST_ROWS

_REASONS = {
    "equal samples": "Compare the samples in all that trained weights read: they are equal, so no "
    "choice of the trained weights gives them different outputs, and their targets differ.",
    "fixed output": "Compute this output at this sample: training does not change it, and it is "
    "not the target.",
    "zero output": "At this sample the output is 0 for every choice of the trained weights, and "
    "the target is not.",
    "law": "The outputs at these samples are tied together for every choice of the trained "
    "weights, as is said above, and the targets are not tied in that way.",
}


def _targets(data: Data) -> Mapping[str, object]:
    """Return the reason in words and the first few samples with their targets."""
    samples, targets = data["samples"], data["targets"]
    return {
        "reason_words": _REASONS[str(data["reason"])],
        "at": [int(sample) for sample in samples[:MOST_ROWS]],
        "wanted": [Fraction(target) for target in targets[:MOST_ROWS]],
        "hidden": max(0, len(samples) - MOST_ROWS),
    }


KINDS = {
    "unreachable-targets": Kind(
        "targets that no choice of the trained weights reaches",
        "{reason_words} This is about output {output:number}.",
        table=(("target", "wanted", "at"),),
        corner="sample",
        derived=_targets,
    ),
    "weight-decay": Kind(
        "a target that is not 0, with weight decay {decay:number}",
        "Where training with this weight decay comes to rest with zero loss, its gradient is that "
        "of the penalty alone, so the last layer is 0 and so are all outputs. The target of sample "
        "{sample:number} at output {output:number} is {target:number}.",
    ),
    "few-parameters": Kind(
        "{parameters:number} trained parameters for {rows:number} outputs",
        "J has a row for each sample and output and a column for each trained parameter: there are "
        "more rows than columns, so K = J Jᵀ is singular.",
    ),
    "few-columns": Kind(
        "{columns:number} columns of J that are not zero, for {rows:number} rows",
        "Differentiate the outputs by the trained weights: all other columns are 0 at the stored "
        "weights, so K = J Jᵀ is singular.",
    ),
    "few-features": Kind(
        "{width:number} features that {outputs:number} outputs at {samples:number} samples read",
        "Some combination of the outputs reads no feature, and some combination of the samples "
        "cancels what the last layer's own weights add: together they cancel the rows of J, so "
        "K = J Jᵀ is singular.",
    ),
    "zero-row": Kind(
        "the row of J of sample {sample:number} and output {output:number}, which is 0",
        "Differentiate this output at this sample by the trained weights: every derivative is 0 at "
        "the stored weights, so K = J Jᵀ is singular.",
    ),
    "kernel-vector": Kind(
        "a vector v ≠ 0 of whole numbers with K v = 0",
        "Multiply the exact K = J Jᵀ by v: every entry of the product is 0. The row of sample i "
        "and output o is i times the number of outputs, plus o.",
        table=(("v", "times", "at"),),
        corner="row",
        derived=relation("", "vector"),
    ),
}
