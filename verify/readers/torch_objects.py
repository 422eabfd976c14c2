"""The objects of a torch file as data: storages, tensor views, parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.readers.pickle_values import (
    ArrayRef,
    Instance,
    Name,
    StorageRef,
    TensorRef,
    UnfitError,
    UnreadTensor,
)
from verify.readers.tensors import (
    MAX_ELEMENTS,
    MAX_FILE_BYTES,
    StoredTensor,
    check_shape,
    digits_of,
    shown,
    stored,
)

# dtype -> (NumPy code without byte order, bytes an element); no code: listed and not read.
_DTYPES: dict[str, tuple[str | None, int]] = {
    "float64": ("f8", 8), "float32": ("f4", 4), "float16": ("f2", 2), "bfloat16": ("u2", 2),
    "int64": ("i8", 8), "int32": ("i4", 4), "int16": ("i2", 2), "int8": ("i1", 1),
    "uint64": ("u8", 8), "uint32": ("u4", 4), "uint16": ("u2", 2), "uint8": ("u1", 1),
    "bool": ("u1", 1), "complex32": (None, 4), "complex64": (None, 8), "complex128": (None, 16),
    "quint8": (None, 1), "qint8": (None, 1), "qint32": (None, 4), "quint4x2": (None, 1),
    "quint2x4": (None, 1), "float8_e4m3fn": (None, 1), "float8_e5m2": (None, 1),
    "float8_e4m3fnuz": (None, 1), "float8_e5m2fnuz": (None, 1), "float8_e8m0fnu": (None, 1),
    "float4_e2m1fn_x2": (None, 1), "untyped": (None, 1),
}  # fmt: skip
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "QUInt8Storage": "quint8", "QInt8Storage": "qint8",
    "QInt32Storage": "qint32", "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "untyped",
}  # fmt: skip
# Attributes of a tensor that are its numbers.
_NUMBERS = frozenset(("data", "real", "imag"))
_HOMES = ("torch", "torch.storage", "torch.cuda")
_PLAIN_CLASSES = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter",
                  "torch.nn.parameter.Buffer", "torch.nn.Parameter")  # fmt: skip


def storage_of(identity: object, where: str) -> object:
    """Return the storage (or, in old files, the class) that a persistent id names.

    Raises:
        InputError: a persistent id of another form.
    """
    if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
        return identity[1]
    fits = isinstance(identity, tuple) and len(identity) in (5, 6) and identity[0] == "storage"
    if not fits or not isinstance(identity, tuple):
        raise InputError(f"{where}: expected persistent ids of storages, but got another one")
    kind, key, numel = identity[1], identity[2], identity[4]
    if len(identity) == 6 and identity[5] is not None:
        raise InputError(
            f"{where}: expected whole storages, but got a view of one, which very old files hold; "
            "save the file again with a current version of torch"
        )
    known = isinstance(kind, Name) and kind.module in _HOMES and kind.name in _STORAGES
    if not known or not isinstance(kind, Name):
        raise InputError(f"{where}: expected a known storage type, but got {_kind(kind)}")
    if not isinstance(key, str) or type(numel) is not int or not 0 <= numel <= MAX_FILE_BYTES:
        raise InputError(f"{where}: expected a storage with a name and a size, but got neither")
    return StorageRef(_STORAGES[kind.name], key, numel)


class StorageIndex:
    """Turns persistent ids into storages; one key keeps the type and size it was first given."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.found: dict[str, StorageRef] = {}

    def __call__(self, identity: object) -> object:
        """Return what a persistent id names.

        Raises:
            InputError: a persistent id of another form, or two types or sizes of one storage.
        """
        value = storage_of(identity, self._where)
        if isinstance(value, StorageRef) and self.found.setdefault(value.key, value) != value:
            raise InputError(f"{self._where}: expected one type and size a storage, but got two")
        return value


def item_bytes(dtype: str) -> int:
    """Return the size of one number in bytes."""
    return _DTYPES[dtype][1]


def storage_bytes(storage: StorageRef) -> int:
    """Return the size of a storage in bytes."""
    return storage.numel * _DTYPES[storage.dtype][1]


def _kind(value: object) -> str:
    return shown(str(value)) if isinstance(value, Name) else f"a {type(value).__name__}"


def _tensor(name: Name, arguments: tuple[Any, ...]) -> object:
    """`_rebuild_tensor(storage, offset, size, stride)` and its second version."""
    storage = arguments[0] if arguments else None
    metadata = arguments[6] if len(arguments) > 6 else None
    return _view(name, arguments, getattr(storage, "dtype", ""), metadata)


def _typed_tensor(name: Name, arguments: tuple[Any, ...]) -> object:
    """`_rebuild_tensor_v3`: a storage of bytes with a dtype."""
    dtype = arguments[6] if len(arguments) > 6 else None
    if not isinstance(dtype, Name) or dtype.module != "torch":
        raise _bad(name)
    metadata = arguments[7] if len(arguments) > 7 else None
    if dtype.name not in _DTYPES or dtype.name == "untyped":
        return UnreadTensor(shown(dtype.name)[1:-1])
    return _view(name, arguments, dtype.name, metadata)


def _view(name: Name, arguments: tuple[Any, ...], dtype: str, metadata: object) -> object:
    storage, offset, size, stride = (*arguments, None, None, None, None)[:4]
    if not isinstance(storage, StorageRef) or type(offset) is not int:
        raise _bad(name)
    if not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise _bad(name)
    if len(size) != len(stride) or any(type(n) is not int for n in (*size, *stride)):
        raise _bad(name)
    negated = metadata == {"neg": True}
    if metadata and not negated:
        return UnreadTensor(f"{dtype} with metadata")
    if negated and (dtype == "bool" or dtype.startswith("uint")):
        return UnreadTensor(f"{dtype} with metadata")
    return TensorRef(storage, offset, size, stride, dtype, negated)


def _parameter(name: Name, arguments: tuple[Any, ...]) -> object:
    if not arguments or not isinstance(arguments[0], TensorRef | UnreadTensor | ArrayRef):
        raise _bad(name)
    state = arguments[3] if len(arguments) > 3 else None
    return _with_state(arguments[0], state)


def _with_state(tensor: object, state: object) -> object:
    """Return the tensor, unless its attributes would replace its numbers."""
    parts = state if isinstance(state, tuple) else (state,)
    for part in parts:
        names = part if isinstance(part, dict) else () if part is None else ("data",)
        if any(name in _NUMBERS or str(name).startswith("__") for name in names):
            return UnreadTensor("tensor whose attributes replace its numbers")
    return tensor


def _from_type(name: Name, arguments: tuple[Any, ...]) -> object:
    """`_rebuild_from_type_v2(function, class, arguments, state)`."""
    if len(arguments) != 4 or not isinstance(arguments[2], tuple):
        raise _bad(name)
    function, kind, inner, state = arguments
    if not isinstance(function, Name) or str(kind) not in _PLAIN_CLASSES:
        return UnreadTensor(f"tensor of class {_kind(kind)}")
    rebuild = TORCH_CALLS.get(str(function))
    if rebuild is None or rebuild is _from_type:
        return UnreadTensor(f"tensor made by {shown(str(function))}")
    return _with_state(rebuild(function, inner), state)


def _unread(kind: str) -> Callable[[Name, tuple[Any, ...]], object]:
    return lambda name, arguments: UnreadTensor(kind)


def _bad(name: Name) -> UnfitError:
    return UnfitError(f"arguments of {name.name} that are not those of a tensor")


TORCH_CALLS: dict[str, Callable[[Name, tuple[Any, ...]], object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch._utils._rebuild_qtensor": _unread("quantised tensor"),
    "torch._utils._rebuild_sparse_tensor": _unread("sparse tensor"),
    "torch._utils._rebuild_sparse_csr_tensor": _unread("sparse tensor"),
    "torch._utils._rebuild_nested_tensor": _unread("nested tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": _unread("tensor without numbers (meta)"),
    "torch._utils._rebuild_wrapper_subclass": _unread("tensor of another class"),
    "torch._utils._rebuild_device_tensor_from_numpy": _unread("tensor of another device"),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _unread("tensor of another device"),
}


class Storages:
    """The bytes of all storages, and the tensors that view them.

    Args:
        read: returns the bytes of a storage by its key, or None.
        order: the file's byte order, ``"<"`` or ``">"``.
    """

    def __init__(self, read: Callable[[str], bytes | None], order: str, where: str) -> None:
        self._read, self._order, self._where = read, order, where
        self._bytes: dict[str, bytes] = {}

    def tensor(self, value: object, name: str) -> StoredTensor:
        """Return the tensor that a reference stands for.

        Raises:
            InputError: its storage is missing or of another size, or the view leaves it.
        """
        where = f"{self._where}, tensor {shown(name)}"
        if isinstance(value, TensorRef):
            return self._from_storage(value, where)
        if isinstance(value, ArrayRef):
            return _from_numpy(value, where)
        return StoredTensor((), value.kind if isinstance(value, UnreadTensor) else "?", None)

    def _content(self, storage: StorageRef, where: str) -> bytes:
        content = self._bytes.get(storage.key)
        if content is None:
            content = self._read(storage.key)
            if content is None:
                raise InputError(
                    f"{where}: expected a storage {shown(storage.key)} in the file, but got none"
                )
            self._bytes[storage.key] = content
        wanted = storage_bytes(storage)
        if len(content) != wanted:
            raise InputError(
                f"{where}: expected a storage of {wanted} bytes, but got {len(content)}"
            )
        return content

    def _from_storage(self, ref: TensorRef, where: str) -> StoredTensor:
        code, item = _DTYPES[ref.dtype]
        content = self._content(ref.storage, where)
        count = check_shape(ref.size, where)
        _check_view(ref, count, len(content) // item, where)
        if code is None:
            return StoredTensor(ref.size, ref.dtype, None)
        dtype = np.dtype(self._order + code)
        if count == 0:
            return StoredTensor(ref.size, ref.dtype, np.zeros(ref.size, dtype))
        strides = tuple(step * item for step in ref.stride)
        view = np.ndarray(ref.size, dtype, content, ref.offset * item, strides)
        if ref.dtype == "bool":
            view = view != 0
        if ref.negated:
            view = view ^ dtype.type(0x8000) if ref.dtype == "bfloat16" else np.negative(view)
        return StoredTensor(ref.size, ref.dtype, view)


def _check_view(ref: TensorRef, count: int, available: int, where: str) -> None:
    """Refuse a view that leaves its storage."""
    steps_fit = all(0 <= step <= MAX_ELEMENTS for step in ref.stride)
    last = ref.offset + sum((n - 1) * step for n, step in zip(ref.size, ref.stride, strict=True))
    inside = 0 <= ref.offset <= available and (count == 0 or last < available)
    if not steps_fit or not inside:
        raise InputError(
            f"{where}: expected a view inside its storage of {available} elements, but got "
            f"offset {digits_of(ref.offset)} and last element {digits_of(last)}"
        )


def _from_numpy(array: ArrayRef, where: str) -> StoredTensor:
    if array.dtype is None or array.dtype.code is None:
        return StoredTensor((), "NumPy array of another type", None)
    count = check_shape(array.shape, where)
    dtype = np.dtype(array.dtype.code)
    if count * dtype.itemsize != len(array.raw):
        raise InputError(
            f"{where}: expected {count * dtype.itemsize} bytes, but got {len(array.raw)}"
        )
    if dtype.itemsize and count == 0:
        return stored(np.zeros(array.shape, dtype))
    flat = np.frombuffer(array.raw, dtype)
    if array.fortran:
        return stored(flat.reshape(array.shape[::-1]).T)
    return stored(flat.reshape(array.shape))


def is_tensor(value: object) -> bool:
    """Return whether a value of a pickle stands for a tensor."""
    return isinstance(value, TensorRef | UnreadTensor | ArrayRef)


def module_parts(value: object) -> tuple[Mapping[Any, Any], Mapping[Any, Any]] | None:
    """Return (tensors, submodules) of a pickled `torch.nn.Module`, or None."""
    if not isinstance(value, Instance) or len(value.states) != 1:
        return None
    state = value.states[0]
    if not isinstance(state, dict):
        return None
    parameters, modules = state.get("_parameters"), state.get("_modules")
    if not isinstance(parameters, dict) or not isinstance(modules, dict):
        return None
    buffers = state.get("_buffers")
    return {**parameters, **(buffers if isinstance(buffers, dict) else {})}, modules
