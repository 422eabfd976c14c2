"""The table [model] in verify.toml, and fully connected networks from tensors alone."""

import numpy as np
import pytest

from verify.errors import InputError, SettingsError
from verify.network import Data, Feedforward, TwoLayer
from verify.readers import read_data, read_network
from verify.readers.assembly import check_data_fits
from verify.readers.model_table import DecimalText, read_table
from verify.readers.tensors import sources, stored

RNG = np.random.default_rng(5)
W1, W2, W3 = RNG.normal(size=(3, 4)), RNG.normal(size=(5, 3)), RNG.normal(size=(2, 5))
B1, B2, B3 = RNG.normal(size=3), RNG.normal(size=5), RNG.normal(size=2)
CHAIN = {"W1": W1, "b1": B1, "W2": W2, "b2": B2, "W3": W3, "b3": B3}
ADVICE = r"\.pt2 or \.onnx, or declare its class in verify\.toml as \[model\] class"


def save(folder, **arrays):
    np.savez(folder / "w.npz", **arrays)
    return folder / "w.npz"


def table(folder, text):
    (folder / "verify.toml").write_text(text)


def test_arrays_in_order_are_a_fully_connected_network(tmp_path):
    loaded = read_network(save(tmp_path, **CHAIN), family="feedforward", activation="relu")
    network = loaded.network
    assert isinstance(network, Feedforward)
    assert network.equation == ("h1 = relu(W1 x + b1); h2 = relu(W2 h1 + b2); f(x) = W3 h2 + b3")
    assert network.notes == ()
    assert all(np.array_equal(network.tensors()[name], CHAIN[name]) for name in CHAIN)


def test_one_activation_for_each_hidden_layer(tmp_path):
    file = save(tmp_path, **{name: CHAIN[name] for name in ("W1", "b1", "W2", "W3")})
    table(tmp_path, "family = 'feedforward'\n[model]\nactivations = ['relu', 'softplus(100)']")
    network = read_network(file).network
    assert network.equation == "h1 = relu(W1 x + b1); h2 = softplus(100)(W2 h1); f(x) = W3 h2"
    with pytest.raises(SettingsError, match="from one place"):
        read_network(file, activation="tanh")
    table(tmp_path, "family = 'feedforward'\n[files.'w.npz'.model]\nactivations = ['relu']")
    with pytest.raises(SettingsError, match=r"activations of 2 hidden layers.*but got 1"):
        read_network(file)


def test_activations_of_the_table_declare_the_family(tmp_path):
    file = save(tmp_path, **CHAIN)
    table(tmp_path, "[model]\nactivations = ['relu', 'tanh']")
    assert read_network(file).network.equation.startswith("h1 = relu(W1 x + b1); h2 = tanh")
    table(tmp_path, "family = 'equilibrium'\n[model]\nactivations = ['relu', 'tanh']")
    with pytest.raises(InputError, match="expected the tensors of equilibrium"):
        read_network(file)


@pytest.mark.parametrize("more", [(8, 4, 3, 3), (8,)])
def test_layers_that_are_not_linear_are_not_advised_to_be_a_chain(tmp_path, more):
    file = save(tmp_path, **{"a.weight": W1, "b.weight": W2, "c.weight": np.ones(more)})
    with pytest.raises(InputError, match=f"not the tensors of linear layers alone; .*{ADVICE}"):
        read_network(file)


def test_activations_are_required_and_belong_to_this_family(tmp_path):
    with pytest.raises(SettingsError, match=r"--activation relu, or in verify.toml \[model\]"):
        read_network(save(tmp_path, **CHAIN), family="feedforward")
    table(tmp_path, "[model]\nactivations = ['relu']")
    file = save(tmp_path, W=np.eye(2), a=np.ones(2))
    with pytest.raises(SettingsError, match="expected the family feedforward, but got two-layer"):
        read_network(file, family="two-layer", activation="relu")


def linear(**shapes):
    return {f"{name.replace('_', '.')}.weight": np.ones(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("arrays", "widths"),
    [
        (linear(net_10=(2, 5), net_2=(5, 3), net_0=(3, 4)), [3, 5, 2]),
        (linear(fc1=(3, 3), fc2=(3, 3), out=(2, 3)), [3, 3, 2]),
        (linear(out=(2, 5), inner=(3, 4), middle=(5, 3)), [3, 5, 2]),
    ],
)
def test_layers_of_a_state_dict_are_ordered_by_number_and_shape(tmp_path, arrays, widths):
    found = read_network(save(tmp_path, **arrays), family="feedforward", activation="tanh")
    assert [len(weight) for weight in found.network.weights] == widths


@pytest.mark.parametrize(
    "arrays",
    [
        {**CHAIN, "W2": np.ones((5, 4))},
        {**CHAIN, "extra": np.ones(2)},
        linear(a=(3, 3), b=(3, 3)),
        linear(fc1=(3, 4), fc2=(5, 2)),
        linear(fc1=(3, 4)) | {"conv.weight": np.ones((2, 1, 3, 3))},
        linear(fc1=(3, 4), fc2=(2, 3)) | {"bn.running_mean": np.ones(3)},
        linear(fc1=(3, 4), fc2=(2, 3)) | {"bn.weight": np.ones(3), "bn.bias": np.ones(3)},
        linear(fc1=(3, 4), fc2=(2, 3)) | {"fc1.weight_mask": np.ones((3, 4))},
        linear(fc1=(3, 4), fc2=(2, 3)) | {"fc1.parametrizations.weight.0": np.ones(3)},
    ],
)
def test_what_is_no_chain_of_linear_layers_is_refused(tmp_path, arrays):
    with pytest.raises(InputError, match=f"feedforward: expected .*but got.*{ADVICE}"):
        read_network(save(tmp_path, **arrays), family="feedforward", activation="relu")


def test_a_part_of_a_larger_state_dict(tmp_path):
    arrays = linear(head_0=(3, 4), head_2=(2, 3), encoder_0=(7, 9), encoder_1=(5, 9))
    file = save(tmp_path, **arrays)
    network = read_network(file, family="feedforward", activation="relu", key="head").network
    assert network.dimension == 4
    with pytest.raises(InputError, match=ADVICE):
        read_network(file, family="feedforward", activation="relu")


def test_many_equal_layers_end_quickly(tmp_path):
    arrays = linear(**{f"{chr(97 + k // 26)}{chr(97 + k % 26)}": (2, 2) for k in range(100)})
    with pytest.raises(InputError, match=ADVICE):
        read_network(save(tmp_path, **arrays), family="feedforward", activation="relu")


def test_one_output_is_the_narrower_family_and_data_are_found(tmp_path):
    file = save(tmp_path, W1=W1, b1=B1, W2=np.ones((1, 3)), X=np.ones((6, 4)), y=np.ones(6))
    loaded = read_network(file, family="feedforward", activation="relu")
    assert isinstance(loaded.network, TwoLayer)
    assert loaded.data.n == 6


def test_stored_numbers_under_two_names_are_one_tensor():
    flat = np.arange(20.0)
    square = flat[:16].reshape(4, 4)
    names = {"a": square, "b": flat[16:], "c": square.T, "d": square[1:], "e": np.arange(3.0)}
    found = sources({name: stored(values) for name, values in names.items()})
    assert found == {"a": "a", "b": "b", "c": "a", "d": "a", "e": "e"}
    even, odd = flat[::2], flat[1::2]
    assert sources({"even": stored(even), "odd": stored(odd)}) == {"even": "even", "odd": "odd"}


def test_ties_of_a_state_dict(tmp_path):
    torch = pytest.importorskip("torch")
    first, second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    second.weight = first.weight
    module = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(),
                                 torch.nn.Linear(3, 2))  # fmt: skip
    torch.save(module.state_dict(), tmp_path / "m.pt")
    found = read_network(tmp_path / "m.pt", family="feedforward", activation="relu").network
    assert found.ties == (("W1", "W2"),)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"class": "os:system", "input": [1], "shell": 1}, "expected class, arguments"),
        ({"class": "os.system", "input": [1]}, "as in 'package.module:Net'"),
        ({"class": "a:b;c", "input": [1]}, "as in 'package.module:Net'"),
        ({"class": 3, "input": [1]}, "as in 'package.module:Net'"),
        ({"class": "a:b"}, "expected class with input"),
        ({"class": "a:b", "input": [0]}, "expected sizes"),
        ({"class": "a:b", "input": [2**40]}, "expected sizes"),
        ({"class": "a:b", "input": [True]}, "expected sizes"),
        ({"class": "a:b", "input": [1], "activations": ["relu"]}, "either class or activations"),
        ({"activations": ["relu"], "input": [1]}, "expected class with input"),
        ({"activations": "relu"}, "expected names"),
        ({"class": "a:b", "input": [1], "arguments": [1]}, "expected a table"),
        ({"class": "a:b", "input": [1], "arguments": {"x": object()}}, "expected texts, numbers"),
        ({}, "either class or activations"),
        (3, "but got int"),
    ],
)
def test_malformed_tables(given, told):
    with pytest.raises(SettingsError, match=told):
        read_table(given, "here")


def test_plain_values_become_arguments():
    given = {"p": DecimalText("0.1"), "n": 3, "on": True, "l": ["a", DecimalText("1e-3")], "t": {}}
    found = read_table({"class": "a.b:C.D", "input": [1, 8, 8], "arguments": given}, "here")
    assert found.arguments == {"p": 0.1, "n": 3, "on": True, "l": ["a", 0.001], "t": {}}
    assert not isinstance(found.arguments["p"], str)


def test_a_model_file_cannot_name_code(tmp_path):
    file = save(tmp_path, **CHAIN, verify='{"model": {"class": "os:system", "input": [1]}}')
    with pytest.raises(SettingsError, match="but got 'model'"):
        read_network(file, trust=True)


def test_samples_of_any_shape_are_read_and_compared_by_their_entries(tmp_path):
    np.savez(tmp_path / "x.npz", X=np.ones((5, 1, 2, 2)), y=np.ones(5))
    data = read_data(tmp_path / "x.npz")
    assert data.X.shape == (5, 1, 2, 2)
    wide = read_network(save(tmp_path, **CHAIN), family="feedforward", activation="relu").network
    check_data_fits(wide, data, "here")
    with pytest.raises(InputError, match=r"X of shape \(n, 4\)"):
        check_data_fits(wide, Data(np.ones((5, 3))), "here")
    narrow = read_network(
        save(tmp_path, W=W1, a=np.ones(3)), family="two-layer", activation="relu"
    ).network
    with pytest.raises(InputError, match="flatten each sample to one row"):
        check_data_fits(narrow, data, "here")


@pytest.mark.parametrize(
    "table", [{"class": "a:B", "input": [16**5000]}, {"class": [16**5000], "input": [4]},
              {"class": "a:B", "input": [4], "arguments": {"k": 16**5000}},
              {"class": "a:B", "input": [2**20, 2**20]}]
)  # fmt: skip
def test_numbers_that_nobody_can_print_or_hold_are_refused(table):
    """TOML has numbers of any length in base 16, and Python prints none of 5000 digits."""
    with pytest.raises(SettingsError, match="expected") as caught:
        read_table(table, "verify.toml")
    assert len(str(caught.value)) < 400


def test_more_layers_than_can_be_put_in_order_are_refused(tmp_path):
    layers = {f"l{k}.weight": np.eye(1) for k in range(1_001)}
    with pytest.raises(InputError, match="at most 1000 layers, but got 1001"):
        read_network(save(tmp_path, **layers), family="feedforward", activation="relu")


def test_layers_of_one_name_go_by_their_numbers(tmp_path):
    layers = {f"l{k}.weight": np.eye(2) * k for k in (10, 9, 1, 2)}
    network = read_network(
        save(tmp_path, **layers), family="feedforward", activation="relu"
    ).network
    assert [weight[0, 0] for weight in network.weights] == [1, 2, 9, 10]
