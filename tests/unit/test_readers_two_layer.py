"""Two-layer networks from files: layouts, exactness, formats, and one clear error each."""

import json
import warnings

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from verify.engine import check
from verify.errors import InputError, SettingsError, VerifyError
from verify.network import Activation, Data, TwoLayer
from verify.readers import read_network
from verify.readers.assembly import assemble, check_data_fits
from verify.readers.declaration import from_flags
from verify.readers.tensors import StoredTensor, TensorBag, stored

TWO = {"family": "two-layer", "activation": "tanh"}
W = np.array([[0.5, -0.25, 1.0], [2.0**-1074, 1e308, -0.0]])
A = np.array([1.5, -3.0])


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def built(arrays, **flags):
    bag = TensorBag({"": {name: stored(np.asarray(array)) for name, array in arrays.items()}})
    given = TWO | flags
    declared = from_flags(given["family"], given["activation"], {}, given.get("key"))
    return assemble(bag, declared, "the given arrays")


def bits(array):
    return np.asarray(array, np.float64).view(np.int64).tolist()


# --- plain arrays --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (2, 1), (1, 2)])
def test_plain_arrays(tmp_path, shape):
    loaded = read_network(npz(tmp_path / "a.npz", W=W, a=A.reshape(shape)), **TWO)
    network = loaded.network
    assert isinstance(network, TwoLayer)
    assert bits(network.W) == bits(W)
    assert bits(network.a) == bits(A)
    assert (network.b, network.c, network.width, network.dimension) == (None, None, 2, 3)
    assert network.equation == "u(x) = a . tanh(W x)"
    assert network.family == loaded.declared["family"] == "two-layer"
    assert network.notes[0].startswith("read as two-layer: W (p, d) and a (p,)")


@pytest.mark.parametrize("c", [2.5, [2.5], [[2.5]]])
def test_biases(c):
    network = built({"W": W, "a": A, "b": [[1.0], [2.0]], "c": c}).network
    assert network.b.tolist() == [1, 2]
    assert network.c.tolist() == [2.5]
    assert network.equation == "u(x) = a . tanh(W x + b) + c"
    assert list(network.tensors()) == ["W", "a", "b", "c"]


def test_a_bias_of_zeros_is_a_bias():
    assert built({"W": W, "a": A, "b": np.zeros(2)}).network.b.tolist() == [0, 0]


def test_samples_stored_beside_the_weights():
    found = built({"W": W, "a": A, "X": np.ones((4, 3)), "y": np.ones((4, 1)), "step": 7})
    assert found.data.X.shape == (4, 3)
    assert found.data.y.shape == (4, 1)


def test_an_activation_of_the_users_own(tmp_path):
    network = read_network(npz(tmp_path / "a.npz", W=W, a=A), family="two-layer",
                           activation="log(1+exp(z))").network  # fmt: skip
    assert network.activation == Activation.parse("log(1+exp(z))")
    assert network.equation == "u(x) = a . sigma(W x), sigma(z) = log(1+exp(z))"


# --- state dicts ---------------------------------------------------------------------------------


def linear(names, p=4, d=3, bias=(True, True), k=1):
    inner, outer = torch.nn.Linear(d, p, bias=bias[0]), torch.nn.Linear(p, k, bias=bias[1])
    return {
        f"{name}.{key}": tensor.detach()
        for name, layer in zip(names, (inner, outer), strict=True)
        for key, tensor in layer.state_dict().items()
    }


@pytest.mark.parametrize(
    "names",
    [("0", "2"), ("0", "1"), ("9", "10"), ("fc1", "fc2"), ("net.0", "net.2"), ("fc1", "out"),
     ("module.net.0", "module.net.2"), ("layers.0.linear", "layers.1.linear"), ("W", "a"),
     ("hidden", "output"), ("z_first", "a_last"), ("enc.fc", "dec.fc"),
     ("_orig_mod.0", "_orig_mod.2")],
)  # fmt: skip
@pytest.mark.parametrize("bias", [(True, True), (False, True), (True, False), (False, False)])
def test_state_dicts_with_any_names(tmp_path, names, bias):
    state = linear(names, bias=bias)
    torch.save(state, tmp_path / "m.pt")
    network = read_network(tmp_path / "m.pt", **TWO).network
    assert torch.equal(torch.tensor(network.W), state[f"{names[0]}.weight"].double())
    assert torch.equal(torch.tensor(network.a), state[f"{names[1]}.weight"].double()[0])
    assert (network.b is not None, network.c is not None) == bias
    assert "." in names[0] or network.notes[1].startswith(f"inner layer {names[0]!r}")


def test_a_torch_module_is_the_function_that_is_read(tmp_path):
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)
    ).double()
    torch.save(model.state_dict(), tmp_path / "m.pt")
    network = read_network(tmp_path / "m.pt", **TWO).network
    x = torch.randn(7, 3, dtype=torch.float64)
    mine = np.tanh(x.numpy() @ network.W.T + network.b) @ network.a + network.c
    assert np.allclose(mine, model(x).detach().numpy()[:, 0], rtol=1e-12)


def test_a_whole_module_is_read_as_its_state_dict(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    torch.save(model, tmp_path / "module.pt")
    torch.save(model.state_dict(), tmp_path / "state.pt")
    module, state = (read_network(tmp_path / f"{name}.pt", **TWO) for name in ("module", "state"))
    assert bits(module.network.W) == bits(state.network.W)
    assert bits(module.network.c) == bits(state.network.c)


def test_one_input_needs_numbers_in_the_names():
    state = linear(("0", "2"), d=1)
    assert built(state).network.W.shape == (4, 1)
    with pytest.raises(InputError, match="two layers in an order that the names tell"):
        built(linear(("hidden", "output"), d=1))


def test_the_numbers_win_over_the_shapes():
    bottleneck = {"0.weight": np.ones((1, 5)), "2.weight": np.ones((5, 1))}
    with pytest.raises(InputError, match=r"one output, but got 5, '2.weight' being of shape"):
        built(bottleneck)
    with pytest.raises(InputError, match="two layers that fit together"):
        built({"0.weight": np.ones((1, 5)), "2.weight": np.ones((5, 3))})


def test_one_of_several_networks_in_a_state_dict():
    state = linear(("actor.0", "actor.2")) | linear(("critic.0", "critic.2"), p=6)
    with pytest.raises(InputError, match=r"one layer of two-layer, but got 2: .*--key 'actor'"):
        built(state)
    assert built(state, key="critic").network.width == 6


def test_a_nested_checkpoint(tmp_path):
    torch.save({"step": 12, "model": linear(("0", "2")), "loss": 0.5}, tmp_path / "m.pt")
    assert read_network(tmp_path / "m.pt", **TWO).network.width == 4


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"W": W}, r"expected the tensors of two-layer \(W \(p, d\) and a \(p,\)"),
        ({"a": A}, "expected the tensors of two-layer"),
        ({"W": W[0], "a": A}, r"expected 'W' of shape \(any, any\), but got \(3,\)"),
        ({"W": W.reshape(1, 2, 3), "a": A}, r"'W' of shape \(any, any\)"),
        ({"W": W, "a": np.ones(3)}, r"expected 'a' of shape \(2,\), but got \(3,\)"),
        ({"W": W, "a": np.ones((2, 2))}, r"expected 'a' of shape \(2,\), but got \(2, 2\)"),
        ({"W": W, "a": np.ones((1, 2, 1))}, r"expected 'a' of shape \(2,\)"),
        ({"W": W, "a": np.float64(1)}, r"expected 'a' of shape \(2,\), but got \(\)"),
        ({"W": W, "a": A, "b": np.ones(3)}, r"expected 'b' of shape \(2,\), but got \(3,\)"),
        ({"W": W, "a": A, "c": np.ones(2)}, r"expected 'c' of shape \(1,\), but got \(2,\)"),
        ({"W": W, "a": A, "c": np.ones(0)}, r"expected 'c' of shape \(1,\), but got \(0,\)"),
        ({"W": np.ones((0, 3)), "a": np.ones(0)}, r"p >= 1 and d >= 1, but got \(0, 3\)"),
        ({"W": np.ones((2, 0)), "a": A}, r"p >= 1 and d >= 1, but got \(2, 0\)"),
        ({"W": [[np.nan]], "a": [1.0]}, r"tensor 'W': expected finite numbers, but got nan"),
        ({"W": [[1.0]], "a": [np.inf]}, r"tensor 'a': expected finite numbers, but got inf"),
        ({"W": [[1.0]], "a": [1.0], "b": [-np.inf]}, r"tensor 'b': expected finite numbers"),
        ({"W": [[1.0]], "a": [1.0], "c": np.nan}, r"tensor 'c': expected finite numbers"),
        ({"W": [[1j]], "a": [1.0]}, "expected real numbers of at most 64 bits, but got complex128"),
        ({"W": [[2**60]], "a": [1.0]}, r"expected integers up to 2\^53"),
        ({"W": W, "a": A, "V": W}, "two layers alone, but got also 'V'; remove what is not part"),
        ({"W": W, "a": A, "slope": 0.25}, "two layers alone, but got also 'slope'"),
        ({"W": W, "a": A, "step": [1.5, 2]}, "two layers alone, but got also 'step'"),
        ({"W": W, "a": A, "W_mask": W}, "part of a parametrisation that is not read"),
        ({"W": W, "a": A, "X": np.ones((4, 3)), "y": np.ones(3)}, r"expected y of shape \(4,\)"),
        ({"0.weight": W, "2.weight": A}, r"'2.weight' of a linear layer, .* but got \(2,\)"),
        ({"0.weight": np.ones((0, 3)), "2.weight": np.ones((1, 0))}, "of a linear layer"),
        ({"0.weight": np.ones((2, 3, 1, 1)), "2.weight": A[None]}, "of a linear layer"),
        ({"0.weight": W, "2.weight": np.ones((1, 3))}, "two layers that fit together"),
        ({"0.weight": W, "2.weight": np.ones((4, 2))}, "network with one output, but got 4"),
        ({"0.weight": W, "2.weight": A[None], "2.bias": [1.0, 2.0]}, r"'2.bias' of shape \(1,\)"),
        ({"0.weight": W, "2.weight": A[None], "0.bias": [1.0]}, r"'0.bias' of shape \(2,\)"),
        ({"0.weight": W, "2.weight": A[None], "4.weight": [[1.0]]}, "expected the tensors of"),
        ({"0.weight": W}, "expected the tensors of two-layer"),
        ({"0.weight": W, "2.weight": A[None], "1.running_mean": A}, "got also '1.running_mean'"),
        ({"net.0.weight": W, "net.2.weight": A[None], "head.bias": A}, "got also 'head.bias'"),
        ({"0.weight_v": W, "0.weight_g": A, "2.weight": A[None]}, "expected the tensors of"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(arrays, told):
    with pytest.raises(InputError, match=told) as caught:
        built(arrays)
    assert "\n" not in str(caught.value)


def test_a_third_layer_is_not_passed_over():
    state = linear(("net.0", "net.2")) | {"head.weight": np.ones((1, 1))}
    with pytest.raises(InputError, match=r"got also 'head.weight'"):
        built(state)
    assert built(state, key="net").network.width == 4


def test_a_learned_slope_is_not_passed_over(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.PReLU(), torch.nn.Linear(4, 1))
    torch.save(model.state_dict(), tmp_path / "m.pt")
    with pytest.raises(InputError, match="expected the tensors of two-layer"):
        read_network(tmp_path / "m.pt", family="two-layer", activation="leaky_relu(0.25)")


@pytest.mark.parametrize("wrapped", ["weight_norm", "spectral_norm"])
def test_parametrised_layers_are_refused(tmp_path, wrapped):
    layer = getattr(torch.nn.utils.parametrizations, wrapped)(torch.nn.Linear(3, 4))
    torch.save(torch.nn.Sequential(layer, torch.nn.Tanh(), torch.nn.Linear(4, 1)).state_dict(),
               tmp_path / "m.pt")  # fmt: skip
    with pytest.raises(InputError):
        read_network(tmp_path / "m.pt", **TWO)


def test_names_that_could_be_several_families_are_refused_with_advice(tmp_path):
    with pytest.raises(InputError, match="this could be equilibrium, two-layer; add what is true"):
        read_network(npz(tmp_path / "a.npz", W=np.eye(2), a=A))
    torch.save(linear(("0", "2")), tmp_path / "m.pt")
    with pytest.raises(InputError, match="--family two-layer --activation relu"):
        read_network(tmp_path / "m.pt")


def test_the_activation_must_be_declared(tmp_path):
    with pytest.raises(SettingsError, match="expected the activation of the layout two-layer"):
        read_network(npz(tmp_path / "a.npz", W=W, a=A), family="two-layer")


def test_constants_of_other_layouts_are_refused(tmp_path):
    path = npz(tmp_path / "a.npz", W=W, a=A)
    with pytest.raises(SettingsError, match="no such constant for the layout two-layer"):
        read_network(path, **TWO, settings={"well-posedness.gamma": "1"})


NAMES = ["W", "a", "b", "c", "X", "y", "V", "step", "0.weight", "0.bias", "2.weight", "2.bias",
         "net.0.weight", "net.2.weight", "W.weight", "a.weight", "W_mask", "fc.W", "fc.a", "", ".",
         "..weight", ".weight", "weight", "0.parametrizations.weight.original0", "\u0660.weight",
         "9" * 5000 + ".weight"]  # fmt: skip
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


@given(
    st.dictionaries(st.sampled_from(NAMES), SHAPES),
    st.sampled_from([None, "net", "fc", "0", "."]),
)
def test_any_names_and_shapes_are_read_or_refused(shapes, key):
    arrays = {name: np.ones(shape) for name, shape in shapes.items()}
    try:
        network = built(arrays, key=key).network
    except VerifyError:
        return
    assert network.W.shape == (len(network.a), network.dimension)


# --- the value -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("W", "a", "more", "told"),
    [
        (np.ones(3), A, {}, r"W of shape \(p, d\)"),
        (np.ones((0, 3)), np.ones(0), {}, r"p >= 1 and d >= 1, but got \(0, 3\)"),
        (W, np.ones(3), {}, r"a of shape \(2,\), but got \(3,\)"),
        (W, A, {"b": np.ones(1)}, r"b of shape \(2,\)"),
        (W, A, {"c": np.ones(2)}, r"c of shape \(1,\)"),
        (np.full((2, 2), np.nan), A, {}, "finite entries of W"),
        (W, A, {"b": [0, np.inf]}, "finite entries of b"),
        (W.astype(complex), A, {}, "but got complex128"),
        (W.astype(np.longdouble), A, {}, "expected W as float16, float32, float64"),
        (np.array([["a"]]), [1], {}, "expected W as float16"),
        ([[2**53]], [1], {}, r"integers below 2\^53"),
    ],
)
def test_the_family_checks_its_arrays(W, a, more, told):
    with pytest.raises(InputError, match=told):
        TwoLayer(W, a, Activation.parse("tanh"), **more)


def test_the_family_keeps_numbers_exactly():
    network = TwoLayer(
        np.array([[0.1]], np.float32), [3], Activation.parse("tanh"), c=np.float16(0.1)
    )
    assert network.W.item() == float(np.float32(0.1))
    assert network.W.dtype == network.a.dtype == np.float64
    assert network.c.tolist() == [float(np.float16(0.1))]


def test_samples_must_fit():
    network = TwoLayer(W, A, Activation.parse("tanh"))
    check_data_fits(network, None, "here")
    check_data_fits(network, Data(np.ones((4, 3)), np.ones((4, 1))), "here")
    with pytest.raises(InputError, match=r"here: expected samples X of shape \(n, 3\)"):
        check_data_fits(network, Data(np.ones((4, 2))), "here")
    with pytest.raises(InputError, match=r"y of shape \(4,\) for a network with one output"):
        check_data_fits(network, Data(np.ones((4, 3)), np.ones((4, 2))), "here")


# --- declarations --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["flag", "verify.toml", "files", "pyproject.toml", "metadata"])
def test_settings_of_any_condition_are_carried(tmp_path, place):
    arrays, flags = {"W": W, "a": A}, dict(TWO)
    settings = {"villani": {"outer": "frozen", "s": "1/10", "lambda": "0.01"}, "well-posedness": {}}
    flat = {f"villani.{key}": text for key, text in settings["villani"].items()}
    table = '[settings.villani]\nouter = "frozen"\ns = "1/10"\nlambda = 0.01\n'
    if place == "flag":
        flags["settings"] = flat
    elif place == "verify.toml":
        (tmp_path / "verify.toml").write_text(table)
    elif place == "files":
        (tmp_path / "verify.toml").write_text(table.replace("[settings", '[files."a.npz".settings'))
    elif place == "pyproject.toml":
        (tmp_path / "pyproject.toml").write_text(
            table.replace("[settings", "[tool.verify.settings")
        )
    else:
        arrays["verify"] = np.array(json.dumps({"settings": settings, "step": 5}))
    loaded = read_network(npz(tmp_path / "a.npz", **arrays), **flags)
    assert loaded.settings == flat
    assert loaded.origins["villani.outer"] == {"files": "verify.toml", "metadata": "file"}.get(
        place, place
    )


def test_a_flag_wins_over_a_setting_in_the_file(tmp_path):
    declared = json.dumps({**TWO, "settings": {"villani.outer": "trained"}})
    path = npz(tmp_path / "a.npz", W=W, a=A, verify=np.array(declared))
    assert read_network(path).settings == {"villani.outer": "trained"}
    own = read_network(path, settings={"villani.outer": "frozen"}, activation="z**2").settings
    assert own == {"villani.outer": "frozen"}


@pytest.mark.parametrize("step", ["-1", "x", "1.5", "9" * 20])
def test_a_step_is_a_number_of_steps(tmp_path, step):
    path = npz(tmp_path / "a.npz", W=W, a=A, verify=np.array(json.dumps({**TWO, "step": step})))
    with pytest.raises(SettingsError, match="step: expected a number of training steps"):
        read_network(path)


# --- every format is one claim -------------------------------------------------------------------


@st.composite
def networks(draw):
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    p, d = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    numbers = st.floats(allow_nan=False, allow_infinity=False, width=np.dtype(dtype).itemsize * 8)
    arrays = {
        "W": draw(hnp.arrays(dtype, (p, d), elements=numbers)),
        "a": draw(hnp.arrays(dtype, draw(st.sampled_from([(p,), (1, p)])), elements=numbers)),
    }
    if draw(st.booleans()):
        arrays["b"] = draw(hnp.arrays(dtype, p, elements=numbers))
    if draw(st.booleans()):
        arrays["c"] = draw(hnp.arrays(dtype, draw(st.sampled_from([(), (1,)])), elements=numbers))
    return arrays  # fmt: skip


def claims(path):
    loaded = read_network(path, **TWO)
    certificates = check(loaded.network, loaded.data, conditions=["well-posedness"])
    return {k: bits(v) for k, v in loaded.network.tensors().items()}, [
        c.digest for c in certificates
    ]


@given(networks())
def test_equal_tensors_and_claims_from_every_format(tmp_path_factory, arrays):
    folder = tmp_path_factory.mktemp("formats")
    np.savez(folder / "m.npz", **arrays)
    safetensors.numpy.save_file(arrays, folder / "m.safetensors")
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    torch.save(tensors, folder / "m.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"state": tensors}, folder / "m.pth", _use_new_zipfile_serialization=False)
    module = {"fc1.weight": arrays["W"], "fc2.weight": arrays["a"].reshape(1, -1)}
    module |= {"fc1.bias": arrays["b"]} if "b" in arrays else {}
    module |= {"fc2.bias": arrays["c"].reshape(1)} if "c" in arrays else {}
    safetensors.numpy.save_file(
        {name: np.ascontiguousarray(array) for name, array in module.items()},
        folder / "l.safetensors",
    )
    found = [claims(folder / f"m.{suffix}") for suffix in ("npz", "safetensors", "pt", "pth")]
    assert all(one == found[0] for one in found)
    assert found[0][0] == {name: bits(array.reshape(-1) if name in "ac" else array)
                           for name, array in arrays.items()}  # fmt: skip
    assert claims(folder / "l.safetensors")[0] == found[0][0]


def test_bfloat16_is_exact(tmp_path):
    state = {name: tensor.bfloat16() for name, tensor in linear(("0", "2")).items()}
    torch.save(state, tmp_path / "m.pt")
    safetensors.torch.save_file(state, tmp_path / "m.safetensors")
    first, second = (
        read_network(tmp_path / name, **TWO).network for name in ("m.pt", "m.safetensors")
    )
    assert bits(first.W) == bits(second.W) == bits(state["0.weight"].double().numpy())
    assert bits(first.c) == bits(second.c) == bits(state["2.bias"].double().numpy())


def test_a_tensor_without_numbers_is_not_passed_over():
    tensors = {"W": stored(W), "a": stored(A), "b": StoredTensor((), "Python list", None)}
    declared = from_flags("two-layer", "tanh", {}, None)
    with pytest.raises(VerifyError):
        assemble(TensorBag({"": tensors}), declared, "here")
