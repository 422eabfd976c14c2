"""Files to networks and data: everything is read as data, and nothing is executed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from verify.network import Data, Network, Run
    from verify.readers.model_table import ModelTable


@dataclass(frozen=True)
class UserModule:
    """The table ``[model]`` that holds for a file.

    Args:
        table: names a class and its arguments, or activations.
        folder: from which the class is imported.
        trust: whether running it was allowed.
    """

    table: ModelTable
    folder: Path
    trust: bool


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model file, read.

    Args:
        network: what the conditions speak about.
        data: samples stored in the file or declared by it and found beside it, or None.
        file: the path as given.
        sha256: digest of the bytes that were read.
        format: name of the reader.
        declared: everything that was declared, by name.
        tensors_found: name, shape and dtype of every stored tensor.
        placeholders: classes and functions of the file that were replaced by inert objects.
        settings: condition settings, ``"condition.key"`` to text; flags win over files.
        origins: where each declared name comes from: flag, verify.toml, pyproject.toml, file, or
            tensor names.
        module: the table ``[model]`` that was used, or None.
    """

    network: Network
    data: Data | None
    file: str
    sha256: str
    format: str
    declared: Mapping[str, str]
    tensors_found: tuple[tuple[str, tuple[int, ...], str], ...]
    placeholders: tuple[str, ...]
    settings: Mapping[str, str]
    origins: Mapping[str, str]
    module: UserModule | None = None


def read_network(
    path: str | os.PathLike[str],
    *,
    family: str | None = None,
    activation: str | None = None,
    settings: Mapping[str, str] | None = None,
    key: str | None = None,
    trust: bool = False,
) -> Loaded:
    """Read a model file without executing anything in it.

    Args:
        path: a `.pt`, `.pth`, `.pt2`, `.onnx`, `.safetensors` or `.npz` file, or one that a plug-in
            reads.
        family: a family or layout, as in ``--family``.
        activation: as in ``--activation``.
        settings: ``"condition.key"`` to exact text, as in ``--set``.
        key: which part of a nested checkpoint, as in ``--key``.
        trust: whether a class that verify.toml declares may be imported, as with ``--trust``.

    Raises:
        InputError: the file is malformed, or does not hold the tensors of the family.
        SettingsError: something that must be declared is not.
        UnsafeFileError: the file asks for code to be run.
    """
    from verify.readers.network_file import load

    return load(path, family, activation, settings or {}, key, trust)


def read_run(folder: str | os.PathLike[str], model: Loaded, *, skip: Iterable[str] = ()) -> Run:
    """Read the checkpoints of a training run, in order, as networks of the model's family.

    Files named .npz, .safetensors, .pt, .pth, .ckpt, .pt2 and .onnx are checkpoints. They are
    ordered by the step that each states (a declared or stored ``step``), else by the number at the
    end of each name, else by name.

    Args:
        folder: holds the checkpoints, and nothing else of these suffixes.
        model: the network that is checked; its declarations hold for files without their own.
        skip: paths of files that are no checkpoints.

    Raises:
        InputError: no checkpoints, no order, or a file that is not a network like the model.
        VerifyError: as `read_network` does.
    """
    from verify.readers.run_folder import read

    return read(folder, model, skip)


def read_data(path: str | os.PathLike[str]) -> Data:
    """Read samples from `.npz`, `.npy`, `.csv` or `.safetensors`.

    Raises:
        InputError: the file is malformed, has no X, or X and y do not fit together.
    """
    from pathlib import Path

    from verify.readers.data_file import read

    return read(Path(path))[0]
