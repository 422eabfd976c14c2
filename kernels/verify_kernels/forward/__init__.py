"""The features of a network on data, enclosed in binary64."""

from verify_kernels.forward.features import Features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.forward.walk import Pass, enclose_features

__all__ = ["Features", "Inputs", "Pass", "enclose_features"]
