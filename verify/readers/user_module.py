"""A class of the user's own, run in a process of its own, only with ``--trust``.

The process builds the module, loads the tensors that were read here, and exports it. Nothing that
it says is trusted but the exported program, which is read as data; its weights must be the ones
that were handed over.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import InputError, SettingsError
from verify.network import Graph
from verify.readers.model_table import ModelTable
from verify.readers.pt2_archive import open_program
from verify.readers.pt2_program import graph_of_program
from verify.readers.tensors import StoredTensor, read_bytes, shown

# Importing torch and exporting takes some ten seconds on a slow machine.
TIMEOUT = 300.0
_TYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64",
    "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
_START = "from verify.readers.user_module import export; export()"


def graph_of_class(
    table: ModelTable, tensors: Mapping[str, StoredTensor], folder: Path, *, trust: bool
) -> Graph:
    """Return the network of a class with these tensors as its state dict.

    Args:
        table: names the class, its arguments and the shape of a sample.
        tensors: the state dict.
        folder: of the model, from which the class is imported.
        trust: whether running the code was allowed.

    Raises:
        SettingsError: it was not allowed, or the class does not take the tensors.
        InputError: what came back is not a network, or has other weights.
    """
    if not trust:
        raise SettingsError(
            f"{table.source}, [model] class: expected --trust, because {shown(table.name)} is code "
            "that would be imported and run, but got none; add --trust if you trust that code"
        )
    where = f"[model] class {shown(table.name)}"
    with tempfile.TemporaryDirectory(prefix="verify-") as place:
        home = Path(place)
        _write_tensors(tensors, home / "weights.safetensors", where)
        request = {"class": table.name, "arguments": table.arguments, "input": table.input}
        (home / "request.json").write_text(json.dumps(request))
        _run(home, folder, where)
        content, _ = read_bytes(home / "model.pt2")
    program = open_program(content, where)
    _check_weights(tensors, program.weights, where)
    return graph_of_program(program, where)


def _write_tensors(tensors: Mapping[str, StoredTensor], file: Path, where: str) -> None:
    """Write tensors with their own types; the header of the format is JSON after its length."""
    header, parts, end = {}, [], 0
    for name, tensor in tensors.items():
        if tensor.values is None or tensor.dtype not in _TYPES:
            raise InputError(
                f"{where}: expected tensors of real numbers, but got {shown(name)} of type "
                f"{tensor.dtype}"
            )
        values = np.ascontiguousarray(tensor.values)
        parts.append(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
        start, end = end, end + len(parts[-1])
        header[name] = {
            "dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]
        }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *parts]))


def _run(home: Path, folder: Path, where: str) -> None:
    """Run the other process; what it prints is kept in a file.

    Raises:
        SettingsError: it failed, gave nothing, or took too long.
    """
    command = [sys.executable, "-P", "-c", _START, str(home), str(folder.resolve())]
    with (home / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            code = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise SettingsError(
                f"{where}: expected a module within {TIMEOUT:.0f} seconds, but got none"
            ) from error
        finally:
            process.kill()
            process.wait()
    if code != 0 or not (home / "model.pt2").is_file():
        text = (home / "output.txt").read_bytes()[-4000:].decode(errors="replace")
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "no output")
        raise SettingsError(
            f"{where}: expected a module that takes the stored tensors and that torch can export, "
            f"but got exit code {code}: {shown(last.strip(), 300)}"
        )


def _check_weights(
    given: Mapping[str, StoredTensor], found: Mapping[str, StoredTensor], where: str
) -> None:
    for name, tensor in found.items():
        own = given.get(name)
        same = own is not None and own.shape == tensor.shape
        if own is None or not same or not np.array_equal(own.exact(name), tensor.exact(name)):
            raise InputError(
                f"{where}: expected the stored tensors unchanged, but got another {shown(name)}"
            )


def export() -> None:
    """Build and export the module; runs in the other process, with its folders as arguments."""
    home, folder = Path(sys.argv[1]), sys.argv[2]
    from safetensors.torch import load_file

    from verify.readers.live import exported, torch_itself

    torch = torch_itself()
    request = json.loads((home / "request.json").read_text())
    state = load_file(home / "weights.safetensors")
    sys.path.insert(0, folder)
    module = _instance(request["class"], request["arguments"])
    with torch.no_grad():
        held = {**dict(module.named_parameters(remove_duplicate=False)),
                **dict(module.named_buffers(remove_duplicate=False))}  # fmt: skip
        for name, tensor in held.items():
            if name in state:
                # Loading copies into the type that the module has, which would round.
                tensor.data = tensor.data.to(state[name].dtype)
    module.load_state_dict(state, strict=True)
    types = [t.dtype for t in state.values() if t.is_floating_point()]
    sample = torch.zeros((2, *request["input"]), dtype=types[0] if types else None)
    (home / "model.pt2").write_bytes(exported(module, sample))


def _instance(name: str, arguments: Mapping[str, Any]) -> Any:
    path, _, inside = name.partition(":")
    found: Any = importlib.import_module(path)
    for part in inside.split("."):
        found = getattr(found, part)
    return found(**arguments)
