"""Witnesses about the rank of features: what each is, its check, its numbers.

Samples, rows and columns are counted from 0, as in the arrays that hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from verify_reports._risk_witness import Data, Kind
from verify_reports._shown import MOST_ROWS

_CANCEL = "Multiply the rows of Z that belong to these samples by the factors and add them up"


def relation(labels: str, factors: str = "coefficients") -> Callable[[Data], Data]:
    """Return what picks the rows of a relation between samples that are shown."""

    def derived(data: Data) -> Data:
        found = data[factors]
        samples = list(range(len(found))) if labels == "" else data[labels]
        pairs = [pair for pair in zip(samples, found, strict=True) if pair[1] != 0]
        kept = pairs[:MOST_ROWS]
        return {
            "at": [int(place) for place, _ in kept],
            "times": [Fraction(factor) for _, factor in kept],
            "hidden": len(pairs) - len(kept),
        }

    return derived


_FACTORS = (("factor", "times", "at"),)
KINDS = {
    "merged-samples": Kind(
        "samples {i:number} and {j:number}, which no weights tell apart",
        "Compare the two samples in what the network reads of {after:text}: all numbers are the "
        "same, so their features, outputs and derivatives are equal for every choice of the "
        "weights.",
    ),
    "sample-relation": Kind(
        "samples that cancel for every choice of the weights",
        "Multiply the features (or the outputs and their derivatives) at these samples by the "
        "factors and add them up: by the symmetry of the network the sum is 0 for every choice of "
        "the weights.",
        table=_FACTORS,
        corner="sample",
        derived=relation("samples"),
    ),
    "polynomial-relation": Kind(
        "rows of Z that cancel for every choice of the weights",
        f"{_CANCEL}: every monomial of a degree among {{degrees:vector}} in the entries of the "
        "samples adds up to 0, and the features combine such monomials.",
        table=_FACTORS,
        corner="sample",
        derived=relation("rows"),
    ),
    "monomial-count": Kind(
        "a count of {monomials:number} monomials",
        "The features combine the monomials of degrees {degrees:vector} in {variables:number} "
        "variables, and there are {monomials:number} of them.",
    ),
    "column-count": Kind(
        "the values that all features are combined from",
        "Each feature adds up entries of these with factors that no sample changes; with the "
        "constant, if there is one, they are too few.",
        table=(("entries", "counts", "nodes"),),
        corner="value",
        derived=lambda data: {"counts": [Fraction(size) for size in data["sizes"]]},
    ),
    "left-kernel-vector": Kind(
        "a vector y ≠ 0 of whole numbers with yᵀ Z = 0 at the stored weights",
        "Multiply the rows of the exact Z by its entries and add them up: every column gives 0.",
        table=_FACTORS,
        corner="sample",
        derived=relation("", "vector"),
    ),
    "dependent-columns": Kind(
        "columns of Z that are zero or constant on all samples",
        "Evaluate the stored network: these units do not change with the sample.",
        ("Zero: units {zero:places}.", "Constant: units {constant:places}."),
    ),
}
