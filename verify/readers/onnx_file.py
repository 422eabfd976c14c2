"""`.onnx` files: the graph of operators as data, weights from the file or from beside it.

Nothing is executed and nothing is guessed: an operator, an attribute or a shape that is not
understood is refused. The graph says what the file says. An exporter that merges batch
normalisation into the convolution before it writes another network with other parameters; it is
read as that network.

Numbers without axes are taken as written in the code, with the decimal that they print as, unless
the exporter marks them as parameters; tensors are stored as they are.

Sharing of tensors: a tensor that is used twice, or by another name that stands for it, counts as
tied, since a file tells no difference between a parameter that is shared and two equal ones that
an exporter stored once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verify.errors import InputError
from verify.readers.onnx_graph import GraphReader
from verify.readers.onnx_tensors import ExternalFiles
from verify.readers.tensors import TensorBag, read_bytes, shown

OLDEST_OPSET, NEWEST_OPSET = 8, 23
# Types of a FieldDescriptor.
_STRING, _MESSAGE = 9, 11
_STANDARD = ("", "ai.onnx")


def read(path: Path) -> TensorBag:
    """Read the graph and the tensors of an ONNX file.

    Raises:
        InputError: not an ONNX file, the library is missing, or something that is not covered.
        UnsafeFileError: weights outside the folder of the model.
    """
    where = shown(str(path), 200)
    content, digest = read_bytes(path)
    try:
        model = _parsed(content, where)
        _check_texts(model, where)
        opset = _opset(model, where)
        external = ExternalFiles(path.parent, where)
        reader = GraphReader(model.graph, opset, external, where, _parameters(model))
        graph = reader.graph()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: expected names in UTF-8, but got other bytes") from error
    return TensorBag(
        {"": reader.stored},
        sha256=digest,
        notes=external.notes(),
        network=graph,
    )


def _parsed(content: bytes, where: str) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            f"{where}: expected the package onnx, which reads this file, but got none; "
            "install verify-nn[onnx]"
        ) from error
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise InputError(f"{where}: expected an ONNX model, but got other bytes") from error
    for name in ("functions", "training_info"):
        if len(getattr(model, name)):
            raise InputError(
                f"{where}: expected standard operators only, but got {name.replace('_', ' ')}"
            )
    if not model.HasField("graph") or not len(model.graph.node):
        raise InputError(f"{where}: expected an ONNX model with a graph, but got none")
    return model


def _check_texts(message: Any, where: str) -> None:
    """Refuse texts that are no UTF-8, which the library hands over as bytes."""
    for field, value in message.ListFields():
        if field.type == _STRING:
            texts = [value] if isinstance(value, str | bytes) else value
            if not all(isinstance(text, str) for text in texts):
                raise InputError(f"{where}: expected names in UTF-8, but got other bytes")
        elif field.type == _MESSAGE:
            for inner in [value] if hasattr(value, "ListFields") else value:
                _check_texts(inner, where)


def _opset(model: Any, where: str) -> int:
    versions = [int(entry.version) for entry in model.opset_import if entry.domain in _STANDARD]
    if len(versions) != 1 or not OLDEST_OPSET <= versions[0] <= NEWEST_OPSET:
        raise InputError(
            f"{where}: expected one operator set of version {OLDEST_OPSET} to {NEWEST_OPSET}, "
            f"but got {versions[:4]}"
        )
    return versions[0]


def _parameters(model: Any) -> frozenset[str] | None:
    """Return the tensors that are parameters or buffers, or None where the exporter does not tell.

    PyTorch marks them, or gives them alone names of Python attributes.
    """
    key, kinds = "pkg.torch.export.graph_signature.InputSpec.kind", ("PARAMETER", "BUFFER")
    told = [
        (info.name, entry.value in kinds)
        for info in (*model.graph.value_info, *model.graph.input)
        for entry in getattr(info, "metadata_props", ())
        if entry.key == key
    ]
    if told:
        return frozenset(name for name, kept in told if kept)
    if model.producer_name != "pytorch":
        return None
    names = (tensor.name for tensor in model.graph.initializer)
    return frozenset(name for name in names if "::" not in name and not name.startswith("/"))
