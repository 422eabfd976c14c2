"""Activations analysed from their formula alone: smoothness, limits, growth and suprema."""

from verify_kernels.activation_analysis.analysis import (
    analyse,
    analyse_expression,
    enclose_fourth_derivative,
)
from verify_kernels.activation_analysis.facts import ActivationFacts, Bound, Kink, Range
from verify_kernels.activation_analysis.jet import jet

__all__ = [
    "ActivationFacts",
    "Bound",
    "Kink",
    "Range",
    "analyse",
    "analyse_expression",
    "enclose_fourth_derivative",
    "jet",
]
