"""The pickle machine against Python's own: same values for data, one clear error for the rest."""

import io
import pickle
import pickletools
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.errors import InputError, UnsafeFileError, VerifyError
from verify.readers.pickle_stream import _HANDLERS, parse_pickle
from verify.readers.pickle_values import Instance, Name

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**3000), 2**3000)
    | st.floats(allow_nan=False) | st.text() | st.binary(max_size=400)
)  # fmt: skip
KEYS = st.text() | st.integers() | st.booleans() | st.tuples(st.text(), st.integers())
VALUES = st.recursive(
    SCALARS | st.sets(KEYS) | st.frozensets(KEYS),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner)
    | st.lists(inner).map(tuple),
    max_leaves=20,
)  # fmt: skip


def same(left, right):
    if type(left) is not type(right):
        return isinstance(left, bytes | bytearray) and bytes(left) == bytes(right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, float):
        return struct.pack("<d", left) == struct.pack("<d", right)
    return left == right


@given(VALUES, st.integers(0, 5))
def test_data_reads_as_python_reads_it(value, protocol):
    assert same(parse_pickle(pickle.dumps(value, protocol), "p"), value)


@given(VALUES, st.integers(0, 5))
def test_optimised_pickles(value, protocol):
    assert same(parse_pickle(pickletools.optimize(pickle.dumps(value, protocol)), "p"), value)


@pytest.mark.parametrize("protocol", range(6))
def test_shared_and_cyclic_objects_keep_their_identity(protocol):
    shared = [1]
    value = {"a": shared, "b": shared}
    value["self"] = value
    read = parse_pickle(pickle.dumps(value, protocol), "p")
    assert read["a"] is read["b"]
    assert read["self"] is read


def test_every_operation_of_every_protocol_is_known():
    known = {opcode.code.encode("latin1") for opcode in pickletools.opcodes}
    assert known == set(_HANDLERS) | {b"."}


def refusal(content):
    """The error for a pickle, or None if it is read."""
    try:
        parse_pickle(content, "p")
    except VerifyError as error:
        return error
    return None


def assert_clear(error):
    assert error is None or isinstance(error, InputError | UnsafeFileError)
    assert error is None or (str(error).startswith("p: expected ") and str(error).isprintable())


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_one_clear_error(content):
    assert_clear(refusal(content))


# Fragments near which interesting programs lie.
PIECES = [bytes([op.code.encode("latin1")[0]]) for op in pickletools.opcodes] + [
    b"K\x01", b"X\x01\x00\x00\x00a", b"cmylib\nThing\n", b"ccollections\nOrderedDict\n", b"h\x00",
    b"q\x00", b"cbuiltins\nset\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b")R", b"}", b"]", b"(",
    b"cnumpy\ndtype\n", b"X\x02\x00\x00\x00f8", b"\x85R", b"cnumpy._core.multiarray\nscalar\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
def test_any_program_gives_a_value_or_one_clear_error(program):
    assert_clear(refusal(program + b"."))


class DataOnly(pickle._Unpickler):
    """Python's own machine, which here may build data and nothing else.

    The one in pure Python: the one in C allocates as many memo slots as a hostile index says.
    """

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"{module}.{name}")


def read_by_python(content):
    try:
        return True, DataOnly(io.BytesIO(content)).load()
    except Exception:
        return False, None


@pytest.mark.soundness
def test_campaign_of_mutated_pickles():
    rng = random.Random(5)
    value = {"W": [1.5, 2], "n": (None, b"x", {"k": {1, 2}}), "t": "text" * 9, "big": 2**90}
    count, compared = 3000, 0
    for _ in range(count):
        content = bytearray(pickle.dumps(value, rng.randrange(6)))
        for _ in range(rng.randrange(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        error = refusal(bytes(content))
        assert_clear(error)
        read, theirs = read_by_python(bytes(content))
        if error is None and read:
            mine = parse_pickle(bytes(content), "p")
            # The text of a value is finite also where a mutation made a cycle.
            assert repr(mine) == repr(theirs), bytes(content)
            compared += 1
    assert compared > 100
    print(f"campaign mutated pickles: {count} cases, {compared} compared, seed 5, 0 wrong")


@given(
    st.sampled_from(
        ["os", "posix", "subprocess", "sys", "importlib", "socket", "shutil", "ctypes"]
    ),
    st.sampled_from(["", "path", "util.inner"]),
    st.text("abcxyz_", min_size=1, max_size=8),
)
def test_dangerous_modules_whatever_the_name(module, below, name):
    full = f"{module}.{below}" if below else module
    with pytest.raises(UnsafeFileError) as caught:
        parse_pickle(f"c{full}\n{name}\n0N.".encode(), "p")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("module", "name"),
    [("argparse", "Namespace"), ("pathlib", "PosixPath"), ("__main__", "Net"),
     ("torch.nn.modules.linear", "Linear"), ("torch._C._nn", "gelu"), ("mylib.eval", "Config"),
     ("builtins", "ValueError"), ("datetime", "datetime"), ("functools", "partial"),
     ("omegaconf.dictconfig", "DictConfig"), ("torch.optim.lr_scheduler", "StepLR")],
)  # fmt: skip
def test_unknown_names_become_inert(module, name):
    value = parse_pickle(f"c{module}\n{name}\n)R}}b.".encode(), "p")
    assert isinstance(value, Instance)
    assert value.origin == f"{module}.{name}"
    assert parse_pickle(f"c{module}\n{name}\n.".encode(), "p") == Name(module, name)
