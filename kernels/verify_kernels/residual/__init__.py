"""The residual f(theta) - y of a network on data, and whether any parameters make it vanish."""

from verify_kernels.residual.consistency import consistency as consistency
from verify_kernels.residual.consistency import replay_consistency as replay_consistency
from verify_kernels.residual.enclose import Residual as Residual
from verify_kernels.residual.enclose import enclose_residual as enclose_residual
from verify_kernels.residual.gradient import gradient_norm as gradient_norm
from verify_kernels.residual.newton import newton_step as newton_step
