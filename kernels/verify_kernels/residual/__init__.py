"""The residual f(theta) - y of a network on data, and whether any parameters make it vanish."""

from verify_kernels.residual.enclose import Residual as Residual
from verify_kernels.residual.enclose import enclose_residual as enclose_residual
