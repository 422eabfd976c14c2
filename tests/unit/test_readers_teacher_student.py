"""Students and teachers from files: layout, exactness, formats, and one clear error each."""

import json

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from verify.engine import check
from verify.errors import InputError, SettingsError, VerifyError
from verify.network import Activation, Data, Equilibrium, TeacherStudent, TwoLayer, graph_of
from verify.readers import read_network, read_run
from verify.readers.assembly import assemble, check_data_fits
from verify.readers.declaration import from_flags
from verify.readers.tensors import TensorBag, stored

FAMILY = {"family": "teacher-student", "activation": "abs"}
W = np.array([[0.5, -0.25, 1.0], [2.0**-1074, 1e308, -0.0]])
W_STAR = np.array([[1.0, 2.0, 3.0]])
A, A_STAR = np.array([1.5, -3.0]), np.array([0.1])
ABS = Activation.parse("abs")


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def built(arrays, **flags):
    bag = TensorBag({"": {name: stored(np.asarray(array)) for name, array in arrays.items()}})
    told = FAMILY | flags
    declared = from_flags(told["family"], told["activation"], {}, told.get("key"))
    return assemble(bag, declared, "the given arrays")


def bits(array):
    return np.asarray(array, np.float64).view(np.int64).tolist()


# --- what is read --------------------------------------------------------------------------------


def test_tied_output_weights(tmp_path):
    loaded = read_network(npz(tmp_path / "f.npz", W=W, W_star=W_STAR), **FAMILY)
    network = loaded.network
    assert isinstance(network, TeacherStudent)
    assert bits(network.students) == bits(W)
    assert bits(network.teachers) == bits(W_STAR)
    assert (network.a, network.a_star, network.tied) == (None, None, True)
    assert (network.width, network.dimension) == (2, 3)
    assert list(network.tensors()) == ["W", "W_star"]
    assert network.family == loaded.declared["family"] == "teacher-student"
    assert network.equation == (
        "f(x) = sum_i ||w_i|| abs(w_i . x), f*(x) = sum_j ||w*_j|| abs(w*_j . x), x ~ N(0, I)"
    )
    assert network.notes[0].startswith("read as teacher-student: W (m, d) and W_star (r, d)")
    assert network.notes[1].startswith("no output weights are stored: they are tied")


@pytest.mark.parametrize("shape", [(2,), (2, 1), (1, 2)])
def test_free_output_weights(shape):
    arrays = {"W": W, "W_star": W_STAR, "a": A.reshape(shape), "a_star": A_STAR}
    network = built(arrays, activation="relu").network
    assert not network.tied
    assert bits(network.a) == bits(A)
    assert bits(network.a_star) == bits(A_STAR)
    assert list(network.tensors()) == ["W", "W_star", "a", "a_star"]
    assert network.equation.startswith("f(x) = sum_i a_i relu(w_i . x), f*(x) = sum_j a*_j relu")


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "pt"])
def test_every_format_is_one_claim(tmp_path, suffix):
    arrays = {"W": W, "W_star": W_STAR, "a": A, "a_star": A_STAR}
    path = tmp_path / f"f.{suffix}"
    if suffix == "npz":
        np.savez(path, **arrays)
    elif suffix == "safetensors":
        safetensors.numpy.save_file(arrays, path)
    else:
        torch.save({name: torch.tensor(array) for name, array in arrays.items()}, path)
    found = read_network(path, **FAMILY).network.tensors()
    assert {name: bits(array) for name, array in found.items()} == {
        name: bits(array) for name, array in arrays.items()
    }


def test_single_precision_is_exact():
    half = np.array([[0.1, 0.2, 0.3]], np.float16)
    rows = {"W": half, "W_star": np.array([[0.1, 0, 0]], np.float32)}
    network = built(rows).network
    assert network.students.tolist() == half.tolist()
    assert network.teachers[0, 0] == float(np.float32(0.1))


def test_declared_inside_the_file(tmp_path):
    declared = np.array(json.dumps(FAMILY | {"step": 12}))
    assert read_network(npz(tmp_path / "f.npz", W=W, W_star=W_STAR, verify=declared)).network.tied


def test_under_a_prefix_and_beside_a_step():
    arrays = {"net.W": W, "net.W_star": W_STAR, "step": 7, "X": np.ones((4, 3)), "y": np.ones(4)}
    assert built(arrays).data.n == 4
    assert built({**arrays, "other.V": W}, key="net").network.width == 2


def test_a_run(tmp_path):
    (tmp_path / "run").mkdir()
    for step in (1, 2):
        npz(tmp_path / "run" / f"at_{step}.npz", W=W / step, W_star=W_STAR)
    loaded = read_network(npz(tmp_path / "f.npz", W=W, W_star=W_STAR), **FAMILY)
    run = read_run(tmp_path / "run", loaded)
    assert [one.step for one in run.checkpoints] == [1, 2]
    assert all(isinstance(one.network, TeacherStudent) for one in run.checkpoints)


# --- other networks and other conditions ---------------------------------------------------------


def test_other_families_are_read_as_before():
    plain = {"W": np.eye(2), "a": A}
    assert isinstance(built(plain, family="two-layer").network, TwoLayer)
    assert isinstance(built({"W": np.eye(2)}, family="equilibrium").network, Equilibrium)
    with pytest.raises(InputError, match="two layers alone, but got also 'W_star'"):
        built({**plain, "W_star": np.eye(2)}, family="two-layer")


def test_an_undeclared_family_is_advised(tmp_path):
    with pytest.raises(InputError, match=r"this could be .*teacher-student.*add what is true"):
        read_network(npz(tmp_path / "f.npz", W=W, W_star=W_STAR))
    with pytest.raises(InputError, match="this could be equilibrium, two-layer; add what is true"):
        read_network(npz(tmp_path / "g.npz", W=W, a=A))


@pytest.mark.parametrize("name", ["well-posedness", "villani", "expressivity"])
def test_other_conditions_do_not_apply(name):
    network = built({"W": W, "W_star": W_STAR}).network
    assert graph_of(network) is None
    (certificate,) = check(network, None, conditions=[name])
    assert certificate.claim["verdict"] == "not applicable"
    told = json.dumps(certificate.claim)
    assert "teacher-student" in told


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"W": W}, r"expected the tensors of teacher-student \(W \(m, d\) and W_star \(r, d\)"),
        ({"W_star": W}, "expected the tensors of teacher-student"),
        ({"W": W[0], "W_star": W_STAR}, r"'W' of shape \(any, any\), but got \(3,\)"),
        ({"W": W, "W_star": W_STAR[0]}, r"'W_star' of shape \(any, 3\), but got \(3,\)"),
        ({"W": W, "W_star": np.eye(2)}, r"'W_star' of shape \(any, 3\), but got \(2, 2\)"),
        ({"W": W, "W_star": np.ones((0, 3))}, "W_star of shape .* at least one row"),
        ({"W": np.ones((0, 3)), "W_star": W_STAR}, "W of shape .* at least one row"),
        ({"W": np.ones((2, 0)), "W_star": np.ones((1, 0))}, "W of shape .* d >= 1"),
        ({"W": W, "W_star": W_STAR, "a": A}, "expected a tensor 'a_star', but got none"),
        ({"W": W, "W_star": W_STAR, "a_star": A_STAR}, "expected a tensor 'a', but got none"),
        ({"W": W, "W_star": W_STAR, "a": A_STAR, "a_star": A_STAR}, r"'a' of shape \(2,\)"),
        ({"W": W, "W_star": W_STAR, "a": A, "a_star": A}, r"'a_star' of shape \(1,\), but got"),
        ({"W": [[np.nan]], "W_star": [[1.0]]}, "tensor 'W': expected finite numbers, but got nan"),
        ({"W": [[1.0]], "W_star": [[np.inf]]}, "tensor 'W_star': expected finite numbers"),
        ({"W": [[1.0]], "W_star": [[1.0]], "a": [np.nan], "a_star": [1.0]}, "tensor 'a': expected"),
        ({"W": [[1j]], "W_star": [[1.0]]}, "expected real numbers of at most 64 bits"),
        ({"W": W, "W_star": W_STAR, "b": A}, "W, W_star and perhaps a, a_star alone, but got also"),
        ({"W": W, "W_star": W_STAR, "W_mask": W}, "part of a parametrisation that is not read"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(arrays, told):
    with pytest.raises(InputError, match=told) as caught:
        built(arrays)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu(0.5)", "Abs(z)"])
def test_other_activations_are_refused(activation):
    with pytest.raises(InputError, match="expected the activation abs or relu, for which the pop"):
        built({"W": W, "W_star": W_STAR}, activation=activation)


def test_the_activation_must_be_declared(tmp_path):
    with pytest.raises(SettingsError, match="expected the activation of the layout teacher-stud"):
        read_network(npz(tmp_path / "f.npz", W=W, W_star=W_STAR), family="teacher-student")


@pytest.mark.parametrize(
    ("students", "teachers", "more", "told"),
    [
        (np.ones(3), W_STAR, {}, r"W of shape \(rows, d\)"),
        (W, np.ones((1, 2)), {}, r"W_star with 3 columns, as many as W, but got \(1, 2\)"),
        (W, W_STAR, {"a": A}, "but got a without a_star"),
        (W, W_STAR, {"a_star": A_STAR}, "but got a_star without a"),
        (W, W_STAR, {"a": A, "a_star": A}, r"a_star of shape \(1,\), but got \(2,\)"),
        (np.full((2, 3), np.nan), W_STAR, {}, "finite entries of W"),
        (W, W_STAR.astype(complex), {}, "W_star as float16, float32, float64"),
        ([[2**53, 0, 0]], W_STAR, {}, r"integers below 2\^53"),
    ],
)
def test_the_family_checks_its_arrays(students, teachers, more, told):
    with pytest.raises(InputError, match=told):
        TeacherStudent(students, teachers, ABS, **more)


def test_the_family_keeps_integers():
    network = TeacherStudent([[1, 2]], [[3, 4]], ABS, [1], [True])
    assert network.students.dtype == network.a.dtype == np.float64
    assert network.a_star.tolist() == [1.0]


def test_samples_must_fit():
    network = TeacherStudent(W, W_STAR, ABS)
    check_data_fits(network, Data(np.ones((4, 3)), np.ones(4)), "here")
    with pytest.raises(InputError, match=r"here: expected samples X of shape \(n, 3\)"):
        check_data_fits(network, Data(np.ones((4, 2))), "here")


NAMES = ["W", "W_star", "a", "a_star", "X", "y", "V", "step", "net.W", "net.W_star", "W_mask", "",
         "W_star_orig", "a_star.weight"]  # fmt: skip
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


@given(st.dictionaries(st.sampled_from(NAMES), SHAPES), st.sampled_from([None, "net", "."]))
def test_any_names_and_shapes_are_read_or_refused(shapes, key):
    arrays = {name: np.ones(shape) for name, shape in shapes.items()}
    try:
        network = built(arrays, key=key).network
    except VerifyError:
        return
    assert network.students.shape[1] == network.teachers.shape[1] == network.dimension
