"""The tangent kernel of a network on data, and whether targets lie in the Jacobian's range."""

from verify_kernels.tangent_kernel.aligned_targets import alignment as alignment
from verify_kernels.tangent_kernel.ball_spectrum import (
    ball_tangent_spectrum as ball_tangent_spectrum,
)
from verify_kernels.tangent_kernel.exact import rational_gram as rational_gram
from verify_kernels.tangent_kernel.gram import TangentGram as TangentGram
from verify_kernels.tangent_kernel.gram import enclose_tangent_gram as enclose_tangent_gram
from verify_kernels.tangent_kernel.singularity import tangent_singularity as tangent_singularity
from verify_kernels.tangent_kernel.spectrum import TangentSpectrum as TangentSpectrum
from verify_kernels.tangent_kernel.spectrum import (
    enclose_tangent_spectrum as enclose_tangent_spectrum,
)
from verify_kernels.tangent_kernel.wide_balls import ball_gram as ball_gram
