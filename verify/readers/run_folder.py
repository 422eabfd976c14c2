"""The checkpoints of a training run: every network file of a folder, in order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from verify.errors import InputError, VerifyError
from verify.network import Equilibrium, Network, Run, StoredCheckpoint
from verify.readers import Loaded
from verify.readers.network_file import load_like
from verify.readers.tensors import MAX_FILE_BYTES, shown

SUFFIXES = (".npz", ".safetensors", ".pt", ".pth", ".ckpt", ".pt2", ".onnx")


def read(folder: str | os.PathLike[str], model: Loaded, skip: Iterable[str]) -> Run:
    """Read the checkpoints of a folder; see `verify.readers.read_run`."""
    place = Path(folder)
    where = shown(str(place), 200)
    files = _files(place, {Path(path).resolve() for path in skip}, model, where)
    stated = [_checkpoint(file, model) for file in files]
    steps = _steps(files, [step for _, step in stated], where)
    found = [
        StoredCheckpoint(step, file.name, network)
        for file, step, (network, _) in zip(files, steps, stated, strict=True)
    ]
    if None not in steps:
        found.sort(key=lambda checkpoint: checkpoint.step or 0)
    return Run({"folder": os.fspath(folder)}, tuple(found))


def _files(place: Path, skip: set[Path], model: Loaded, where: str) -> list[Path]:
    """Return the files in the natural order of their names."""
    try:
        listed = [file for file in place.iterdir() if file.suffix.lower() in SUFFIXES]
        sizes = [file.stat().st_size for file in listed]
    except OSError as error:
        raise InputError(
            f"--run: expected a readable folder {where}, but got {error.strerror}"
        ) from error
    data = model.declared.get("data")
    files = [
        file
        for file in listed
        if not file.name.startswith(".") and file.name != data and file.resolve() not in skip
    ]
    if not files:
        raise InputError(
            f"--run: expected checkpoints ({', '.join(SUFFIXES)}) in {where}, but got none"
        )
    if sum(sizes) > MAX_FILE_BYTES:
        raise InputError(
            f"--run: expected at most {MAX_FILE_BYTES} bytes of checkpoints in {where}, "
            f"but got {sum(sizes)}"
        )
    return sorted(files, key=lambda file: _natural(file.name))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key in which numbers compare as numbers."""
    parts = re.findall("[0-9]+|[^0-9]+", name)
    key = [(len(d := p.lstrip("0")), 0, d) if p[0] in "0123456789" else (0, 1, p) for p in parts]
    return [*key, (0, 0, name)]


def _checkpoint(file: Path, model: Loaded) -> tuple[Network, int | None]:
    try:
        network, step = load_like(file, model)
    except VerifyError as error:
        text = str(error)
        told = text if file.name in text else f"{shown(str(file), 200)}: {text}"
        raise type(error)(f"--run: {told}") from error
    difference = _difference(network, model.network)
    if difference is not None:
        wanted, got = difference
        raise InputError(
            f"--run: {shown(str(file), 200)}: expected a checkpoint of the model, with {wanted}, "
            f"but got {got}"
        )
    return network, step


def _difference(own: Network, model: Network) -> tuple[str, str] | None:
    """Return what the model is and the checkpoint is not, or None."""
    for mine, others in zip(_described(own), _described(model), strict=True):
        if mine != others:
            return others, mine
    return None


def _described(network: Network) -> tuple[str, str, str, str]:
    shapes = {role: list(array.shape) for role, array in network.tensors().items()}
    constants = network.weight.constants() if isinstance(network, Equilibrium) else {}
    return (
        network.equation,
        f"activation {network.activation}",
        f"tensors {', '.join(f'{role} {shape}' for role, shape in sorted(shapes.items()))}",
        f"constants {', '.join(f'{name} = {value}' for name, value in constants.items())}",
    )


def _steps(files: Sequence[Path], stated: Sequence[int | None], where: str) -> Sequence[int | None]:
    """Return a step for each file: those stated, else those in the names, else none at all.

    Raises:
        InputError: some files have a step and others have none, or two have the same.
    """
    named = [_number(file.stem) for file in files]
    for steps in (stated, named):
        if None not in steps and len(set(steps)) == len(steps):
            return steps
    if not any(step is not None for step in (*stated, *named)):
        return [None] * len(files)
    for steps in (stated, named):
        if None not in steps:
            twice = next(step for step in steps if steps.count(step) > 1)
            raise InputError(
                f"--run: expected one checkpoint a step in {where}, but got two of step {twice}"
            )
    some = stated if any(step is not None for step in stated) else named
    lacking = files[list(some).index(None)]
    raise InputError(
        f"--run: expected a step in every checkpoint of {where} or at the end of every name, "
        f"but got none for {shown(lacking.name)}"
    )


def _number(stem: str) -> int | None:
    match = re.search("[0-9]+$", stem)
    return int(match[0]) if match and len(match[0]) < 19 else None
