"""The implicit ReLU network z = relu(g A z + phi), phi = relu(W x)/sqrt(m), on data."""

from verify_kernels.implicit_relu.enclose import enclose_implicit as enclose_implicit
from verify_kernels.implicit_relu.limit_gram import InfiniteGram as InfiniteGram
from verify_kernels.implicit_relu.limit_gram import infinite_gram as infinite_gram
from verify_kernels.implicit_relu.state import ImplicitState as ImplicitState
