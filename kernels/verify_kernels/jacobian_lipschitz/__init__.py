"""Lipschitz constants of the Jacobian and of the features of fully connected networks."""

from verify_kernels.jacobian_lipschitz.features import (
    lipschitz_of_features as lipschitz_of_features,
)
from verify_kernels.jacobian_lipschitz.jacobian import (
    lipschitz_of_jacobian as lipschitz_of_jacobian,
)
from verify_kernels.jacobian_lipschitz.patterns import pattern_lipschitz as pattern_lipschitz
from verify_kernels.jacobian_lipschitz.patterns import pattern_radius as pattern_radius
from verify_kernels.jacobian_lipschitz.recursion import mlp_recursion as mlp_recursion
from verify_kernels.jacobian_lipschitz.two_layer import two_layer_refined as two_layer_refined
from verify_kernels.jacobian_lipschitz.two_layer import two_layer_simple as two_layer_simple
