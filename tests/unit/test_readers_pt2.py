"""`.pt2` files: what they say is what torch computes, and every export of a module is one graph."""

import io
import json
import math
import warnings
import zipfile

import numpy as np
import pytest

from verify.errors import InputError, SettingsError
from verify.network import Feedforward, Graph, TwoLayer
from verify.readers import read_network
from verify.readers.live import graph_of_module
from verify.readers.pt2_arguments import IGNORED
from verify.readers.pt2_file import parse, read
from verify.readers.pt2_program import READ_BY
from verify.readers.pt2_signatures import OPERATORS, REQUIRED

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class Mixed(nn.Module):
    """A module with most operations; every size differs, so that exchanged axes do not fit."""

    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(2, 4, 3, padding="same", bias=False)
        self.bn, self.ln = nn.BatchNorm2d(4), nn.LayerNorm([4, 4, 5])
        self.c2 = nn.Conv2d(4, 4, (1, 3), stride=2, padding=(0, 1), groups=2)
        self.c3, self.fc = nn.Conv1d(4, 6, 2), nn.Linear(6, 5)
        self.head, self.k = nn.Linear(5, 3, bias=False), nn.Parameter(torch.randn(5))
        self.inplace = nn.ReLU(inplace=True)
        self.register_buffer("mean", torch.tensor([0.1, 0.2]).reshape(2, 1, 1))
        self.register_buffer("shift", torch.randn(1, 2, 1, 1), persistent=False)

    def forward(self, x):
        x = F.elu(self.bn(self.c1((x - self.mean) / 0.5 + self.shift)))
        x = self.ln(F.avg_pool2d(F.leaky_relu(x, 0.1), 2))
        x = self.c2(F.softplus(x, beta=5) + torch.sin(x) * 2 - 1)
        x = F.gelu(F.silu(F.mish(F.hardtanh(x))), approximate="tanh")
        x = F.gelu(F.softsign(torch.erf(F.relu6(x))))
        x = self.c3(x.flatten(2).permute(0, 2, 1).transpose(1, 2))
        x = F.pad(x, (1, 2))[:, :, 1:]
        x = F.max_pool1d(torch.cat([x, x.abs()], 2), 2)
        x = F.dropout(F.adaptive_avg_pool1d(x, 1).squeeze(-1), 0.5, self.training)
        x = torch.tanh(self.fc(x)) ** 2 + self.k + torch.sigmoid(self.fc(x)).square()
        x = x.mean(1, keepdim=True) + x.unsqueeze(1).view(-1, 5).contiguous().clone()
        return F.softmax(self.head(self.inplace(2.5 - x / 3)), -1)


class Variants(nn.Module):
    """One operation a branch, with arguments that are not the defaults."""

    def __init__(self):
        super().__init__()
        self.even = nn.Conv2d(3, 2, (2, 4), padding="same", dilation=(1, 2))
        self.wide = nn.Conv2d(3, 6, 3, stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=3)
        self.line = nn.Conv1d(3, 2, 3, stride=2, padding=1)
        self.plain = nn.BatchNorm2d(3, affine=False, eps=1e-3)
        self.rows = nn.Linear(8, 4, bias=False)
        self.last = nn.LayerNorm(8, elementwise_affine=False)
        self.free = nn.Parameter(torch.randn(8, 4))
        self.scale = nn.Parameter(torch.randn(1, 3, 1, 1))

    def forward(self, x):
        flat = x.flatten(2)
        found = [
            self.even(x), self.wide(x), self.line(flat), self.plain(x), self.rows(x[:, 0, 0]),
            self.last(x), x[:, 0, 0] @ self.free, x * self.scale, self.scale - x, x / self.scale,
            x.mul(3).div(7).add(2, alpha=3), torch.sub(x, x.abs(), alpha=2), -x,
            F.avg_pool2d(x, 2, 1, 1), F.avg_pool2d(x, 2, 1, 1, count_include_pad=False),
            F.avg_pool2d(x, (2, 4), ceil_mode=True), F.max_pool2d(x, 3, 2, 1),
            F.max_pool2d(x, 2, dilation=2, stride=1), F.avg_pool1d(flat, 3, 2, 1),
            F.max_pool1d(flat, 3, 2, 1, 2), F.adaptive_avg_pool2d(x, (2, 4)),
            F.adaptive_max_pool2d(x, 2), F.adaptive_avg_pool1d(flat, 4), x.mean((-1, -2)),
            x.mean(1, keepdim=True), x.mean((1, 3)), F.pad(x, (1, 0, 2, 3), value=0.5),
            x[:, 1], x[:, :, 1:4:2], x[..., -3:], torch.cat([x, x], -1), x.squeeze(1).unsqueeze(-1),
            x.permute(0, 3, 1, 2), x.transpose(-1, -2), x.unflatten(3, (2, -1)), F.softmax(x, 1),
            F.log_softmax(x, -1), F.elu(x, 0.3), F.leaky_relu(x, 0.3), F.softplus(x, 3),
            F.hardtanh(x, 0, 6), x.clamp(min=0), x.square(), torch.atan(x), F.gelu(x), x.floor(),
            x.round(), x.ceil(), x * torch.sigmoid(x), x * torch.tanh(F.softplus(x)),
            x / (1 + x.abs()), x.to(torch.float64), x.detach(),
        ]  # fmt: skip
        return torch.cat([each.flatten(1) for each in found], 1)


def saved(module, sample, *, free=True, decomposed=False, extra=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim("n")},) if free else None
        program = torch.export.export(module, (sample,), dynamic_shapes=shapes)
        program = program.run_decompositions() if decomposed else program
        content = io.BytesIO()
        torch.export.save(program, content, extra_files=extra or {})
    return content.getvalue()


def evaluated(graph, samples):
    """Compute the graph in float64 with torch, from the meanings in operations.py."""
    t = {role: torch.from_numpy(values) for role, values in graph.stored.items()}
    values = []
    for node in graph.nodes:
        a, x = node.attributes, [values[k] for k in node.inputs]
        s = {slot: t[role] for slot, role in node.parameters.items()}
        values.append(samples if node.op == "input" else apply(node.op, x, a, s))
        assert tuple(values[-1].shape[1:]) == node.shape
    return values[-1]


def apply(op, x, a, s):
    if op == "activation":
        z = {"z": x[0], "exp": torch.exp, "log": torch.log, "tanh": torch.tanh, "erf": torch.erf,
             "sqrt": math.sqrt, "pi": math.pi, "sin": torch.sin, "Abs": torch.abs,
             "atan": torch.atan,
             "Max": lambda u, v: torch.clamp(u, min=v), "Min": lambda u, v: torch.clamp(u, max=v),
             "Piecewise": lambda one, other: torch.where(one[1], one[0], other[0])}  # fmt: skip
        return eval(a["activation"].expression(), z)
    rank = x[0].dim() if x else 0
    table = {
        "constant": lambda: s["value"].unsqueeze(0),
        "linear": lambda: F.linear(x[0], s["weight"], s.get("bias")),
        "batch_norm": lambda: F.batch_norm(x[0], s["mean"], s["variance"], s.get("weight"),
                                           s.get("bias"), eps=float(a["epsilon"])),
        "layer_norm": lambda: F.layer_norm(x[0], x[0].shape[rank - a["axes"]:], s.get("weight"),
                                           s.get("bias"), float(a["epsilon"])),
        "reshape": lambda: x[0].reshape(-1, *a["shape"]),
        "transpose": lambda: x[0].permute(0, *(k + 1 for k in a["order"])),
        "mean": lambda: x[0].mean([k + 1 for k in a["axes"]]),
        "concat": lambda: torch.cat(x, a["axis"] + 1),
        "add": lambda: x[0] + x[1], "sub": lambda: x[0] - x[1], "mul": lambda: x[0] * x[1],
        "div": lambda: x[0] / x[1],
        "affine": lambda: x[0] * float(a["factor"]) + float(a["offset"]),
        "softmax": lambda: F.softmax(x[0], a["axis"] + 1),
        "adaptive_average_pool": lambda: (F.adaptive_avg_pool1d if len(a["size"]) == 1 else
                                          F.adaptive_avg_pool2d)(x[0], a["size"]),
        "log_softmax": lambda: F.log_softmax(x[0], a["axis"] + 1),
        "round": lambda: getattr(torch, {"nearest": "round"}.get(a["how"], a["how"]))(x[0]),
        "adaptive_max_pool": lambda: F.adaptive_max_pool2d(x[0], a["size"]),
        "average_pool": lambda: (F.avg_pool1d if len(a["kernel"]) == 1 else F.avg_pool2d)(
            x[0], a["kernel"], a["strides"], [before for before, _ in a["padding"]],
            count_include_pad=a["count_padding"]),
        "max_pool": lambda: (F.max_pool1d if len(a["kernel"]) == 1 else F.max_pool2d)(
            F.pad(x[0], [n for pair in a["padding"][::-1] for n in pair], value=-math.inf),
            a["kernel"], a["strides"], 0, a["dilations"]),
        "slice": lambda: x[0].index_select(a["axis"] + 1,
                                           torch.arange(a["start"], a["stop"], a["step"])),
        "pad": lambda: F.pad(x[0], [n for pair in a["amounts"][::-1] for n in pair],
                             value=float(a["value"])),
        "conv": lambda: (F.conv1d if rank == 3 else F.conv2d)(
            F.pad(x[0], [n for pair in a["padding"][::-1] for n in pair]), s["weight"],
            s.get("bias"), a["strides"], 0, a["dilations"], a["groups"]),
    }  # fmt: skip
    return table[op]()


def same(one, other):
    assert one.equation == other.equation
    assert one.ties == other.ties
    assert one.tensors().keys() == other.tensors().keys()
    for role, values in one.tensors().items():
        assert np.array_equal(values, other.tensors()[role])


@pytest.fixture(scope="module")
def mixed():
    torch.manual_seed(3)
    module = Mixed().double()
    module.bn.running_mean.normal_()
    module.bn.running_var.uniform_(0.5, 2)
    return module.eval()


@pytest.fixture(scope="module")
def sample():
    return torch.randn(3, 2, 8, 10, dtype=torch.float64, generator=torch.manual_seed(4))


@pytest.fixture(scope="module")
def exported(mixed, sample):
    return parse(saved(mixed, sample), "here")


def test_the_graph_computes_what_the_module_does(mixed, sample, exported):
    with torch.no_grad():
        wanted, found = mixed(sample), evaluated(exported, sample)
    # Both are float64 computations of the same formula with operations in another order.
    assert torch.allclose(wanted, found, rtol=1e-11, atol=1e-13)


def test_every_export_of_a_module_is_one_graph(mixed, sample, exported):
    same(parse(saved(mixed, sample, decomposed=True), "here"), exported)


def test_a_live_module_is_the_same_graph_and_stays_as_it_is(mixed, sample, exported):
    mixed.train()
    mixed.bn.eval()
    modes = [part.training for part in mixed.modules()]
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in mixed.state_dict().items()}
    try:
        same(graph_of_module(mixed, sample), exported)
        assert modes == [part.training for part in mixed.modules()]
    finally:
        mixed.eval()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, state[name]) for name, value in mixed.state_dict().items())


@pytest.mark.parametrize("decomposed", [False, True])
def test_every_operation_with_its_arguments(decomposed):
    torch.manual_seed(6)
    module = Variants().double().eval()
    x = 2 * torch.randn(2, 3, 6, 8, dtype=torch.float64)
    graph = parse(saved(module, x, free=False, decomposed=decomposed), "here")
    with torch.no_grad():
        wanted, found = module(x), evaluated(graph, x)
    # Roundings differ, a wrong argument differs by far more.
    assert torch.allclose(wanted, found, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("decomposed", [False, True])
def test_training_form_is_told(decomposed):
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2)).train()
    graph = parse(saved(module, torch.randn(4, 3), decomposed=decomposed), "here")
    assert [node.op for node in graph.nodes[1:]] == ["batch_norm", "dropout", "linear"]
    assert graph.nodes[1].attributes["training"] is True
    assert graph.nodes[2].attributes["rate"] == 1 / 2


def test_defaults_are_those_of_torch():
    assert READ_BY
    for target, (_, signature) in OPERATORS.items():
        packet, overload = target.split(".")
        schema = getattr(getattr(torch.ops.aten, packet), overload)._schema
        assert {argument.name for argument in schema.arguments} == set(signature), target
        for argument in schema.arguments:
            own = signature[argument.name]
            if argument.name in IGNORED:
                continue
            if not argument.has_default_value():
                assert own == REQUIRED, (target, argument.name)
                continue
            default = argument.default_value
            assert own == (tuple(default) if isinstance(default, list) else default), target


def mlp(*, tied=False):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU(),
                           nn.Linear(4, 2))  # fmt: skip
    if tied:
        module[3].weight = module[1].weight
    return module


@pytest.mark.parametrize("tied", [False, True])
def test_fully_connected_networks_are_recognised_with_their_ties(tmp_path, tied):
    (tmp_path / "m.pt2").write_bytes(saved(mlp(tied=tied), torch.randn(2, 1, 2, 2)))
    loaded = read_network(tmp_path / "m.pt2", settings={"expressivity.loss": "half-squares"})
    assert isinstance(loaded.network, Feedforward)
    assert loaded.format == "pt2"
    assert loaded.network.ties == ((("W1", "W2"),) if tied else ())
    assert loaded.declared["family"] == "feedforward"
    assert loaded.settings == {"expressivity.loss": "half-squares"}
    assert "1.weight" in [name for name, _, _ in loaded.tensors_found]
    for flags in ({"family": "two-layer"}, {"activation": "relu"}, {"key": "a"}):
        with pytest.raises(SettingsError, match=r"expected none for .*operations.*leave it out"):
            read_network(tmp_path / "m.pt2", **flags)


def test_one_output_is_a_two_layer_network():
    module = nn.Sequential(nn.Linear(3, 5), nn.Softplus(beta=100), nn.Linear(5, 1))
    found = graph_of_module(module, torch.zeros(1, 3))
    assert isinstance(found, TwoLayer)
    assert str(found.activation) == "softplus(100)"
    assert np.array_equal(found.W, module[0].weight.detach().double().numpy())


def test_a_declaration_inside_the_file_and_data_beside_it(tmp_path):
    text = json.dumps({"data": "x.npz", "settings": {"expressivity": {"loss": "logistic"}}})
    content = saved(mlp(), torch.randn(2, 1, 2, 2), extra={"verify": text})
    (tmp_path / "m.pt2").write_bytes(content)
    np.savez(tmp_path / "x.npz", X=np.ones((5, 1, 2, 2)), y=np.ones((5, 2)))
    loaded = read_network(tmp_path / "m.pt2")
    assert loaded.settings == {"expressivity.loss": "logistic"}
    assert loaded.data.X.shape[0] == 5
    np.savez(tmp_path / "x.npz", X=np.ones((5, 1, 3, 2)))
    with pytest.raises(InputError, match=r"expected samples X of shape \(n, 4\)"):
        read_network(tmp_path / "m.pt2")


def test_the_flat_layout_of_earlier_versions_is_the_same_network(mixed, sample, exported):
    source = zipfile.ZipFile(io.BytesIO(saved(mixed, sample)))
    (program,) = [name for name in source.namelist() if name.endswith("models/model.json")]
    pickled = {}
    for name, tensors in (
        ("state_dict", mixed.state_dict()),
        ("constants", {"shift": mixed.shift}),
    ):
        content = io.BytesIO()
        torch.save(dict(tensors), content)
        pickled[f"serialized_{name}.pt"] = content.getvalue()
    flat = io.BytesIO()
    with zipfile.ZipFile(flat, "w") as archive:
        archive.writestr("serialized_exported_program.json", source.read(program))
        for name, content in pickled.items():
            archive.writestr(name, content)
        archive.writestr("serialized_example_inputs.pt", b"never opened")
        archive.writestr("version", "8.2")
    same(parse(flat.getvalue(), "here"), exported)


class Says(nn.Module):
    """A module of one function."""

    def __init__(self, function):
        super().__init__()
        self.function, self.w = function, nn.Linear(4, 4)

    def forward(self, x):
        return self.function(self, x)


def written_over_a_view(m, x):
    y = m.w(x)
    z = y.view(-1, 2, 2)
    y.relu_()
    return z.flatten(1)


def written_over_and_used(m, x):
    y = m.w(x)
    z = y.detach()
    F.relu(y, inplace=True)
    return z


REFUSED = {
    "mean of the batch": (lambda m, x: x - x.mean(0, keepdim=True), "samples? alone|each sample"),
    "product of samples": (lambda m, x: x @ x.T, "is covered|batch first"),
    "samples in rows": (lambda m, x: x.view(-1, 2), "sizes|keep the samples apart"),
    "one sample": (lambda m, x: x[:1] + x, "all samples"),
    "another axis": (lambda m, x: x + x.unsqueeze(1), "values of as many axes"),
    "unknown": (lambda m, x: torch.cumsum(m.w(x), 1), "is covered"),
    "computed weight": (lambda m, x: F.linear(x, m.w.weight * 2), "stored tensors alone"),
    "shifted weight": (lambda m, x: F.linear(x, m.w.weight[:, :4] + m.w.weight), "stored"),
    "low threshold": (lambda m, x: F.softplus(x, threshold=1), "threshold of softplus"),
    "limits": (lambda m, x: torch.clamp(x, -2, 3), "limits"),
    "power": (lambda m, x: x**9, "a whole power from 1 to 8"),
    "divisor": (lambda m, x: 1 / x, "covered"),
    "exponential": (lambda m, x: torch.exp(x), "operation exp"),
    "whole numbers": (lambda m, x: m.w(x.to(torch.int64).to(torch.float32)), "real numbers"),
    "view written over": (written_over_a_view, "nothing was written over"),
    "two outputs": (lambda m, x: (x, m.w(x)), "one tensor as output"),
    "constant output": (lambda m, x: m.w.weight.clone(), "computed from the samples"),
    "linear along rows": (
        lambda m, x: m.w(torch.cat([x, x], 1).view(-1, 2, 4)),
        "keep the samples apart",
    ),
    "part of a pool": (lambda m, x: F.max_pool1d(x.unsqueeze(1), 3, 2, ceil_mode=True), "ceil"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_covered_is_refused_by_name(name):
    function, told = REFUSED[name]
    # Decomposed, a linear layer along several axes merges them with the batch.
    split = name == "linear along rows"
    content = saved(Says(function), torch.randn(4, 4), free=False, decomposed=split)
    with pytest.raises(InputError, match=f"^here.*({told})"):
        parse(content, "here")


def test_an_operation_that_writes_over_its_argument_is_read_where_that_is_safe():
    over = graph_of_module(Says(lambda m, x: F.relu(m.w(x), inplace=True) + x), torch.randn(2, 4))
    assert "add1 = add(activation1, x)" in over.equation

    def twice(m, x):
        y = m.w(x)
        y.relu_()
        return y * y

    assert (
        "relu(linear1); activation2 = square(activation1)"
        in graph_of_module(Says(twice), torch.randn(2, 4)).equation
    )


def test_two_inputs_are_refused_and_so_is_a_module_that_cannot_be_exported():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Two(), (torch.ones(2, 3), torch.ones(2, 3)))
        content = io.BytesIO()
        torch.export.save(program, content)
    with pytest.raises(InputError, match="expected one tensor as input, but got 2"):
        parse(content.getvalue(), "here")

    class Branches(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    module = Branches().train()
    with pytest.raises(InputError, match="Branches: expected a module that torch can export"):
        graph_of_module(module, torch.ones(2, 3))
    assert module.training


def test_half_precision_is_read_exactly(tmp_path):
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(torch.bfloat16)
    (tmp_path / "m.pt2").write_bytes(saved(module, torch.ones(2, 3, dtype=torch.bfloat16)))
    bag = read(tmp_path / "m.pt2")
    assert isinstance(bag.network, Graph)
    wanted = module[0].weight.detach().double().numpy()
    assert np.array_equal(bag.network.stored["linear1.weight"], wanted)


def test_the_axis_of_a_single_output_may_be_removed():
    module = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0))
    module[3].forward = lambda x: x.squeeze(-1)
    network = graph_of_module(module, torch.rand(2, 3))
    assert isinstance(network, TwoLayer)
    assert network.notes == ()
    assert isinstance(graph_of_module(nn.Sequential(*module[:2], nn.Unflatten(1, (5, 1))),
                                      torch.rand(2, 3)), Graph)  # fmt: skip


SPELLED = {
    "square": ("square(x)", [lambda x: x * x, lambda x: x**2, torch.square]),
    "cubic gelu": ("gelu_tanh(x)", [
        lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))]),
    "maximum": ("max_pool(x", [
        lambda x: F.adaptive_max_pool1d(x, 1), lambda x: F.max_pool1d(x, 5)]),
    "uneven mean": ("adaptive_average_pool(x, size=(3,))", [lambda x: F.adaptive_avg_pool1d(x, 3)]),
    "uneven maximum": ("adaptive_max_pool(x, size=(3,))", [lambda x: F.adaptive_max_pool1d(x, 3)]),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLED)
def test_one_function_spelled_in_several_ways_is_one_graph(name):
    words, functions = SPELLED[name]

    class Plain(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function(x)

    found = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for function in functions:
            program = torch.export.export(Plain(function), (torch.rand(2, 3, 5),))
            for each in (program, program.run_decompositions()):
                content = io.BytesIO()
                torch.export.save(each, content)
                found.add(parse(content.getvalue(), "here").equation)
    (equation,) = found
    assert words in equation
