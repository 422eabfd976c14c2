"""Signatures of operators: arguments with their defaults, and the table of all that are read.

Exported programs omit arguments that have the default of the operator, so every default is
written down with the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verify.readers.pt2_arguments import Arguments, Unread

REQUIRED = "required"
"""Stands for the default of an argument that has none."""
IGNORED = frozenset(
    ("momentum", "cudnn_enabled", "cudnn_enable", "memory_format", "non_blocking", "copy",
     "device", "pin_memory", "layout", "half_to_float", "dtype", "implicit")
)  # fmt: skip
"""Arguments that do not change the real function; types are checked where a tensor is declared."""
ELEMENTWISE = frozenset(
    ("relu", "silu", "elu", "leaky_relu", "hardtanh", "relu6", "mish", "tanh", "sigmoid", "sin",
     "atan", "erf", "abs", "square", "neg", "add", "sub", "mul", "div", "floor", "ceil", "round",
     "dropout", "clamp", "clamp_min", "pow", "gelu")
)  # fmt: skip
"""Operators whose variant with an underscore writes the result over the first argument."""
FRESH = frozenset(
    ("linear", "addmm", "mm", "matmul", "conv1d", "conv2d", "convolution", "batch_norm",
     "_native_batch_norm_legit_no_training", "_native_batch_norm_legit_functional",
     "_native_batch_norm_legit", "native_batch_norm", "_batch_norm_with_update",
     "_batch_norm_with_update_functional", "_batch_norm_no_update", "layer_norm",
     "native_layer_norm", "cat", "clone", "mean", "softmax", "_softmax", "log_softmax",
     "_log_softmax", "rsub", "max_pool1d", "max_pool2d", "max_pool2d_with_indices",
     "avg_pool1d", "avg_pool2d", "constant_pad_nd")
) | ELEMENTWISE - {"dropout"}  # fmt: skip
"""Operators whose result is never the memory of an argument."""

Handler = Callable[["Arguments"], "int | Unread"]
Signature = Mapping[str, Any]
OPERATORS: dict[str, tuple[Handler, Signature]] = {}


def operator(*targets: str, **signature: Any) -> Callable[[Handler], Handler]:
    """Register what stands for operators (``conv2d.default``) with these arguments."""

    def register(handler: Handler) -> Handler:
        for target in targets:
            OPERATORS[target] = (handler, signature)
        return handler

    return register
