"""A live model and its samples as the conditions read them, and checkpoints of what was read."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from verify.certificate import Certificate
from verify.condition import Effort
from verify.engine import check
from verify.errors import InputError
from verify.network import Data, Feedforward, TwoLayer, recognise
from verify.readers.live import exported, torch_itself
from verify.readers.pt2_file import parse
from verify_conditions.checkpoints import replace_file, save_tensors

DATA = "data.npz"
WHERE = "certify_every"


def require(truth: bool, expected: str, got: object) -> None:
    """Refuse an argument.

    Raises:
        InputError: it is not what was expected.
    """
    if not truth:
        raise InputError(f"{WHERE}: expected {expected}, but got {got!r}")


@dataclass(eq=False)
class LiveModel:
    """What is certified, and how it is read.

    Args:
        model: a torch module, or anything that ``read`` knows.
        X: all samples; taken to the dtype of the module.
        y: targets, or None.
        conditions: names.
        settings: by full name.
        read: from the model to a network; None: the module is exported.
        budget: seconds for the expensive routes of each condition.

    Raises:
        InputError: X and y that do not fit.
        SettingsError: torch is not installed.
    """

    model: Any
    X: Any
    y: Any
    conditions: tuple[str, ...]
    settings: dict[str, str]
    read: Callable[[Any], Any] | None
    budget: float

    def __post_init__(self) -> None:
        """Take the samples once; a loop may change its own."""
        if self.read is None:
            torch = torch_itself()
            is_module = isinstance(self.model, torch.nn.Module)
            require(is_module, "a torch module, or read beside it", type(self.model).__name__)
            like = next((p for p in self.model.parameters() if p.is_floating_point()), None)
            dtype = None if like is None else like.dtype
            try:
                given = torch.as_tensor(self.X).detach()
            except (TypeError, ValueError) as error:
                raise InputError(f"{WHERE}: expected numbers X, but got {error}") from error
            self.X = given.to(torch.float64 if dtype is None else dtype).clone()
            if not bool(torch.isfinite(self.X).all()):
                raise InputError(f"{WHERE}: expected finite samples X, but got infinities or NaN")
        X, y = _numbers(self.X), None if self.y is None else _numbers(self.y)
        require(X.ndim >= 1 and len(X) > 0, "at least one sample X", X.shape)
        if y is not None:
            require(y.ndim >= 1 and len(y) == len(X), f"{len(X)} targets y", y.shape)
        self._data = Data(np.ascontiguousarray(X.reshape(len(X), -1)), y)

    def network(self) -> tuple[Any, bytes]:
        """Return the network of now, and the bytes of its `.pt2` where there are some."""
        if self.read is not None:
            return self.read(self.model), b""
        parameters = [*self.model.parameters(), *self.model.buffers()]
        if any(tensor.is_meta for tensor in parameters):
            raise InputError(f"{WHERE}: expected weights with numbers, but got the meta device")
        X = self.X.to(parameters[0].device) if parameters else self.X
        # The batch has the size of all samples, since a module may ask for it.
        content = exported(self.model, X[:1].expand(X.shape))
        return recognise(parse(content, type(self.model).__name__)), content

    def data(self) -> Data:
        """Return the samples."""
        return self._data

    def check(self, name: str, network: Any, data: Data, step: int) -> Certificate:
        """Decide one condition."""
        own = {key: text for key, text in self.settings.items() if key.startswith(f"{name}.")}
        told = {"file": f"{type(self.model).__name__} at step {step}", "format": "torch module"}
        (certificate,) = check(
            network, data, conditions=[name], settings=own, effort=Effort(budget=self.budget),
            provenance=told,
        )  # fmt: skip
        return certificate


def _numbers(given: Any) -> Any:
    """Return numbers of a tensor or array as float64 or int64, exactly."""
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        given = (given.double() if given.is_floating_point() else given).numpy()
    found = np.array(given)
    require(found.dtype.kind in "biuf", "real numbers", found.dtype)
    return found.astype(np.float64 if found.dtype.kind == "f" else np.int64)


def store_checkpoint(place: Path, step: int, network: Any, content: bytes, data: Data) -> None:
    """Store a network and its samples.

    Raises:
        InputError: it is neither fully connected with one activation nor a torch module, or the
            checkpoints that the folder has are about other samples.
    """
    samples = {"X": data.X} | ({} if data.y is None else {"y": data.y})
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **samples)
    if not (place / DATA).exists():
        replace_file(place / DATA, stream.getvalue())
    elif (place / DATA).read_bytes() != stream.getvalue():
        raise InputError(
            f"{WHERE}: expected the samples of the checkpoints that {str(place)!r} has, but got "
            "others; name another folder"
        )
    sigma = _only_activation(network)
    if sigma is not None:
        declared = {"family": network.family, "activation": sigma, "step": step}
        save_tensors(place / f"{stem_of(step)}.safetensors", network.tensors(), declared)
    elif content:
        replace_file(place / f"{stem_of(step)}.pt2", content)
    else:
        raise InputError(
            f"{WHERE}: expected a fully connected network of one activation or a torch module to "
            f"store, but got the family {network.family}"
        )


def _only_activation(network: Any) -> str | None:
    if isinstance(network, TwoLayer):
        return str(network.activation)
    if isinstance(network, Feedforward) and not network.ties:
        names = {str(sigma) for sigma in network.activations}
        return names.pop() if len(names) == 1 else None
    return None


def stem_of(step: int) -> str:
    """Return the begin of the names of all files of a step."""
    return f"step-{step:06d}"


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave the generators of Python, NumPy and torch as they were."""
    torch: Any = sys.modules.get("torch")
    own, numpy_own = random.getstate(), np.random.get_state()
    devices = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    tensor_own = None if torch is None else torch.get_rng_state()
    device_own = torch.cuda.get_rng_state_all() if torch is not None and devices else []
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(numpy_own)
        if torch is not None:
            torch.set_rng_state(tensor_own)
            if devices:
                torch.cuda.set_rng_state_all(device_own)
