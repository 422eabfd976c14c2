"""Operators of ONNX in hand-made files, against ONNX's reference implementation."""

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from verify.errors import InputError
from verify.readers import onnx_file

# 2^-53 times some thousand roundings, with a factor for how operators amplify them.
BOUND = 2.0**-53 * 1000 * 200


def check_close(found, wanted, bound=BOUND):
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= bound * max(1.0, np.abs(wanted).max())


def read(tmp_path, content, name="m.onnx"):
    path = tmp_path / name
    path.write_bytes(content)
    return onnx_file.read(path)


def model(nodes, tensors, shape, *, opset=17, dtype=TensorProto.DOUBLE, batch="n"):
    """A file with input x, output y, and one tensor for each array."""
    initializers = [numpy_helper.from_array(np.asarray(v), name) for name, v in tensors.items()]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", dtype, [batch, *shape])],
        [helper.make_tensor_value_info("y", dtype, None)], initializers,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(op, inputs, output="y", **attributes):
    return helper.make_node(op, inputs, output if isinstance(output, list) else [output],
                            **attributes)  # fmt: skip


RNG = np.random.default_rng(5)
W34, W43, B3 = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=3)
K2 = RNG.normal(size=(4, 1, 3, 2))
K1 = RNG.normal(size=(4, 2, 3))
I = np.array  # noqa: E741

CASES = {
    "gemm": (node("Gemm", ["x", "w", "b"]), {"w": W43, "b": B3}, (4,), 13),
    "gemm scaled": (node("Gemm", ["x", "w", "b"], alpha=0.5, beta=2.0, transB=1),
                    {"w": W34, "b": B3[None]}, (4,), 11),
    "gemm scalar": (node("Gemm", ["x", "w", "b"]), {"w": W43, "b": I(0.5)}, (4,), 9),
    "matmul left": (node("MatMul", ["w", "x"]), {"w": W34}, (4, 5), 13),
    "matmul 3": (node("MatMul", ["x", "w"]), {"w": W43}, (2, 4), 9),
    "conv upper": (node("Conv", ["x", "k"], auto_pad="SAME_UPPER", group=2, strides=[2, 2]),
                   {"k": K2}, (2, 6, 5), 11),
    "conv lower": (node("Conv", ["x", "k"], auto_pad="SAME_LOWER", group=2), {"k": K2},
                   (2, 5, 6), 22),
    "conv valid": (node("Conv", ["x", "k"], auto_pad="VALID", dilations=[2]), {"k": K1},
                   (2, 9), 11),
    "conv uneven": (node("Conv", ["x", "k"], pads=[0, 2]), {"k": K1}, (2, 7), 11),
    "average": (node("AveragePool", ["x"], kernel_shape=[3, 2], pads=[1, 0, 0, 1]), {},
                (2, 5, 6), 19),
    "average counted": (node("AveragePool", ["x"], kernel_shape=[3, 3], pads=[1, 1, 1, 1],
                             count_include_pad=1, strides=[2, 2]), {}, (2, 5, 5), 11),
    "average ceil": (node("AveragePool", ["x"], kernel_shape=[2], strides=[2], ceil_mode=1), {},
                     (2, 6), 11),
    "max": (node("MaxPool", ["x"], kernel_shape=[2, 2], dilations=[2, 1], strides=[1, 2]), {},
            (2, 5, 6), 12),
    "global": (node("GlobalAveragePool", ["x"]), {}, (2, 5, 6), 9),
    "global max": (node("GlobalMaxPool", ["x"]), {}, (2, 5, 6), 9),
    "mean 13": (node("ReduceMean", ["x"], axes=[-1, 2], keepdims=0), {}, (2, 5, 6), 13),
    "mean 18": (node("ReduceMean", ["x", "a"]), {"a": I([1])}, (2, 5, 6), 18),
    "sum 13": (node("ReduceSum", ["x", "a"], keepdims=0), {"a": I([2])}, (2, 5), 13),
    "max over all": (node("ReduceMax", ["x"], axes=[2, 3], keepdims=0), {}, (2, 5, 6), 11),
    "flatten": (node("Flatten", ["x"]), {}, (2, 5, 6), 9),
    "reshape zero": (node("Reshape", ["x", "s"]), {"s": I([0, -1, 0])}, (4, 3), 13),
    "reshape open": (node("Reshape", ["x", "s"]), {"s": I([-1, 3, 2])}, (6,), 13),
    "squeeze 11": (node("Squeeze", ["x"], axes=[-1]), {}, (4, 1), 11),
    "squeeze 13": (node("Squeeze", ["x", "a"]), {"a": I([1])}, (1, 4), 13),
    "unsqueeze 11": (node("Unsqueeze", ["x"], axes=[1, 3]), {}, (4,), 11),
    "unsqueeze 13": (node("Unsqueeze", ["x", "a"]), {"a": I([-1])}, (4,), 13),
    "transpose": (node("Transpose", ["x"], perm=[0, 3, 1, 2]), {}, (2, 3, 4), 13),
    "slice 10": (node("Slice", ["x", "s", "e", "a", "t"]),
                 {"s": I([1, -3]), "e": I([2**62, -1]), "a": I([1, 2]), "t": I([2, 1])},
                 (5, 6), 13),
    "slice 9": (node("Slice", ["x"], starts=[0, 1], ends=[2**31 - 1, 3]), {}, (5,), 9),
    "pad 10": (node("Pad", ["x"], pads=[0, 1, 0, 2], value=0.5), {}, (3,), 10),
    "pad 18": (node("Pad", ["x", "p", "v", "a"]), {"p": I([1, 2]), "v": I(0.25), "a": I([-1])},
               (2, 3), 18),
    "split": ([node("Split", ["x", "s"], ["p", "q"], axis=1), node("Concat", ["q", "p"], axis=1)],
              {"s": I([1, 3])}, (4,), 13),
    "split even": ([node("Split", ["x"], ["p", "q"], axis=-1), node("Mul", ["q", "p"])],
                   {}, (4,), 11),
    "gather": (node("Gather", ["x", "i"], axis=1), {"i": I(-2)}, (4, 3), 13),
    "gather some": (node("Gather", ["x", "i"], axis=2), {"i": I([0, 2])}, (4, 3), 13),
    "clip 6": (node("Clip", ["x"], min=-0.5, max=0.25), {}, (4,), 9),
    "clip 11": (node("Clip", ["x", "", "h"]), {"h": I(0.5)}, (4,), 13),
    "max of two": (node("Max", ["z", "x"]), {"z": I(0.0)}, (4,), 13),
    "prelu": (node("PRelu", ["x", "s"]), {"s": RNG.normal(size=(3, 1))}, (3, 4), 16),
    "selu": (node("Selu", ["x"], alpha=1.5, gamma=1.25), {}, (4,), 8),
    "celu": (node("Celu", ["x"], alpha=0.5), {}, (4,), 12),
    "hard sigmoid": (node("HardSigmoid", ["x"], alpha=0.25, beta=0.375), {}, (4,), 13),
    "hard swish": (node("HardSwish", ["x"]), {}, (4,), 14),
    "power": (node("Pow", ["x", "k"]), {"k": I(3.0)}, (4,), 13),
    "sum": (node("Sum", ["x", "x", "b"]), {"b": B3}, (3,), 13),
    "from a number": (node("Sub", ["c", "x"]), {"c": I(0.5)}, (4,), 13),
    "a number over": (node("Div", ["c", "x"]), {"c": I(0.5)}, (4,), 13),
    "over a tensor": (node("Div", ["x", "c"]), {"c": B3[None] + 9}, (3,), 13),
    "per channel": (node("Add", ["x", "c"]), {"c": W34[None, :, :1]}, (3, 5), 13),
    "round": (node("Round", ["x"]), {}, (4,), 13),
    "cast": ([node("Cast", ["x"], "i", to=TensorProto.INT64),
              node("Cast", ["i"], to=TensorProto.DOUBLE)], {}, (4,), 13),
    "layer norm": (node("LayerNormalization", ["x", "s", "b"], axis=1, epsilon=0.0625),
                   {"s": W34, "b": W34 + 1}, (3, 4), 17),
    "batch norm": (node("BatchNormalization", ["x", "s", "b", "m", "v"], epsilon=0.125),
                   {"s": B3, "b": B3 + 1, "m": B3 / 2, "v": B3**2}, (3, 4), 15),
    "softmax 11": (node("Softmax", ["x"], axis=2), {}, (3, 4), 11),
    "softmax 13": (node("LogSoftmax", ["x"], axis=1), {}, (3, 4), 13),
    "dropout 10": (node("Dropout", ["x"], ratio=0.5), {}, (3,), 10),
    "dropout 12": (node("Dropout", ["x", "r"]), {"r": I(0.5)}, (3,), 13),
    "gelu": (node("Gelu", ["x"], approximate="tanh"), {}, (4,), 20),
    "swapped sides": ([node("Transpose", ["x"], "t", perm=[0, 2, 1]),
                       node("MatMul", ["t", "w"], "p"), node("Add", ["b", "p"])],
                      {"w": W43, "b": B3}, (4, 2), 13),
}  # fmt: skip


# The reference computes these two with constants in single precision, the graph with exact ones.
SINGLE = {"gelu": 2.0**-22, "hard swish": 2.0**-22}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", ["n", 3])
def test_operators_agree_with_the_reference(tmp_path, evaluate, name, batch):
    nodes, tensors, shape, opset = CASES[name]
    made = model(nodes if isinstance(nodes, list) else [nodes], tensors, shape, opset=opset,
                 batch=batch)  # fmt: skip
    graph = read(tmp_path, made.SerializeToString()).network
    x = 2 * np.random.default_rng(8).normal(size=(3, *shape))
    wanted = ReferenceEvaluator(made).run(None, {"x": x})[0]
    check_close(evaluate(graph, x), wanted, SINGLE.get(name, BOUND))


def test_old_and_new_forms_are_one_graph(tmp_path):
    """The reference has no plain evaluation form of batch normalisation before version 14."""
    made, tensors, shape, _ = CASES["batch norm"]
    graphs = [
        read(tmp_path, model([made], tensors, shape, opset=opset).SerializeToString()).network
        for opset in (8, 9, 15)
    ]
    assert len({graph.equation for graph in graphs}) == 1
    assert not any(graph.nodes[-1].attributes["training"] for graph in graphs)


def test_a_product_and_its_bias_are_one_layer(tmp_path):
    nodes, tensors, shape, opset = CASES["swapped sides"]
    graph = read(tmp_path, model(nodes, tensors, shape, opset=opset).SerializeToString()).network
    assert [node.op for node in graph.nodes] == ["input", "transpose", "linear"]
    assert np.array_equal(graph.stored["linear1.weight"], W43.T)


def test_a_target_computed_from_the_input_keeps_the_batch(tmp_path):
    nodes = [
        node("Shape", ["x"], "s"), node("Gather", ["s", "zero"], "n"),
        node("Unsqueeze", ["n", "at"], "head"), node("Concat", ["head", "rest"], "t", axis=0),
        node("Reshape", ["x", "t"]),
    ]  # fmt: skip
    tensors = {"zero": I(0), "at": I([0]), "rest": I([-1])}
    graph = read(tmp_path, model(nodes, tensors, (2, 3)).SerializeToString()).network
    assert graph.nodes[-1].shape == (6,)


def test_gelu_and_softplus_that_are_spelled_out(tmp_path):
    root = np.float32(math.sqrt(2))
    nodes = [
        node("Div", ["x", "root"], "a"), node("Erf", ["a"], "b"), node("Add", ["b", "one"], "c"),
        node("Mul", ["x", "c"], "d"), node("Mul", ["d", "half"], "e"),
        node("Mul", ["e", "beta"], "f"), node("Softplus", ["f"], "g"), node("Div", ["g", "beta"]),
    ]  # fmt: skip
    tensors = {"root": root, "one": np.float32(1), "half": np.float32(0.5), "beta": np.float32(7)}
    made = model(nodes, tensors, (3,), dtype=TensorProto.FLOAT)
    graph = read(tmp_path, made.SerializeToString()).network
    assert [str(node.attributes.get("activation", "")) for node in graph.nodes] == [
        "", "gelu", "softplus(7)"]  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(TensorProto.FLOAT, "float32"), (TensorProto.DOUBLE, "float64"),
     (TensorProto.FLOAT16, "float16"), (TensorProto.BFLOAT16, "bfloat16")],
)  # fmt: skip
@pytest.mark.parametrize("raw", [True, False])
def test_stored_numbers_are_exact_in_every_type(tmp_path, dtype, name, raw):
    numbers = [1.5, -0.25, 3.0, 2.0**-10, 0.0, -7.0]
    plain = onnx.TensorProto(data_type=dtype, dims=[3, 2], name="w")
    array = np.array(numbers, dtype=helper.tensor_dtype_to_np_dtype(dtype))
    if raw:
        plain.raw_data = array.tobytes()
    else:
        field = {1: "float_data", 11: "double_data"}.get(dtype, "int32_data")
        bits = array.view(np.uint16).tolist() if array.itemsize == 2 else array.tolist()
        getattr(plain, field).extend(bits)
    made = model([node("Gemm", ["x", "w"], transB=1)], {}, (2,), dtype=dtype)
    made.graph.initializer.append(plain)
    bag = read(tmp_path, made.SerializeToString())
    assert bag.listing() == (("w", (3, 2), name),)
    assert np.array_equal(bag.network.stored["linear1.weight"].ravel(), numbers)


WHOLE = node("Cast", ["x"], "i", to=TensorProto.INT64)
REFUSED = {
    # Division, means and products with a rest round whole numbers towards zero.
    **{
        op: ([WHOLE, made, node("Div", ["j", "two"], "k"), node("Cast", ["k"], to=11)], "whole")
        for op, made in {
            "Relu": node("Relu", ["i"], "j"), "Abs": node("Abs", ["i"], "j"),
            "Max": node("Max", ["i", "two"], "j"), "Pow": node("Pow", ["i", "two"], "j"),
            "Clip": node("Clip", ["i", "two"], "j"), "MatMul": node("MatMul", ["i", "eye"], "j"),
            "Mul": node("Mul", ["i", "two"], "j"),
            "ReduceMean": node("ReduceMean", ["i"], "j", axes=[1]),
        }.items()
    },
    "cast that wraps": ([node("Cast", ["large"], "i", to=2), node("Cast", ["i"], "j", to=11),
                         node("Add", ["x", "j"])], "type uint8, but got 300"),
    "sum that wraps": ([node("Add", ["byte", "byte"], "i"), node("Cast", ["i"], "j", to=11),
                        node("Add", ["x", "j"])], "type uint8, but got 400"),
    "infinite lower bound": ([node("Clip", ["x", "inf"])], "finite"),
    "infinite upper bound": ([node("Clip", ["x", "", "minus"])], "finite"),
    "flattening of the batch": ([node("Flatten", ["x"], axis=-2)], "batch axis"),
    "one name twice": ([node("Split", ["x"], ["y", "y"], axis=1)], "a new name"),
    "padding without end": ([node("Pad", ["x", "far"])], "entries of one sample"),
    "one axis twice": ([node("Pad", ["x", "pads", "", "axes"])], "different axes"),
}  # fmt: skip
BESIDE = {
    "two": I(2), "eye": np.eye(4, dtype=np.int64), "large": I(300), "byte": I(200, np.uint8),
    "inf": I(np.inf), "minus": I(-np.inf), "pads": I([1, 2, 3, 4]), "axes": I([1, -1]),
    "far": I([0, 0, 0, 2**27]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_read_as_another_function_is_refused(tmp_path, name):
    nodes, words = REFUSED[name]
    used = {source for each in nodes for source in each.input}
    tensors = {key: values for key, values in BESIDE.items() if key in used}
    opset = 18 if name == "one axis twice" else 17
    made = model(nodes, tensors, (4,), opset=opset)
    with pytest.raises(InputError, match=words):
        read(tmp_path, made.SerializeToString())


def test_a_truth_value_counts_as_one(tmp_path):
    nodes = [node("Cast", ["five"], "t", to=9), node("Cast", ["t"], "i", to=7),
             node("Cast", ["i"], "f", to=11), node("Add", ["x", "f"])]  # fmt: skip
    made = model(nodes, {"five": I(5)}, (4,))
    graph = read(tmp_path, made.SerializeToString()).network
    assert graph.nodes[-1].attributes["offset"] == 1


@pytest.mark.parametrize(("dtype", "kept"), [(np.float64, True), (np.float32, False)])
def test_a_bound_is_dropped_at_the_end_of_its_own_type_alone(tmp_path, dtype, kept):
    limit = I(np.finfo(np.float32).max, dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    made = model([node("Clip", ["x", "low", "high"])], {"low": -limit, "high": limit}, (4,),
                 dtype=kind)  # fmt: skip
    assert len(read(tmp_path, made.SerializeToString()).network.nodes) == 1 + kept


def test_flattening_counts_its_axis_from_the_end(tmp_path, evaluate):
    made = model([node("Flatten", ["x"], axis=-3)], {}, (3, 2, 2), opset=13)
    graph = read(tmp_path, made.SerializeToString()).network
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    check_close(evaluate(graph, x), ReferenceEvaluator(made).run(None, {"x": x})[0])


def test_two_constants_of_operators_of_one_name_are_not_tied(tmp_path):
    nodes = [
        helper.make_node("Constant", [], [name], name="same",
                         value=numpy_helper.from_array(np.arange(4.0) + k, name))
        for k, name in enumerate("ab")
    ]  # fmt: skip
    made = model([*nodes, node("Mul", ["x", "a"], "t"), node("Add", ["t", "b"])], {}, (4,))
    graph = read(tmp_path, made.SerializeToString()).network
    assert graph.ties == ()
    assert len(graph.stored) == 2
