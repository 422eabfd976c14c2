"""Files made so that the program that wrote them would load other numbers than a reader sees."""

import collections
import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from verify.errors import InputError
from verify.readers.pickle_stream import PickleStream
from verify.readers.torch_file import read
from verify.readers.torch_objects import module_parts

SMALL, LARGE = torch.full((2, 2), 0.125), torch.full((2, 2), 9.0)


class Made:
    """An object that a pickle makes by a call, with an optional state."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def arguments(tensor):
    storage = torch.storage.TypedStorage(wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype,
                                         _internal=True)  # fmt: skip
    return (storage, 0, tuple(tensor.shape), tensor.stride(), False, collections.OrderedDict())


def from_type(state):
    return Made(
        torch._tensor._rebuild_from_type_v2,
        (torch._utils._rebuild_tensor_v2, torch.Tensor, arguments(SMALL), state),
    )


def with_state(state):
    hooks = collections.OrderedDict()
    return Made(torch._utils._rebuild_parameter_with_state, (SMALL, False, hooks, state))


@pytest.mark.parametrize("make", [from_type, with_state])
@pytest.mark.parametrize("state", [{"data": LARGE}, {"real": LARGE}, ({"a": 1}, {"data": LARGE})])
def test_an_attribute_that_replaces_the_numbers(tmp_path, make, state):
    path = tmp_path / "m.pt"
    torch.save({"W": make(state)}, path)
    assert torch.equal(torch.load(path, weights_only=False)["W"].detach(), LARGE)
    with pytest.raises(InputError, match="attributes replace its numbers"):
        read(path).groups[""]["W"].exact("W")


@pytest.mark.parametrize("make", [from_type, with_state])
def test_another_attribute_does_no_harm(tmp_path, make):
    path = tmp_path / "m.pt"
    torch.save({"W": make({"tag": "first"})}, path)
    assert np.array_equal(read(path).groups[""]["W"].exact("W"), SMALL.numpy())


def test_one_storage_of_two_types(tmp_path):
    """Torch keeps the type that a storage was first given."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return obj.value if isinstance(obj, Kept) else None

    class Kept:
        def __init__(self, kind):
            self.value = ("storage", kind, "0", "cpu", 4)

    def tensor(kind):
        hooks = collections.OrderedDict()
        return Made(torch._utils._rebuild_tensor_v2, (Kept(kind), 0, (2, 2), (2, 1), False, hooks))

    stream = io.BytesIO()
    Pickler(stream, 2).dump({"x": tensor(torch.IntStorage), "W": tensor(torch.FloatStorage)})
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", stream.getvalue())
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")
        archive.writestr("a/data/0", np.full(4, 0.125, np.float32).tobytes())
    assert float(torch.load(path, weights_only=False)["W"][0, 0]) > 1e9
    with pytest.raises(InputError, match="one type and size a storage"):
        read(path)


def test_a_module_whose_state_is_set_twice():
    """The second state joins the first when torch loads it: the last alone is not the module."""
    state = {"_parameters": {}, "_modules": {}}
    once = pickle.dumps(Made(torch.nn.Module, (), state), 2)[:-1]
    for pickled, fits in ((once + b".", True), (once + b"}b.", False)):
        root = PickleStream(pickled, "m").run()
        assert (module_parts(root) is not None) == fits


DTYPE, RAW = np.dtype, np.full(4, 0.125).tobytes()
SWAPPED = (3, ">", None, None, None, -1, -1, 0)


def array(dtype):
    state = (1, (2, 2), dtype, False, RAW)
    return Made(np.empty(0).__reduce__()[0], (np.ndarray, (0,), b"b"), state)


def values(tmp_path, value):
    path = tmp_path / "m.pt"
    torch.save({"W": value}, path)
    loaded = np.asarray(torch.load(path, weights_only=False)["W"])
    try:
        found = read(path).groups[""]["W"].exact("W")
    except InputError:
        found = None
    return loaded, found


def scalar_then_state():
    made, given = np.float64(0.125).__reduce__()
    return Made(made, given, (1, (1,), np.dtype("f8"), False, np.full(1, 9.0).tobytes()))


def buffer(order):
    raw = np.arange(4.0).tobytes()
    module = np._core.numeric if hasattr(np, "_core") else np.core.numeric
    return Made(module._frombuffer, (raw, np.dtype("f8"), (2, 2), order))


@pytest.mark.parametrize(
    "value",
    [
        array(Made(DTYPE, ("f8",), SWAPPED)),
        array(Made(DTYPE, ("f8", False, True), SWAPPED)),
        array(np.dtype("f8")),
        array(np.dtype(">f8")),
        scalar_then_state(),
        buffer("C"),
        buffer("F"),
        buffer("f"),
        np.arange(4.0).reshape(2, 2),
        np.arange(4.0, dtype=">f4").reshape(2, 2).T,
    ],
)  # fmt: skip
def test_numpy_values_are_numpys_or_refused(tmp_path, value):
    loaded, found = values(tmp_path, value)
    assert found is None or np.array_equal(loaded, found)
