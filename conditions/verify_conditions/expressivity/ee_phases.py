"""What the EE wrapper does to a torch model: find its parts, perturb, freeze, watch, digest.

torch is imported inside the functions, so that importing this module loads nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import InputError

Array = NDArray[np.float64]


class Phase(StrEnum):
    """Where the wrapper stands."""

    EXPLORE = "explore"
    PERTURB = "perturb"
    CHECK_RANK = "check rank"
    EXPLOIT = "exploit"
    NO_PROOF = "no rank proof"


@dataclass(frozen=True)
class Draw:
    """One perturbation of the hidden weights and what came of it.

    Args:
        seed: of the generator.
        scale: standard deviation of the noise over the root mean square of each tensor.
        proved: whether rank Z = n is proved with it.
        why: the reason if not.
    """

    seed: int
    scale: float
    proved: bool = False
    why: str = ""


def last_linear(model: Any, given: Any = None) -> Any:
    """Return the last affine layer: the given one, else the last `Linear` of the model.

    Raises:
        InputError: there is none, or its weight or bias is not trained.
    """
    from torch import nn

    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    layer = given if given is not None else (layers[-1] if layers else None)
    if layer is None or not any(module is layer for module in layers):
        raise InputError(
            "EEWrapper: expected a model that ends in a torch.nn.Linear layer of its own, "
            f"but got {type(layer).__name__}"
        )
    if not all(parameter.requires_grad for parameter in layer.parameters()):
        raise InputError("EEWrapper: expected a last layer that is trained, but it is frozen")
    return layer


def hidden_parameters(model: Any, last: Any) -> dict[str, Any]:
    """Return the parameters below the last layer by name, trained or not."""
    own = {id(parameter) for parameter in last.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) not in own}


def copies(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of parameters by name."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def restore(parameters: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Write values into parameters."""
    import torch

    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])


def perturb(
    parameters: Mapping[str, Any], values: Mapping[str, Any], trained: set[str], draw: Draw
) -> None:
    """Write values plus Gaussian noise into the trained parameters.

    Every entry w becomes w + s r g: s the scale of the draw, r the root mean square of its tensor
    (1 for a tensor of zeros), g standard normal from a generator of the draw's seed, in float64
    and then rounded to the type of the tensor.
    """
    import torch

    generator = torch.Generator().manual_seed(draw.seed)
    with torch.no_grad():
        for name, parameter in parameters.items():
            base = values[name].detach().to("cpu", torch.float64)
            noise = torch.randn(base.shape, generator=generator, dtype=torch.float64)
            size = float(base.square().mean().sqrt()) or 1.0
            moved = base + draw.scale * size * noise if name in trained else base
            parameter.copy_(moved.to(parameter.dtype))


def freeze(model: Any, parameters: Mapping[str, Any]) -> None:
    """Freeze the hidden parameters and put the model in evaluation form."""
    model.eval()
    for parameter in parameters.values():
        parameter.requires_grad_(False)
        parameter.grad = None


def release(parameters: Mapping[str, Any], trained: set[str]) -> None:
    """Let the hidden parameters be trained again."""
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trained)


def in_training_form(model: Any) -> Iterator[str]:
    """Yield what acts otherwise in training form and is in it: batch norm, dropout and the like.

    Of a module that is not torch's own it is enough that its forward mentions ``training``.
    """
    from torch.nn.modules.batchnorm import _NormBase
    from torch.nn.modules.dropout import _DropoutNd

    for name, module in model.named_modules():
        code = getattr(type(module).forward, "__code__", None)
        asks = code is not None and "training" in code.co_names
        if module.training and (asks or isinstance(module, _NormBase | _DropoutNd)):
            yield f"{type(module).__name__} {name}".rstrip()


def row_digests(X: Any) -> set[bytes]:
    """Return a digest of every sample; both zeros count as one."""
    rows = np.ascontiguousarray((X.detach().cpu().double() + 0.0).numpy())
    return {hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows}


@dataclass(eq=False)
class InputWatch:
    """A hook that sees the inputs of the passes with gradients, and remembers foreign ones."""

    known: set[bytes]
    active: bool = False
    foreign: int = 0
    passes: list[str] = field(default_factory=list)

    def __call__(
        self, module: Any, inputs: tuple[Any, ...], named: Mapping[str, Any] | None = None
    ) -> None:
        """Compare the rows of a batch with the certified samples."""
        import torch

        if not self.active or not torch.is_grad_enabled():
            return
        for batch in (*inputs, *(named or {}).values()):
            if isinstance(batch, torch.Tensor):
                self.foreign += len(row_digests(batch) - self.known)
        self.passes += [name for name in in_training_form(module) if name not in self.passes]


def read_last(last: Any) -> Array:
    """Return [W, b] or W of the last layer as float64, exact."""
    parts = [last.weight.detach().cpu().double().numpy()]
    if last.bias is not None:
        parts.append(last.bias.detach().cpu().double().numpy()[:, None])
    return np.hstack(parts)


def write_last(last: Any, V: Array) -> None:
    """Write [W, b] into the last layer, rounded to its type."""
    import torch

    width = last.weight.shape[1]
    with torch.no_grad():
        last.weight.copy_(torch.from_numpy(np.ascontiguousarray(V[:, :width])))
        if last.bias is not None:
            last.bias.copy_(torch.from_numpy(np.ascontiguousarray(V[:, width])))


def rounded_like(last: Any, V: Array) -> Array:
    """Return V rounded to the type of the last layer, as float64."""
    import torch

    return np.asarray(torch.from_numpy(V).to(last.weight.dtype).double().numpy())
