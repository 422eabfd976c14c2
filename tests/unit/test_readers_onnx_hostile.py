"""ONNX files that are broken, hostile or not covered: one clear sentence each, nothing executed."""

import json
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from verify.errors import InputError, UnsafeFileError, VerifyError
from verify.readers import onnx_file

SEED = 4
W = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
B = np.ones(3, dtype=np.float32)


def node(op, inputs, output="y", **attributes):
    outputs = output if isinstance(output, list) else [output]
    return helper.make_node(op, inputs, outputs, **attributes)


def model(nodes, tensors=None, shape=("n", 4), *, opset=17, extra=()):
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in (tensors or {}).items()]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [*initializers, *extra],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def sound():
    nodes = [
        node("Gemm", ["x", "w", "b"], "h"), node("Relu", ["h"], "r"),
        node("Shape", ["x"], "s"), node("Gather", ["s", "zero"], "n", axis=0),
        node("Concat", ["n", "rest"], "t", axis=0), node("Reshape", ["r", "t"], "f"),
        node("LayerNormalization", ["f", "b", "b"], "l", epsilon=0.01),
        node("MatMul", ["l", "v"]),
    ]  # fmt: skip
    return model(nodes, {"w": W, "b": B, "zero": np.array([0]), "rest": np.array([-1]),
                         "v": W[:3, :2]})  # fmt: skip


def read(tmp_path, made, name="m.onnx"):
    path = tmp_path / name
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return onnx_file.read(path)


def changed(made, change):
    change(made)
    return made


def doubled():
    nodes, last = [], "c"
    for k in range(60):
        nodes.append(node("Concat", [last, last], f"c{k}", axis=0))
        last = f"c{k}"
    return model([*nodes, node("Add", ["x", last])], {"c": np.arange(4)})


def squared():
    nodes = [node("Mul", ["a", "a"], "p0")]
    nodes += [node("Mul", [f"p{k}", f"p{k}"], f"p{k + 1}") for k in range(40)]
    return model([*nodes, node("Reshape", ["x", "p40"])], {"a": np.array([2**40])})


def repeated():
    """Uses one stored tensor of a million numbers a hundred times in another order."""
    nodes = [node("Transpose", ["c"], "t", perm=[1, 0])]
    nodes += [node("Add", ["x" if k == 0 else f"a{k}", "t"], f"a{k + 1}") for k in range(100)]
    tensors = {"c": np.ones((1, 1), np.float32) * np.ones((1000, 1000), np.float32)}
    return model([*nodes, node("Relu", ["a100"])], tensors, ("n", 1000, 1000))


def claims_billions():
    tensor = TensorProto(name="w", data_type=1, dims=[10**5, 10**4], raw_data=b"\0" * 16)
    return model([node("MatMul", ["x", "w"])], extra=[tensor])


def claims_more():
    tensor = TensorProto(name="w", data_type=1, dims=[4, 3], raw_data=b"\0" * 16)
    return model([node("MatMul", ["x", "w"])], extra=[tensor])


def with_branch():
    inner = helper.make_graph([node("Relu", ["x"], "z")], "then", [],
                              [helper.make_tensor_value_info("z", 1, None)])  # fmt: skip
    return model([node("If", ["c"], then_branch=inner, else_branch=inner)], {"c": np.array(True)})


def with_loop():
    body = helper.make_graph([node("Identity", ["i"], "c")], "body",
                             [helper.make_tensor_value_info("i", 7, [])],
                             [helper.make_tensor_value_info("c", 9, [])])  # fmt: skip
    return model([node("Loop", ["m", "", "x"], body=body)], {"m": np.array(10**9)})


def with_function(made):
    made.functions.append(helper.make_function(
        "local", "F", ["a"], ["b"], [node("Relu", ["a"], "b")],
        [helper.make_opsetid("", 17)],
    ))  # fmt: skip


def with_sparse(made):
    sparse = made.graph.sparse_initializer.add()
    sparse.dims.extend([10**9])


def with_text(made):
    made.graph.initializer.append(TensorProto(name="t", data_type=8, dims=[1],
                                              string_data=[b"import os"]))  # fmt: skip


def with_two_inputs(made):
    made.graph.input.append(helper.make_tensor_value_info("z", 1, ["n", 4]))


def with_two_outputs(made):
    made.graph.output.append(helper.make_tensor_value_info("h", 1, None))


def with_many_attributes(made):
    for k in range(1000):
        made.graph.node[0].attribute.append(helper.make_attribute(f"a{k}", k))


def with_repeated_attribute(made):
    made.graph.node[0].attribute.append(helper.make_attribute("alpha", 1.0))
    made.graph.node[0].attribute.append(helper.make_attribute("alpha", 2.0))


def one(op, inputs=("x",), tensors=None, shape=("n", 4), opset=17, **attributes):
    return model([node(op, list(inputs), **attributes)], tensors, shape, opset=opset)


I = np.array  # noqa: E741
NAN = np.full((4, 3), np.nan, dtype=np.float32)
HOSTILE = {
    "empty protobuf": (b"\x00\x01", "ONNX model"),
    "text": (b"import os; os.system('id')\n" * 9, "ONNX model"),
    "no nodes": (model([]), "with a graph"),
    "cycle": (model([node("Add", ["x", "q"], "p"), node("Relu", ["p"], "q"),
                     node("Relu", ["q"])]), "cycle"),
    "own output": (one("Add", ["x", "y"]), "cycle"),
    "not in order": (model([node("Relu", ["p"]), node("Relu", ["x"], "p")]), "not in order"),
    "name twice": (model([node("Relu", ["x"]), node("Relu", ["x"])]), "new name"),
    "name of the input": (model([node("Relu", ["x"], "x")]), "new name"),
    "tensor twice": (changed(sound(), lambda m: m.graph.initializer.append(
        m.graph.initializer[0])), "twice"),
    "billions stored": (claims_billions(), "elements"),
    "more than stored": (claims_more(), "48 bytes"),
    "negative size": (model([node("MatMul", ["x", "w"])], extra=[
        TensorProto(name="w", data_type=1, dims=[-4, -3], raw_data=b"\0" * 48)]), "elements"),
    "billions filled": (model([node("ConstantOfShape", ["s"], "c"), node("Add", ["x", "c"])],
                              {"s": I([10**9])}), "elements"),
    "millions filled": (model([node("ConstantOfShape", ["s"], "c"), node("Add", ["x", "c"])],
                              {"s": I([10**6])}), "computed numbers"),
    "billions spread": (model([node("Expand", ["b", "s"], "c"), node("Add", ["x", "c"])],
                              {"b": B, "s": I([10**9, 3])}), "elements"),
    "billions padded": (one("Pad", ["x", "p"], {"p": I([0, 0, 0, 10**9])}), "elements"),
    "billions reshaped": (one("Reshape", ["x", "s"], {"s": I([0, 10**9])}), "batch axis"),
    "billions as input": (one("Relu", shape=("n", 10**5, 10**5)), "elements"),
    "billions broadcast": (model([node("Add", ["x", "c"])], {"c": np.ones((30000, 1), "f4")},
                                 ("n", 1, 30000)), "elements"),
    "range": (model([node("Range", ["a", "b", "c"], "r"), node("Add", ["x", "r"])],
                    {"a": I(0), "b": I(10**12), "c": I(1)}), "computed numbers"),
    "doubling": (doubled(), "computed numbers"),
    "squaring": (squared(), "of type int64"),
    "repeating": (repeated(), "a few times"),
    "attributes": (changed(sound(), with_many_attributes), "64 attributes"),
    "attribute twice": (changed(sound(), with_repeated_attribute), "one attribute"),
    "long attribute": (one("Transpose", perm=[0] * 10**6), "whole numbers"),
    "unknown attribute": (one("Relu", alpha=0.5), "but got 'attribute alpha'"),
    "attribute of another type": (one("Flatten", axis=1.0), "another type"),
    "custom domain": (one("Gelu", domain="com.microsoft"), "'com.microsoft'"),
    "function": (changed(sound(), with_function), "functions"),
    "branch": (with_branch(), "branch or a loop"),
    "loop": (with_loop(), "branch or a loop"),
    "sparse": (changed(sound(), with_sparse), "sparse"),
    "text tensor": (changed(sound(), with_text), "data type 8"),
    "two inputs": (changed(sound(), with_two_inputs), "one input"),
    "two outputs": (changed(sound(), with_two_outputs), "one output"),
    "constant output": (model([node("Identity", ["w"])], {"w": W}), "depends on the input"),
    "nan": (one("MatMul", ["x", "w"], {"w": NAN}), "finite"),
    "infinite offset": (one("Add", ["x", "c"], {"c": I(np.inf, "f4")}), "finite"),
    "quantised": (model([node("QuantizeLinear", ["x", "s"], "q"),
                         node("DequantizeLinear", ["q", "s"])], {"s": I(0.1, "f4")}), "covered"),
    "quantised weights": (model([node("DequantizeLinear", ["w", "s"], "v"),
                                 node("MatMul", ["x", "v"])],
                                {"w": W.astype("i1"), "s": I(0.1, "f4")}), "stored weights"),
    "computed weights": (model([node("Add", ["w", "w"], "v"), node("MatMul", ["x", "v"])],
                               {"w": W}), "stored weights|computes"),
    "instance norm": (one("InstanceNormalization", ["x", "s", "s"], {"s": np.ones(2, "f4")},
                          ("n", 2, 5)), "covered"),
    "no batch": (one("Relu", shape=(4,)), "batch axis"),
    "no shape": (one("Relu", shape=None), "batch axis"),
    "open size": (one("Relu", shape=("n", "k")), "fixed size"),
    "batch of none": (one("Relu", shape=(0, 4)), "fixed size"),
    "opset 7": (one("Relu", opset=7), "operator set"),
    "opset 24": (one("Relu", opset=24), "operator set"),
    "integers": (changed(sound(), lambda m: m.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 4]))), "real numbers"),
    "mask is read": (model([node("Dropout", ["x"], ["d", "m"]), node("Mul", ["d", "m"])]),
                     "side output"),
    "two samples": (one("Add", ["x", "c"], {"c": np.ones((2, 4), "f4")}), "every sample"),
    "other batch": (one("Reshape", ["x", "s"], {"s": I([3, -1])}), "batch axis"),
    "batch inside": (one("Reshape", ["x", "s"], {"s": I([2, 0])}), "batch axis"),
    "batch split": (one("Reshape", ["x", "s"], {"s": I([-1, 2])}), "batch axis"),
    "batch turned": (one("Transpose", perm=[1, 0]), "batch axis"),
    "batch by default": (one("Transpose"), "batch axis"),
    "softmax over samples": (one("Softmax", axis=0), "batch"),
    "some samples": (one("Slice", ["x", "s", "e"], {"s": I([1]), "e": I([2**31])}), "all samples"),
    "one sample": (one("Gather", ["x", "i"], {"i": I(0)}, axis=0), "batch"),
    "samples in a row": (one("Concat", ["x", "x"], axis=0), "batch"),
    "mean over samples": (one("ReduceMean", axes=[0]), "batch"),
    "mean over all": (one("ReduceMean"), "batch"),
    "flattened samples": (one("Flatten", axis=0), "batch"),
    "flattened rows": (one("Flatten", axis=2, shape=("n", 3, 4)), "batch"),
    "squeezed": (one("Squeeze", shape=(1, 4)), "batch"),
    "product of samples": (model([node("Transpose", ["x"], "t", perm=[0, 2, 1]),
                                  node("MatMul", ["x", "t"])], shape=("n", 2, 3)), "two values"),
    "other ranks": (model([node("Unsqueeze", ["x", "a"], "u"), node("Add", ["x", "u"])],
                          {"a": I([1])}), "equally many axes"),
    "zero divisor": (one("Div", ["x", "c"], {"c": I(0, "f4")}), "other than zero"),
    "whole division": (model([node("Cast", ["x"], "i", to=7), node("Div", ["i", "i"])]),
                       "whole numbers"),
    "narrow cast": (one("Cast", to=TensorProto.INT8), "cast"),
    "choice": (model([node("Greater", ["x", "c"], "g"), node("Where", ["g", "x", "x"])],
                     {"c": I(0, "f4")}), "where"),
    "early switch": (model([node("Softplus", ["x"], "s"), node("Greater", ["x", "c"], "g"),
                            node("Where", ["g", "x", "s"])], {"c": I(5, "f4")}), "where"),
    "root alone": (model([node("Sqrt", ["x"], "s"), node("Relu", ["s"])]), "intermediate"),
    "another root": (model([node("Sqrt", ["x"], "s"), node("Div", ["x", "s"])]), "layer norm"),
    "negative epsilon": (one("LayerNormalization", ["x", "s"], {"s": np.ones(4, "f4")},
                             epsilon=-0.5), "at least zero"),
    "bound with axes": (one("Clip", ["x", "c"], {"c": I([0], "f4")}), "number of the code"),
    "flag of two": (one("ReduceMean", axes=[1], keepdims=2), "0 or 1"),
    "old axes from the end": (one("Squeeze", axes=[-1], shape=("n", 1), opset=10), "the front"),
    "old attribute": (one("Squeeze", axes=[1], shape=("n", 1)), "axes to remove"),
    "old attribute beside axes": (one("ReduceMean", ["x", "a"], {"a": I([1])}, opset=18,
                                      axes=[1]), "attribute axes"),
    "one input more": (one("Relu", ["x", "x"]), "input 2"),
    "negative variance": (one("BatchNormalization", ["x", "s", "s", "s", "s"],
                              {"s": -np.ones(4, "f4")}), "variances"),
    "one axis twice": (one("Slice", ["x", "s", "s", "a"], {"s": I([1, 1]), "a": I([1, -1])}),
                       "different axes"),
    "cut windows": (one("MaxPool", kernel_shape=[2], strides=[2], ceil_mode=1,
                        shape=("n", 2, 5)), "ceil_mode"),
    "transposed convolution": (one("ConvTranspose", ["x", "w"],
                                   {"w": np.ones((2, 2, 3), "f4")}, ("n", 2, 5)), "covered"),
    "reflected": (one("Pad", ["x", "p"], {"p": I([0, 1, 0, 1])}, mode="reflect"), "constant"),
    "cut off": (one("Pad", ["x", "p"], {"p": I([0, -1, 0, 0])}), "before, after"),
    "empty": (one("Slice", ["x", "s", "e", "a"], {"s": I([3]), "e": I([1]), "a": I([1])}),
              "at least one entry"),
    "wrong kernel": (one("Conv", ["x", "w"], {"w": np.ones((2, 2, 3), "f4")}, ("n", 2, 5),
                         kernel_shape=[2]), "kernel_shape"),
    "power": (one("Pow", ["x", "c"], {"c": I(0.5, "f4")}), "whole power"),
    "not utf-8": (sound().SerializeToString().replace(b"LayerNormalization",
                                                      b"Layer\xfformalization"), "UTF-8"),
    "name not utf-8": (sound().SerializeToString().replace(b"zero", b"\xff\xfe\xfd\xfc"),
                       "UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_one_sentence_tells_what_is_wrong(tmp_path, name):
    made, words = HOSTILE[name]
    before = time.process_time()
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, made)
    text = str(caught.value)
    assert "m.onnx" in text
    assert "expected" in text
    assert "\n" not in text
    assert text.isascii()
    assert len(text) < 700
    assert time.process_time() - before < 5


def test_the_file_that_is_changed_is_sound(tmp_path):
    graph = read(tmp_path, sound()).network
    assert [n.op for n in graph.nodes] == ["input", "linear", "activation", "layer_norm", "linear"]


def test_without_the_library_the_message_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"expected the package onnx.*install verify-nn\[onnx\]"):
        read(tmp_path, sound())


# --- weights beside the file ---------------------------------------------------------------------


def outside(location, *, offset=None, length=None, more=()):
    tensor = TensorProto(name="w", data_type=1, dims=[4, 3],
                         data_location=TensorProto.EXTERNAL)  # fmt: skip
    told = {"location": location, "offset": offset, "length": length, **dict(more)}
    for key, value in told.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return model([node("MatMul", ["x", "w"])], extra=[tensor])


def test_weights_beside_the_file_are_read_and_told(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(b"\7" * 8 + W.tobytes() + b"\7")
    bag = read(tmp_path, outside("data/w.bin", offset=8, length=48))
    assert np.array_equal(bag.network.stored["linear1.weight"], W.T)
    assert len(bag.notes) == 1
    assert "'w.bin' (sha256 " in bag.notes[0]


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../w.bin", "data/../../w.bin", "..", "", "C:\\w.bin", "c:/w.bin",
     "data\\..\\..\\w.bin", "w\0.bin", "file:///etc/passwd", "leaves", "folder/w.bin", "x" * 2000],
)  # fmt: skip
def test_weights_outside_the_folder_are_refused(tmp_path, location):
    inner = tmp_path / "model"
    inner.mkdir()
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    (inner / "leaves").symlink_to(tmp_path / "w.bin")
    (inner / "folder").symlink_to(tmp_path)
    with pytest.raises(UnsafeFileError, match="folder of the model"):
        read(inner, outside(location))


def test_a_link_that_stays_inside_is_followed(tmp_path):
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    (tmp_path / "link").symlink_to(tmp_path / "w.bin")
    assert read(tmp_path, outside("link")).network is not None


@pytest.mark.parametrize(
    "told",
    [{"offset": 1}, {"offset": 49}, {"offset": -4}, {"length": 47}, {"length": 49},
     {"offset": "9" * 40}, {"offset": "0x0"}, {"length": 10**18}, {"more": {"key": "value"}}],
    ids=str,
)  # fmt: skip
def test_parts_that_the_file_does_not_have_are_refused(tmp_path, told):
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    with pytest.raises(InputError, match="expected"):
        read(tmp_path, outside("w.bin", **told))


def test_a_folder_a_pipe_and_nothing_are_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for location in ("folder", "pipe", "absent"):
        with pytest.raises(InputError, match="expected"):
            read(tmp_path, outside(location))


def test_two_names_of_one_part_are_ties(tmp_path):
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    made = outside("w.bin", offset=0, length=48)
    other = made.graph.initializer.add()
    other.CopyFrom(made.graph.initializer[0])
    other.name = "v"
    del made.graph.node[:]
    made.graph.node.extend([node("MatMul", ["x", "w"], "h"), node("Gemm", ["h", "v"], transB=1)])
    ties = read(tmp_path, made).network.ties
    assert ties == (("linear1.weight", "linear2.weight"),)


def test_weights_of_attributes_obey_the_same_rules(tmp_path):
    tensor = outside("../w.bin").graph.initializer[0]
    made = model([helper.make_node("Constant", [], ["c"], value=tensor), node("Add", ["x", "c"])])
    with pytest.raises(UnsafeFileError):
        read(tmp_path, made)


# --- many broken files ---------------------------------------------------------------------------


def broken(content, generator):
    """Return the bytes cut off, or with some bits changed, or with a piece moved."""
    data = bytearray(content)
    kind = generator.randrange(3)
    if kind == 0:
        return bytes(data[: generator.randrange(1, len(data))])
    if kind == 1:
        for _ in range(generator.randrange(1, 4)):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        return bytes(data)
    start, length = generator.randrange(len(data)), generator.randrange(1, 20)
    piece = data[start : start + length]
    del data[start : start + length]
    place = generator.randrange(len(data))
    return bytes(data[:place] + piece + data[place:])


@pytest.mark.soundness
def test_broken_files_give_errors_of_the_project_only(tmp_path):
    cases = 3000 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 300
    generator, began, told = random.Random(SEED), time.perf_counter(), []
    content = sound().SerializeToString()
    for _ in range(cases):
        try:
            read(tmp_path, broken(content, generator))
        except VerifyError as error:
            told.append(str(error))
    assert len(told) > cases // 2
    assert not any("\n" in text for text in told)
    print(
        f"campaign broken-onnx: {cases} cases, seed {SEED}, "
        f"{time.perf_counter() - began:.1f} s, 0 wrong"
    )


CHILD = """
import json, pathlib, resource, sys
import numpy, onnx
from verify.readers import onnx_file
from verify.errors import VerifyError
import verify.network.expression, google.protobuf.message
folder = pathlib.Path(sys.argv[1])
onnx_file.read(folder / "sound.onnx")
names, seen, kinds = sorted(folder.glob("*.onnx")), [], {}
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
watching = True
def watch(event, arguments):
    if watching and event in ("exec", "compile", "import", "os.system", "os.exec", "os.fork",
                              "os.remove", "os.rename", "os.mkdir", "subprocess.Popen",
                              "pickle.find_class", "socket.connect", "ctypes.dlopen"):
        seen.append([event, ascii(arguments)[:200]])
    if watching and event == "open" and set(str(arguments[1])) & set("wax+"):
        seen.append([event, ascii(arguments)[:200]])
sys.addaudithook(watch)
for name in names:
    try:
        onnx_file.read(name)
        kinds[name.stem] = "read"
    except VerifyError as error:
        kinds[name.stem] = type(error).__name__
watching = False
print(json.dumps([kinds, seen]))
"""


def test_nothing_is_executed_imported_or_written(tmp_path):
    (tmp_path / "sound.onnx").write_bytes(sound().SerializeToString())
    (tmp_path / "outside.onnx").write_bytes(outside("/etc/passwd").SerializeToString())
    for number, (made, _) in enumerate(HOSTILE.values()):
        content = made if isinstance(made, bytes) else made.SerializeToString()
        (tmp_path / f"case{number}.onnx").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", CHILD, str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    kinds, seen = json.loads(done.stdout)
    assert kinds.pop("sound") == "read"
    assert kinds.pop("outside") == "UnsafeFileError"
    assert set(kinds.values()) == {"InputError"}
    assert seen == []
