"""Each published layout on a state dict with its real names: W is what that code's forward applies.

The references below repeat the forward passes in torch's row convention (z has one sample a row).
"""

from fractions import Fraction

import numpy as np
import pytest
import torch

from verify.errors import InputError, SettingsError
from verify.network import (
    AffineInput,
    BoxMonotoneWeight,
    LowRankRowScaledWeight,
    MonotoneWeight,
    NonEuclideanWeight,
    OpaqueInput,
    PlainWeight,
    ReluFeatureInput,
    RowNormalisedWeight,
    RowScaledWeight,
    ScaledGaussianWeight,
    SoftplusMonotoneWeight,
    UpperTriangularWeight,
)
from verify.readers import read_network
from verify_kernels.state_weight import enclose_state_weight

N, D, Q, R = 4, 3, 2, 2
RELU = {"activation": "relu"}


def randn(*shape):
    g = torch.Generator().manual_seed(sum(shape) + 17 * len(shape))
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def load(tmp_path, state, **named):
    settings = {f"well-posedness.{k}": v for k, v in named.pop("constants", {}).items()}
    torch.save(state, tmp_path / "m.pt")
    return read_network(tmp_path / "m.pt", settings=settings, **named)


def assert_matrix(network, forward):
    """The matrix read equals what the forward pass applies to the unit vectors."""
    expected = forward(torch.eye(N, dtype=torch.float64)).T.numpy()
    found = enclose_state_weight(network.weight).mid
    # The reference itself is computed in floating point; 1e-12 tells layouts apart, no more.
    assert np.allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert not np.allclose(found, expected.T, rtol=1e-6, atol=1e-6)


def mondeq(prefix="mon.linear_module."):
    return {
        f"{prefix}U.weight": randn(N, D), f"{prefix}U.bias": randn(N),
        f"{prefix}A.weight": randn(N, N), f"{prefix}B.weight": randn(N, N),
        "Wout.weight": randn(Q, N), "Wout.bias": randn(Q),
    }  # fmt: skip


@pytest.mark.parametrize("module", ["", "module.", "net.module."])
def test_mondeq(tmp_path, module):
    state = {module + name: tensor for name, tensor in mondeq().items()}
    loaded = load(tmp_path, state, **RELU, constants={"m": "0.1"})
    A, B = (state[f"{module}mon.linear_module.{k}.weight"] for k in "AB")
    network = loaded.network
    assert isinstance(network.weight, MonotoneWeight)
    assert network.weight.m == Fraction(1, 10)
    assert_matrix(network, lambda z: 0.9 * z - (z @ A.T) @ A + z @ B.T - z @ B)
    assert isinstance(network.input, AffineInput)
    assert np.array_equal(network.input.U, state[f"{module}mon.linear_module.U.weight"].numpy())
    assert np.array_equal(network.input.bias, state[f"{module}mon.linear_module.U.bias"].numpy())
    assert set(network.readout) == {f"{module}Wout.weight", f"{module}Wout.bias"}
    assert loaded.declared["family"] == "mondeq"
    assert not any(note.startswith("not used") for note in network.notes)


def test_mondeq_quant(tmp_path):
    core = {"A": randn(R, N), "S": randn(N, N), "m_raw": torch.tensor(-0.3, dtype=torch.float64),
            "U": randn(N, D), "b": randn(N)}  # fmt: skip
    state = {f"mon.core.{k}": v for k, v in core.items()} | {"classifier.weight": randn(Q, N)}
    network = load(tmp_path, state, **RELU).network
    m = torch.nn.functional.softplus(core["m_raw"]) + 1e-4
    A, S = core["A"], core["S"]
    assert isinstance(network.weight, SoftplusMonotoneWeight)
    assert_matrix(network, lambda z: (1 - m) * z - (z @ A.T) @ A + z @ S.T - z @ S)
    assert np.array_equal(network.input.bias, core["b"].numpy())


def test_nemon(tmp_path):
    prefix = "mon.linear_module."
    state = {f"{prefix}U.weight": randn(N, D), f"{prefix}U.bias": randn(N),
             f"{prefix}A.weight": randn(N, N), f"{prefix}d": randn(N),
             "Wout.weight": randn(Q, N), "Wout.bias": randn(Q)}  # fmt: skip
    network = load(tmp_path, state, **RELU, constants={"m": "0.05"}).network
    A, scale = state[f"{prefix}A.weight"], torch.exp(state[f"{prefix}d"])
    assert isinstance(network.weight, NonEuclideanWeight)

    def forward(z):
        inner = z * scale
        return (inner @ A.T - inner * A.abs().sum(dim=1) + 0.05 * inner) / scale

    assert_matrix(network, forward)


def ibp_state(prefix, lben=True, tail=True):
    state = {f"{prefix}U.M.weight": randn(N, D), f"{prefix}U.M.bias": randn(N),
             f"{prefix}M.weight": randn(N, N), f"{prefix}M.bias": randn(N),
             "Wout.weight": randn(Q, N), "Wout.bias": randn(Q)}  # fmt: skip
    if lben:
        state[f"{prefix}lben_p"] = randn(N)
    if tail:
        state |= {f"{prefix}bn_U_module.{k}": randn(N).abs()
                  for k in ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
        state[f"{prefix}bn_U_module.num_batches_tracked"] = torch.tensor(7)
        state[f"{prefix}U_post_act_bias"] = randn(1, N)
    return state


@pytest.mark.parametrize("lben", [True, False])
def test_ibp_mondeq(tmp_path, lben):
    prefix = "layers.layers.1.linear_module."
    state = ibp_state(prefix, lben)
    constants = {"m": "0.5", "c": "3"} if lben else {"m": "0.5"}
    network = load(tmp_path, state, **RELU, constants=constants).network
    M = state[f"{prefix}M.weight"]
    diagonal = (M.abs().sum(1) + M.abs().sum(0)) / 2 / (1 - 0.5) + 1e-8
    root = 1 / diagonal.sqrt()
    scale = torch.ones(N, dtype=torch.float64)
    if lben:
        scale = (1 - 1 / 3) * torch.sigmoid(state[f"{prefix}lben_p"]) + 1 / 3
    assert isinstance(network.weight, BoxMonotoneWeight)
    assert_matrix(network, lambda z: (root * ((root * (scale * z)) @ M.T)) / scale)
    assert isinstance(network.input, OpaqueInput)
    assert "bn_U_module.running_var" in network.input.tensors()
    assert set(network.readout) == {"Wout.weight", "Wout.bias"}


def test_ibp_mondeq_without_batch_norm_has_an_affine_input(tmp_path):
    state = ibp_state("layers.layers.1.linear_module.", tail=False)
    network = load(tmp_path, state, **RELU, constants={"m": "1/2", "c": "3"}).network
    assert isinstance(network.input, AffineInput)


def idl(p=D):
    return {"A": randn(N, N), "B": randn(N, p), "C": randn(Q, N), "D": randn(Q, p)}


def test_idl(tmp_path):
    state = idl()
    network = load(tmp_path, state, family="idl", **RELU, constants={"bias_column": "no"}).network
    assert isinstance(network.weight, PlainWeight)
    assert_matrix(network, lambda z: z @ state["A"].T)
    assert network.input.U.shape == (N, D)
    assert not network.input.bias.any()
    assert any("saved before a projection" in note for note in network.notes)


def test_idl_projected_file_has_no_warning(tmp_path):
    state = idl()
    state["A"] = 0.9 * state["A"] / state["A"].abs().sum(dim=1, keepdim=True)
    network = load(tmp_path, state, family="idl", **RELU, constants={"bias_column": "no"}).network
    assert not any("saved before a projection" in note for note in network.notes)


def test_idl_bias_column(tmp_path):
    state = idl(p=D + 1)
    network = load(tmp_path, state, family="idl", **RELU, constants={"bias_column": "yes"}).network
    assert np.array_equal(network.input.U, state["B"][:, :-1].numpy())
    assert np.array_equal(network.input.bias, state["B"][:, -1].numpy())
    with pytest.raises(SettingsError, match=r"--set well-posedness.bias_column=no"):
        load(tmp_path, state, family="idl", **RELU)


def test_torchidl_takes_the_scaled_matrix(tmp_path):
    state = idl()
    named = {"kappa": "0.99", "bias_column": "no"}
    network = load(tmp_path, state, family="torchidl", **RELU, constants=named).network
    factor = min(1.0, 0.99 / float(state["A"].abs().sum(dim=1).max()))
    assert factor < 1
    assert isinstance(network.weight, RowScaledWeight)
    assert_matrix(network, lambda z: factor * (z @ state["A"].T))


def test_torchidl_low_rank(tmp_path):
    state = {"L": 3 * randn(N, R), "R": 2 * randn(N, R).flip(0), "B": randn(N, D), "C": randn(Q, N)}
    named = {"kappa": "0.99", "bias_column": "no"}
    network = load(tmp_path, state, family="torchidl", **RELU, constants=named).network
    assert isinstance(network.weight, LowRankRowScaledWeight)

    def scaled(X):
        return X * min(1.0, 0.99 / float(X.abs().sum(dim=1).max()))

    W = scaled(scaled(state["L"]) @ scaled(state["R"].T))
    assert_matrix(network, lambda z: z @ W.T)


def test_torchidl_triangular(tmp_path):
    state = idl()
    named = {"bias_column": "no"}
    network = load(tmp_path, state, family="torchidl-triu", **RELU, constants=named).network
    assert isinstance(network.weight, UpperTriangularWeight)
    assert_matrix(network, lambda z: z @ torch.triu(state["A"], diagonal=1).T)


@pytest.mark.parametrize("modern", [False, True])
def test_pcdeq(tmp_path, modern):
    g, v = randn(N, 1).abs(), randn(N, N).abs()
    names = ("parametrizations.weight.original0", "parametrizations.weight.original1")
    g_name, v_name = names if modern else ("weight_g", "weight_v")
    state = {f"block.deq.f.W.{g_name}": g, f"block.deq.f.W.{v_name}": v,
             "linear1.weight": randn(N, D), "bn1.running_mean": randn(N),
             "bn1.num_batches_tracked": torch.tensor(3),
             "classifier.weight": randn(Q, N)}  # fmt: skip
    network = load(tmp_path, state, activation="tanh").network
    assert isinstance(network.weight, RowNormalisedWeight)
    assert_matrix(network, lambda z: z @ (g * v / v.norm(dim=1, keepdim=True)).T)
    assert isinstance(network.input, OpaqueInput)
    assert any("all entries of W are >= 0" in note for note in network.notes)
    state[f"block.deq.f.W.{v_name}"] = -v
    network = load(tmp_path, state, activation="tanh").network
    assert any("some entries of W are negative" in note for note in network.notes)


@pytest.mark.parametrize("names", [("W_v", "W_g"), ("W.weight_v", "W.weight_g")])
def test_plain_weight_normalisation(tmp_path, names):
    v, g = randn(N, N), randn(N, 1)
    state = {names[0]: v, names[1]: g, "U": randn(N, D)}
    network = load(tmp_path, state, family="equilibrium", **RELU).network
    assert_matrix(network, lambda z: z @ (g * v / v.norm(dim=1, keepdim=True)).T)


def test_implicit_relu(tmp_path):
    state = {"A": randn(N, N), "W": randn(N, D), "u": randn(N), "v": randn(N)}
    network = load(tmp_path, state, family="implicit-relu", constants={"gamma": "1/2"}).network
    assert isinstance(network.weight, ScaledGaussianWeight)
    assert isinstance(network.input, ReluFeatureInput)
    assert network.activation.name == "relu"
    assert_matrix(network, lambda z: 0.5 / N**0.5 * (z @ state["A"].T))
    assert np.array_equal(network.input.V, state["W"].numpy())
    assert set(network.readout) == {"u", "v"}
    with pytest.raises(SettingsError, match="expected relu, which the family implicit-relu means"):
        load(tmp_path, state, family="implicit-relu", activation="tanh", constants={"gamma": "1"})


PLAIN_CASES = [
    ({"W": (N, N), "U": (N, D), "b": (N,)}, (N, D), True),
    ({"A": (N, N), "B": (N, D), "bias": (N,)}, (N, D), True),
    ({"W": (N, N), "U": (N, D)}, (N, D), False),
    ({"W.weight": (N, N), "U.weight": (N, D), "U.bias": (N,)}, (N, D), True),
    ({"W": (N, N)}, None, False),
    ({"W": (N, N), "b": (N, 1)}, None, True),
]


@pytest.mark.parametrize(("shapes", "dimension", "has_bias"), PLAIN_CASES)
def test_plain(tmp_path, shapes, dimension, has_bias):
    state = {name: randn(*shape) for name, shape in shapes.items()}
    network = load(tmp_path, state, family="equilibrium", **RELU).network
    assert np.array_equal(network.weight.W, next(iter(state.values())).numpy())
    if dimension is None:
        assert network.input is None
        assert set(network.readout) == ({"bias"} if has_bias else set())
    else:
        assert network.input.U.shape == dimension
        assert bool(network.input.bias.any()) is has_bias


WRONG = [
    ({"W": (N, D)}, r"expected 'W' to be square, but got \(4, 3\)"),
    ({"W": (N, N), "A": (N, N)}, "expected exactly one of .* but got 'W' and 'A'"),
    ({"W": (N, N), "U": (D, N)}, r"expected 'U' of shape \(4, any\), but got \(3, 4\)"),
    ({"W": (N, N), "U": (N, D), "B": (N, D)}, "but got 'U' and 'B'"),
    ({"W": (N, N), "b": (D,)}, r"expected 'b' of shape \(4,\), but got \(3,\)"),
    ({"W": (N, N), "b": (N,), "U.bias": (N,)}, "but got 'b' and 'U.bias'"),
    ({"V": (N, N)}, "expected the tensors of equilibrium"),
    ({"W": (N, N, 3, 3)}, "convolutional layers are not covered yet"),
]


@pytest.mark.parametrize(("shapes", "message"), WRONG)
def test_plain_with_wrong_tensors(tmp_path, shapes, message):
    state = {name: randn(*shape) for name, shape in shapes.items()}
    with pytest.raises(InputError, match=message):
        load(tmp_path, state, family="equilibrium", **RELU)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_named(tmp_path, value):
    W = torch.eye(3)
    W[1, 2] = value
    with pytest.raises(InputError, match=rf"tensor 'W': expected finite .* {value!r} at \[1, 2\]"):
        load(tmp_path, {"W": W}, family="equilibrium", **RELU)


MISSING = [
    ("mondeq", mondeq(), "m"),
    ("nemon", {"linear_module.A.weight": randn(N, N), "linear_module.d": randn(N),
               "linear_module.U.weight": randn(N, D)}, "m"),
    ("ibp-mondeq", ibp_state("x.linear_module."), "m"),
    ("torchidl", idl(), "kappa"),
    ("idl", idl(), "bias_column"),
    ("implicit-relu", {"A": randn(N, N), "W": randn(N, D)}, "gamma"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "state", "name"), MISSING)
def test_a_missing_constant_is_one_sentence_with_its_flag(tmp_path, family, state, name):
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, state, family=family, **RELU)
    assert f"--set well-posedness.{name}=" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_activation_is_one_sentence_with_its_flag(tmp_path):
    with pytest.raises(SettingsError, match=r"--activation: .* --activation relu$"):
        load(tmp_path, mondeq(), constants={"m": "1"})


def test_missing_condition_number(tmp_path):
    with pytest.raises(SettingsError, match=r"well-posedness\.c=3"):
        load(tmp_path, ibp_state("linear_module."), **RELU, constants={"m": "1/2"})


def test_a_constant_of_another_layout_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="expected no such constant for the layout equilibrium"):
        load(tmp_path, {"W": randn(N, N)}, family="equilibrium", **RELU, constants={"m": "1"})


def test_undeclared_plain_names_are_never_guessed(tmp_path):
    with pytest.raises(InputError) as caught:
        load(tmp_path, idl(), **RELU)
    text = str(caught.value)
    assert "A [4, 4] float64, B [4, 3] float64, C [2, 4] float64, D [2, 3] float64" in text
    assert "equilibrium, idl, torchidl, torchidl-triu" in text
    assert "--family equilibrium --activation relu" in text
    assert "\n" not in text


def test_own_layers_by_the_names_of_mondeq_are_not_guessed(tmp_path):
    with pytest.raises(InputError, match="expected a declared family"):
        load(tmp_path, mondeq(prefix=""), **RELU, constants={"m": "1"})


def conv(*shape):
    return torch.zeros(shape)


NOT_COVERED = [
    {"mon.linear_module.U.weight": conv(8, 1, 3, 3), "mon.linear_module.A.weight": conv(8, 8, 3, 3),
     "mon.linear_module.B.weight": conv(8, 8, 3, 3), "mon.linear_module.g": conv(1),
     "mon.linear_module.h": conv(1)},
    {"mon.linear_module.A0.0": conv(8, 8, 3, 3), "mon.linear_module.B0.0": conv(8, 8, 3, 3),
     "mon.linear_module.A_n0.0": conv(8, 8, 3, 3)},
    {"conv_d1.weight": conv(8, 1, 3, 3), "latent_convs.0.0.weight": conv(8, 8, 3, 3),
     "lat_batch_norm.0.weight": conv(8), "conv_y.weight": conv(8, 8, 3, 3),
     "fc_y.weight": conv(2, 8)},
    {"mon.linear_module.U.weight": conv(8, 1, 3, 3),
     "mon.linear_module.A.weight": conv(8, 8, 5, 5), "mon.linear_module.g": conv(1)},
    {"f.lin_orig": conv(4, 4), "f.lin_u": conv(4), "f.lin_v": conv(4)},
]  # fmt: skip


@pytest.mark.parametrize("state", NOT_COVERED)
def test_recognised_and_named_as_not_covered(tmp_path, state):
    with pytest.raises(InputError, match="which is not covered yet") as caught:
        load(tmp_path, {"T_state_dict": state}, **RELU)
    assert "\n" not in str(caught.value)


def test_convolutional_kernels_in_fully_connected_names(tmp_path):
    state = {"mon.linear_module.U.weight": conv(8, 1, 3, 3),
             "mon.linear_module.A.weight": conv(8, 8, 5, 5),
             "mon.linear_module.d": conv(8)}  # fmt: skip
    with pytest.raises(InputError, match="convolutional layers are not covered yet"):
        load(tmp_path, state, **RELU, constants={"m": "1"})


def test_two_layers_need_a_key(tmp_path):
    state = mondeq("first.linear_module.") | mondeq("second.linear_module.")
    with pytest.raises(InputError, match="expected one layer of mondeq, but got 2"):
        load(tmp_path, state, **RELU, constants={"m": "1"})
    loaded = load(tmp_path, state, **RELU, constants={"m": "1"}, key="second")
    assert loaded.declared["key"] == "second"


PLAIN = {"family": "equilibrium", "activation": "relu"}


@pytest.mark.parametrize("name", ["W", "W.weight", "deq.f.W.weight"])
def test_weight_normalisation_of_columns_is_refused(tmp_path, name):
    """A factor a column, (1, n), is another W than a factor a row."""
    v, g = f"{name}_v", f"{name}_g"
    family = {"activation": "tanh"} if v.startswith("deq") else PLAIN
    with pytest.raises(InputError, match=r"one factor a row, of shape \(4, 1\), but got \(1, 4\)"):
        load(tmp_path, {v: randn(N, N), g: randn(1, N)}, **family)


PARAMETRISED = [
    {"W.weight": randn(N, N), "W.weight_orig": randn(N, N)},
    {"W.weight": randn(N, N), "W.weight_mask": randn(N, N)},
    {"W.weight": randn(N, N), "W.parametrizations.weight.original": randn(N, N)},
    {"W": randn(N, N), "W_v": randn(N, N)},
    {"W": randn(N, N), "U.weight_g": randn(N, 1), "U.weight_v": randn(N, D)},
    {"W": randn(N, N), "U.parametrizations.weight.original": randn(N, D), "U.bias": randn(N)},
    {
        "W.parametrizations.weight.original0": randn(N, 1),
        "W.parametrizations.weight.original1": randn(N, N),
        "W.parametrizations.weight.1._u": randn(N),
    },
]


@pytest.mark.parametrize("state", PARAMETRISED)
def test_parametrisations_that_are_not_read_are_refused(tmp_path, state):
    with pytest.raises(InputError, match="part of a parametrisation that is not read"):
        load(tmp_path, state, **PLAIN)


def test_a_parametrised_pcdeq_is_not_hidden_in_its_input(tmp_path):
    state = {"deq.f.W.weight_v": randn(N, N), "deq.f.W.weight_g": randn(N, 1),
             "deq.f.W.parametrizations.weight.1._u": randn(N)}  # fmt: skip
    with pytest.raises(InputError, match="part of a parametrisation that is not read"):
        load(tmp_path, state, activation="tanh")


def test_a_parametrised_readout_does_not_matter(tmp_path):
    state = {"W": randn(N, N), "Wout.weight_v": randn(Q, N), "Wout.weight_g": randn(Q, 1)}
    assert load(tmp_path, state, **PLAIN).network.notes[-1].startswith("not used: Wout.weight_g")


@pytest.mark.parametrize("bias", [[1.0, 2.0, 3.0, 4.0], 0.5, (1,), object])
def test_a_bias_that_is_no_tensor_is_not_taken_for_none(tmp_path, bias):
    """Read as absent, b(x) = U x would be another input map."""
    value = Fraction(1, 2) if bias is object else bias
    with pytest.raises(InputError, match="'b'"):
        load(tmp_path, {"W": randn(N, N), "U": randn(N, D), "b": value}, **PLAIN)


def test_tensors_of_other_groups_are_listed(tmp_path):
    state = {"w": {"W": randn(N, N), "U": randn(N, D)}, "rest": {"b": randn(N)}}
    assert load(tmp_path, state, **PLAIN).network.notes[-1] == "not used: rest.b"


def test_a_network_without_coordinates_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least one coordinate"):
        load(tmp_path, {"W": torch.zeros(0, 0)}, **PLAIN)
