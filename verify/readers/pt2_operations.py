"""What the operators of exported programs stand for: layers, activations, arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify.readers.graph_patterns import SWITCH
from verify.readers.pt2_layers import (
    activation,
    along,
    batch_norm,
    clipped,
    convolution,
    linear,
    pool,
    product,
    quotient,
    tensors,
    weighted_sum,
)
from verify.readers.pt2_signatures import OPERATORS, REQUIRED, Handler, operator

if TYPE_CHECKING:
    from verify.readers.pt2_arguments import Arguments, Unread


def _named(text: str) -> Handler:
    return lambda a: activation(a, text)


for _name in ("relu", "silu", "mish", "tanh", "sigmoid", "sin", "atan", "erf", "abs", "relu6",
              "square"):  # fmt: skip
    OPERATORS[f"{_name}.default"] = (_named(_name), {"self": REQUIRED})


@operator("gelu.default", self=REQUIRED, approximate="none")
def _gelu(a: Arguments) -> int:
    form = a.text("approximate")
    a.require(form in ("none", "tanh"), "approximate as none or tanh", form)
    return activation(a, "gelu_tanh" if form == "tanh" else "gelu")


@operator("softplus.default", self=REQUIRED, beta=1, threshold=20)
def _softplus(a: Arguments) -> int:
    threshold = a.number("threshold")
    a.require(threshold >= SWITCH, f"a threshold of softplus of at least {SWITCH}", threshold)
    return activation(a, f"softplus({a.number('beta')})")


@operator("elu.default", self=REQUIRED, alpha=1, scale=1, input_scale=1)
def _elu(a: Arguments) -> int:
    scales = (a.number("scale"), a.number("input_scale"))
    a.require(set(scales) == {1}, "elu without scales", scales)
    return activation(a, f"elu({a.number('alpha')})")


@operator("leaky_relu.default", self=REQUIRED, negative_slope=0.01)
def _leaky_relu(a: Arguments) -> int:
    return activation(a, f"leaky_relu({a.number('negative_slope')})")


@operator("hardtanh.default", self=REQUIRED, min_val=-1, max_val=1)
def _hardtanh(a: Arguments) -> int:
    return clipped(a, a.number("min_val"), a.number("max_val"))


@operator("clamp.default", self=REQUIRED, min=None, max=None)
def _clamp(a: Arguments) -> int:
    lower, upper = (None if a.missing(name) else a.number(name) for name in ("min", "max"))
    return clipped(a, lower, upper)


@operator("clamp_min.default", self=REQUIRED, min=REQUIRED)
def _clamp_min(a: Arguments) -> int:
    return clipped(a, a.number("min"), None)


@operator("pow.Tensor_Scalar", self=REQUIRED, exponent=REQUIRED)
def _pow(a: Arguments) -> int:
    return a.draft.power(a.tensor("self"), a.number("exponent"))


@operator("exp.default", self=REQUIRED)
def _exp(a: Arguments) -> int:
    return a.draft.add("exp", (a.tensor("self"),))


@operator("log1p.default", self=REQUIRED)
def _log1p(a: Arguments) -> int:
    return a.draft.add("log1p", (a.tensor("self"),))


@operator("gt.Scalar", self=REQUIRED, other=REQUIRED)
def _greater(a: Arguments) -> int:
    return a.draft.add("greater", (a.tensor("self"),), {"threshold": a.number("other")})


@operator("where.self", condition=REQUIRED, self=REQUIRED, other=REQUIRED)
def _where(a: Arguments) -> int:
    inputs = [a.tensor(name) for name in ("condition", "self", "other")]
    shapes = {a.draft.shape(k) for k in inputs}
    a.require(len(shapes) == 1, "where with equal shapes", shapes)
    return a.draft.add("where", inputs)


@operator("linear.default", input=REQUIRED, weight=REQUIRED, bias=None)
def _linear(a: Arguments) -> int:
    return linear(a, a.tensor("input"), a.stored("weight"), a.optional("bias"))


@operator("addmm.default", self=REQUIRED, mat1=REQUIRED, mat2=REQUIRED, beta=1, alpha=1)
def _addmm(a: Arguments) -> int:
    scales = (a.number("beta"), a.number("alpha"))
    a.require(set(scales) == {1}, "addmm without factors", scales)
    return linear(a, a.tensor("mat1"), a.transposed("mat2"), a.stored("self"))


@operator("mm.default", self=REQUIRED, mat2=REQUIRED)
def _mm(a: Arguments) -> int:
    return linear(a, a.tensor("self"), a.transposed("mat2"), None)


@operator("matmul.default", self=REQUIRED, other=REQUIRED)
def _matmul(a: Arguments) -> int:
    return linear(a, a.tensor("self"), a.transposed("other"), None)


@operator("conv1d.default", input=REQUIRED, weight=REQUIRED, bias=None, stride=(1,),
           padding=(0,), dilation=(1,), groups=1)  # fmt: skip
def _conv1d(a: Arguments) -> int:
    return convolution(a, 1, a.integers("padding"))


@operator("conv2d.default", input=REQUIRED, weight=REQUIRED, bias=None, stride=(1, 1),
           padding=(0, 0), dilation=(1, 1), groups=1)  # fmt: skip
def _conv2d(a: Arguments) -> int:
    return convolution(a, 2, a.integers("padding"))


@operator("conv1d.padding", input=REQUIRED, weight=REQUIRED, bias=None, stride=(1,),
           padding="valid", dilation=(1,), groups=1)  # fmt: skip
def _conv1d_named(a: Arguments) -> int:
    return convolution(a, 1, a.text("padding"))


@operator("conv2d.padding", input=REQUIRED, weight=REQUIRED, bias=None, stride=(1, 1),
           padding="valid", dilation=(1, 1), groups=1)  # fmt: skip
def _conv2d_named(a: Arguments) -> int:
    return convolution(a, 2, a.text("padding"))


@operator("convolution.default", input=REQUIRED, weight=REQUIRED, bias=REQUIRED, stride=REQUIRED,
           padding=REQUIRED, dilation=REQUIRED, transposed=REQUIRED, output_padding=REQUIRED,
           groups=REQUIRED)  # fmt: skip
def _convolution(a: Arguments) -> int:
    more = (a.flag("transposed"), any(a.integers("output_padding")))
    a.require(more == (False, False), "a convolution that is not transposed", more)
    return convolution(a, len(a.draft.shape(a.tensor("input"))) - 1, a.integers("padding"))


_NORM = {"input": REQUIRED, "weight": REQUIRED, "bias": REQUIRED, "running_mean": REQUIRED,
         "running_var": REQUIRED, "momentum": REQUIRED, "eps": REQUIRED}  # fmt: skip


@operator("batch_norm.default", **_NORM, training=REQUIRED, cudnn_enabled=REQUIRED)
@operator("_native_batch_norm_legit_functional.default", "_native_batch_norm_legit.default",
           "native_batch_norm.default", **_NORM, training=REQUIRED)  # fmt: skip
def _batch_norm(a: Arguments) -> int:
    return batch_norm(a, training=a.flag("training"))


@operator("_native_batch_norm_legit_no_training.default", "_batch_norm_no_update.default", **_NORM)
def _batch_norm_evaluated(a: Arguments) -> int:
    return batch_norm(a, training=False)


@operator("_batch_norm_with_update.default", "_batch_norm_with_update_functional.default", **_NORM)
def _batch_norm_trained(a: Arguments) -> int:
    return batch_norm(a, training=True)


@operator("layer_norm.default", input=REQUIRED, normalized_shape=REQUIRED, weight=None, bias=None,
           eps=1e-5, cudnn_enable=True)  # fmt: skip
@operator("native_layer_norm.default", input=REQUIRED, normalized_shape=REQUIRED, weight=REQUIRED,
           bias=REQUIRED, eps=REQUIRED)  # fmt: skip
def _layer_norm(a: Arguments) -> int:
    x, wanted = a.tensor("input"), a.integers("normalized_shape")
    found = a.draft.shape(x)[-len(wanted) :] if wanted else ()
    a.require(found == wanted != (), f"last axes of sizes {wanted}", found)
    named = tensors(a, weight="weight", bias="bias")
    attributes = {"axes": len(wanted), "epsilon": a.number("eps")}
    return a.draft.add("layer_norm", (x,), attributes, named)


def _arithmetic(sign: int, *, swapped: bool) -> Handler:
    return lambda a: weighted_sum(a, sign, swapped=swapped)


for _name, _sign, _swapped in (("add", 1, False), ("sub", -1, False), ("rsub", -1, True)):
    for _kind in ("Tensor", "Scalar"):
        OPERATORS[f"{_name}.{_kind}"] = (
            _arithmetic(_sign, swapped=_swapped),
            {"self": REQUIRED, "other": REQUIRED, "alpha": 1},
        )


@operator("mul.Tensor", "mul.Scalar", self=REQUIRED, other=REQUIRED)
def _mul(a: Arguments) -> int | Unread:
    return product(a)


@operator("div.Tensor", "div.Scalar", self=REQUIRED, other=REQUIRED)
def _div(a: Arguments) -> int | Unread:
    return quotient(a)


@operator("neg.default", self=REQUIRED)
def _neg(a: Arguments) -> int:
    return a.draft.affine(a.tensor("self"), -1)


def _rounding(how: str) -> Handler:
    return lambda a: a.draft.add("round", (a.tensor("self"),), {"how": how})


for _name, _how in (("floor", "floor"), ("ceil", "ceil"), ("round", "nearest")):
    OPERATORS[f"{_name}.default"] = (_rounding(_how), {"self": REQUIRED})


@operator("dropout.default", "feature_dropout.default", input=REQUIRED, p=REQUIRED, train=REQUIRED)
@operator("native_dropout.default", input=REQUIRED, p=REQUIRED, train=REQUIRED)
def _dropout(a: Arguments) -> int:
    x, rate = a.tensor("input"), a.number("p")
    training = a.missing("train") or a.flag("train")
    return a.draft.add("dropout", (x,), {"rate": rate}) if training else x


@operator("softmax.int", self=REQUIRED, dim=REQUIRED, dtype=None)
@operator("_softmax.default", self=REQUIRED, dim=REQUIRED, half_to_float=REQUIRED)
def _softmax(a: Arguments) -> int:
    return along(a, "softmax")


@operator("log_softmax.int", self=REQUIRED, dim=REQUIRED, dtype=None)
@operator("_log_softmax.default", self=REQUIRED, dim=REQUIRED, half_to_float=REQUIRED)
def _log_softmax(a: Arguments) -> int:
    return along(a, "log_softmax")


_POOL = {"self": REQUIRED, "kernel_size": REQUIRED, "stride": (), "ceil_mode": False}


@operator("avg_pool1d.default", **_POOL, padding=(0,), count_include_pad=True)
def _average_pool1d(a: Arguments) -> int:
    return pool(a, "average_pool", 1)


@operator(
    "avg_pool2d.default", **_POOL, padding=(0, 0), count_include_pad=True, divisor_override=None
)
def _average_pool2d(a: Arguments) -> int:
    a.require(a.missing("divisor_override"), "a pool without a divisor of its own", "one")
    return pool(a, "average_pool", 2)


@operator("max_pool1d.default", **_POOL, padding=(0,), dilation=(1,))
def _max_pool1d(a: Arguments) -> int:
    return pool(a, "max_pool", 1)


@operator(
    "max_pool2d.default",
    "max_pool2d_with_indices.default",
    **_POOL,
    padding=(0, 0),
    dilation=(1, 1),
)
def _max_pool2d(a: Arguments) -> int:
    return pool(a, "max_pool", 2)


def _adaptive(op: str, rank: int) -> Handler:
    return lambda a: a.draft.add(
        op, (a.tensor("self"),), {"size": a.spread("output_size", rank)}
    )  # fmt: skip


for _target, _op, _rank in (
    ("adaptive_avg_pool1d", "adaptive_average_pool", 1),
    ("adaptive_avg_pool2d", "adaptive_average_pool", 2),
    ("_adaptive_avg_pool2d", "adaptive_average_pool", 2),
    ("adaptive_max_pool1d", "adaptive_max_pool", 1),
    ("adaptive_max_pool2d", "adaptive_max_pool", 2),
):
    OPERATORS[f"{_target}.default"] = (
        _adaptive(_op, _rank),
        {"self": REQUIRED, "output_size": REQUIRED},
    )
