"""`.pt2` files that lie, are cut off or carry code: refused in a sentence, nothing executed."""

import copy
import io
import json
import os
import pickle
import random
import time
import warnings
import zipfile

import numpy as np
import pytest

from verify.errors import InputError, UnsafeFileError, VerifyError
from verify.readers.pt2_file import parse

torch = pytest.importorskip("torch")
nn = torch.nn
CASES = 300 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 30
MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
        self.first, self.last = nn.Linear(8, 3), nn.Linear(3, 2)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x))).flatten(1)
        return self.last(nn.functional.softplus(self.first(x), beta=100) * 2)


@pytest.fixture(scope="module")
def parts():
    """The entries of an honest archive by their path below its folder."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Small().eval(), (torch.randn(2, 1, 4, 4),))
        torch.export.save(program, content)
    with zipfile.ZipFile(content) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def packed(parts, root="archive"):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in parts.items():
            archive.writestr(f"{root}/{name}", data)
    return content.getvalue()


def changed(parts, name, change):
    value = json.loads(parts[name])
    change(value)
    return packed({**parts, name: json.dumps(value).encode()})


def nodes(program):
    return program["graph_module"]["graph"]["nodes"]


def test_the_archive_is_honest_before_it_is_changed(parts):
    assert [node.op for node in parse(packed(parts), "here").nodes][-1] == "linear"


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_pickled_sample_inputs_are_never_opened(parts, tmp_path):
    bomb = pickle.dumps(Bomb(tmp_path / "executed"))
    given = {name: bomb if "sample_inputs" in name else data for name, data in parts.items()}
    assert bomb in given.values()
    parse(packed(given), "here")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", ["custom_obj_0", "weight_0", "opaque_obj_0"])
def test_pickled_objects_are_refused_where_the_graph_needs_them(parts, tmp_path, kind):
    def change(config):
        entry = config["config"]["conv.weight"]
        entry |= {"path_name": kind, "use_pickle": kind == "weight_0"}

    bomb = pickle.dumps(Bomb(tmp_path / "executed"))
    content = changed({**parts, f"data/weights/{kind}": bomb}, WEIGHTS, change)
    with pytest.raises(InputError, match="expected its stored numbers, but got none"):
        parse(content, "here")
    assert not (tmp_path / "executed").exists()


def test_a_pickled_state_dict_that_runs_code_is_unsafe(parts, tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(tmp_path / "executed"), protocol=2))
    with pytest.raises(UnsafeFileError):
        parse(packed({**parts, "data/weights/model.pt": inner.getvalue()}), "here")
    assert not (tmp_path / "executed").exists()


def set_weight(key, value):
    return lambda config: config["config"]["first.weight"]["tensor_meta"].__setitem__(key, value)


def ints(*sizes):
    return [{"as_int": size} for size in sizes]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (set_weight("sizes", ints(10**9, 8)), "expected a shape of at most"),
        (set_weight("sizes", ints(3, 9)), "expected a view inside its storage"),
        (set_weight("storage_offset", {"as_int": 1}), "expected a view inside its storage"),
        (set_weight("storage_offset", {"as_int": -1}), "expected a view inside its storage"),
        (set_weight("strides", ints(-8, 1)), "expected a view inside its storage"),
        (set_weight("strides", ints(8)), "expected a stride an axis"),
        (set_weight("dtype", 8), "expected a view inside its storage"),
        (set_weight("dtype", 99), "known type"),
        (set_weight("layout", 1), "dense tensor"),
        (set_weight("sizes", [{"as_expr": {"expr_str": "s0"}}, {"as_int": 8}]), "symbolic"),
        (set_weight("sizes", "many"), "expected list, but got str"),
        (lambda c: c["config"]["first.weight"].__setitem__("path_name", "weight_77"), "an entry"),
        (lambda c: c["config"]["first.weight"].__setitem__("path_name", "../../x"), "an entry"),
        (lambda c: c["config"].pop("first.weight"), "expected its stored numbers"),
        (lambda c: c.__setitem__("config", 3), "expected dict, but got int"),
    ],
)
def test_weights_that_lie(parts, change, told):
    started = time.process_time()
    with pytest.raises(InputError, match=f"^here.*{told}"):
        parse(changed(parts, WEIGHTS, change), "here")
    assert time.process_time() - started < 5


def cyclic(program):
    first, second = nodes(program)[:2]
    first["inputs"][0]["arg"]["as_tensor"]["name"] = second["outputs"][0]["as_tensor"]["name"]


def huge_input(program):
    graph = program["graph_module"]["graph"]
    graph["tensor_values"]["x"]["sizes"] = ints(2, 1, 10**9, 10**9)


def huge_padding(program):
    nodes(program)[0]["inputs"].append({"name": "padding", "arg": {"as_ints": [10**9, 10**9]}})


def deep(program):
    value = []
    for _ in range(500):
        value = [value]
    nodes(program)[0]["inputs"][0]["arg"] = {"as_tensors": value}


def swap(name, value):
    def change(program):
        for argument in nodes(program)[1]["inputs"]:
            if argument["name"] == name:
                argument["arg"] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (cyclic, "expected a tensor that was computed before"),
        (huge_input, "expected a shape of at most"),
        (huge_padding, "expected a shape of at most|of every sample"),
        (deep, "expected input as a tensor, but got 'as_tensors'"),
        (lambda p: nodes(p).append(copy.deepcopy(nodes(p)[-1])), "each value once"),
        (lambda p: nodes(p)[0].__setitem__("target", "torch.ops.evil.run"), "that is covered"),
        (lambda p: nodes(p)[0].__setitem__("target", 7), "expected str, but got int"),
        (lambda p: nodes(p)[0].__setitem__("inputs", {}), "expected list, but got dict"),
        (lambda p: nodes(p)[0]["inputs"].append(nodes(p)[0]["inputs"][0]), "each argument once"),
        (lambda p: nodes(p)[0]["inputs"].append({"name": "alpha", "arg": {"as_int": 2}}),
         "expected arguments"),
        (lambda p: p["schema_version"].__setitem__("major", 5), "export the module again"),
        (lambda p: p["opset_version"].__setitem__("aten", 11), "operators of version 10"),
        (lambda p: p.pop("graph_module"), "expected an entry 'graph_module'"),
        (swap("eps", {"as_float": float("inf")}), "expected a finite one"),
        (swap("eps", {"as_float": "Infinity"}), "finite number"),
        (swap("eps", {"as_int": 10**400}), "finite number"),
        (swap("training", {"as_int": 0}), "training as a bool"),
        (swap("running_var", {"as_none": True}), "stored statistics"),
        (swap("running_var", {"as_tensor": {"name": "x"}}), "expected running_var to be a stored"),
        (lambda p: p["graph_module"]["graph"]["tensor_values"]["relu"].__setitem__("dtype", 5),
         "expected real numbers"),
        (lambda p: p["graph_module"]["graph"]["tensor_values"]["relu"].__setitem__(
            "sizes", ints(2, 2, 2, 3)), "of every sample"),
        (lambda p: p["graph_module"]["signature"]["input_specs"].append({"token": {}}), "token"),
        (lambda p: p["graph_module"]["signature"].__setitem__("output_specs", []), "one tensor as"),
    ],
)  # fmt: skip
def test_programs_that_lie(parts, change, told):
    started = time.process_time()
    with pytest.raises(InputError, match=f"^here.*({told})"):
        parse(changed(parts, MODEL, change), "here")
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (MODEL, b"{", "expected a JSON object"),
        (MODEL, b"[]", "expected dict, but got list"),
        (MODEL, b'{"a": 1, "a": 2}', "a key that occurs twice"),
        (MODEL, b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "expected a JSON object"),
        (MODEL, b'{"a": ' + b"9" * 10_000 + b"}", "expected a JSON object"),
        (MODEL, b"\xff\xfe", "expected a JSON object"),
        (WEIGHTS, b'{"config": {"first.weight": []}}', "expected dict"),
        ("byteorder", b"middle", "byteorder little or big"),
    ],
)
def test_texts_that_are_not_what_they_should_be(parts, name, text, told):
    with pytest.raises(InputError, match=told):
        parse(packed({**parts, name: text}), "here")


@pytest.mark.parametrize("missing", [MODEL, WEIGHTS, "data/weights/weight_0"])
def test_missing_entries(parts, missing):
    with pytest.raises(InputError, match="but got"):
        parse(packed({name: data for name, data in parts.items() if name != missing}), "here")


def test_several_programs_and_several_folders(parts):
    with pytest.raises(InputError, match="expected one exported program"):
        parse(packed({**parts, "models/other.json": parts[MODEL]}), "here")
    content = io.BytesIO(packed(parts))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("other/models/model.json", parts[MODEL])
    with pytest.raises(InputError, match="expected one folder"):
        parse(content.getvalue(), "here")


def test_truncated_archives(parts):
    content = packed(parts)
    for end in np.linspace(0, len(content) - 1, 40).astype(int):
        with pytest.raises(VerifyError):
            parse(content[:end], "here")


JUNK = (None, True, -1, 0, 2**63, 10**30, 1.5, float("nan"), "", "x", "conv2d", [], {}, [[]],
        {"as_int": -5}, {"as_tensor": {"name": "x"}}, {"as_none": 1}, {"as_ints": [0]})  # fmt: skip


def places(value, found, path=()):
    """All paths into a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        found.append((*path, key))
        if isinstance(inner, dict | list) and key != "metadata":
            places(inner, found, (*path, key))
    return found


def spoil(value, chosen, junk):
    for path, new in zip(chosen, junk, strict=True):
        inner = value
        try:
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = copy.deepcopy(new)
        except (KeyError, IndexError, TypeError):
            continue


def outcome(content):
    """Return the graph, or None where the file was refused; any other error fails the test."""
    try:
        return parse(content, "here")
    except VerifyError:
        return None


@pytest.mark.soundness
def test_random_changes_are_read_or_refused(parts):
    started, refused = time.perf_counter(), 0
    chance = random.Random(20)
    paths = {name: places(json.loads(parts[name]), []) for name in (MODEL, WEIGHTS)}
    honest = parse(packed(parts), "here")
    for case in range(CASES):
        if case % 3 == 0:
            content = bytearray(packed(parts))
            for _ in range(chance.randrange(1, 8)):
                content[chance.randrange(len(content))] = chance.randrange(256)
            content = bytes(content)
        else:
            name = chance.choice([MODEL, MODEL, WEIGHTS])

            chosen = chance.sample(paths[name], 1 + case % 2)
            junk = [chance.choice(JUNK) for _ in chosen]
            content = changed(parts, name, lambda v, c=chosen, j=junk: spoil(v, c, j))
        found = outcome(content)
        refused += found is None
        # What is still read differs from the honest file in fields that say nothing.
        assert found is None or found.sample_shape == honest.sample_shape
    took = time.perf_counter() - started
    print(f"campaign pt2 fuzz: {CASES} cases, seed 20, {took:.1f} s, 0 wrong ({refused} refused)")


def chained(target, count):
    """Repeat the last operation of a kind on its own result."""

    def change(program):
        graph = program["graph_module"]["graph"]
        (made,) = [node for node in graph["nodes"] if target in node["target"]]
        last = made["outputs"][0]["as_tensor"]["name"]
        for k in range(count):
            more = copy.deepcopy(made)
            more["inputs"][0]["arg"]["as_tensor"]["name"] = last if k == 0 else f"more{k - 1}"
            more["outputs"][0]["as_tensor"]["name"] = f"more{k}"
            graph["tensor_values"][f"more{k}"] = graph["tensor_values"][last]
            graph["nodes"].append(more)
        (spec,) = program["graph_module"]["signature"]["output_specs"]
        spec["user_output"]["arg"]["as_tensor"]["name"] = f"more{count - 1}"

    return change


def archive_of(module, samples):
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module.eval(), (samples,)), content)
    with zipfile.ZipFile(content) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def test_many_operations_in_one_memory_take_time_in_proportion():
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    made = archive_of(module, torch.rand(2, 2))
    before = time.process_time()
    graph = parse(changed(made, MODEL, chained("relu_", 6_000)), "here")
    assert len(graph.nodes) == 6_003
    # The time of comparing every pair of names is 12 seconds.
    assert time.process_time() - before < 6


def test_one_weight_is_not_used_more_often_than_memory_allows():
    made = archive_of(nn.Sequential(nn.Linear(1024, 1024, bias=False)), torch.rand(2, 1024))
    with pytest.raises(InputError, match="each stored number a few times"):
        parse(changed(made, MODEL, chained("linear", 40)), "here")


def test_sizes_beyond_64_bits_are_refused_in_a_short_sentence():
    made = archive_of(nn.MaxPool1d(2), torch.rand(2, 1, 4))

    def grow(program):
        for node in nodes(program):
            for given in node["inputs"]:
                if "as_ints" in given["arg"]:
                    given["arg"]["as_ints"] = [10**4000]

    with pytest.raises(InputError, match="an integer of 64 bits") as caught:
        parse(changed(made, MODEL, grow), "here")
    assert len(str(caught.value)) < 400


def test_a_name_stands_for_one_tensor(parts):
    """Torch would take the weight or the constant, depending on how the program asks for it."""
    constants = "data/constants/model_constants_config.json"
    weights = json.loads(parts[WEIGHTS])["config"]
    name = "first.weight"
    path = weights[name]["path_name"]
    listed = json.dumps({"config": {name: weights[name]}}).encode()
    both = {constants: listed, f"data/constants/{path}": parts[f"data/weights/{path}"]}
    with pytest.raises(InputError, match=r"'first.weight' in both"):
        parse(packed({**parts, **both}), "here")
