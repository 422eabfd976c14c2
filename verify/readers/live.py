"""Live torch modules: exported in evaluation form and read like a `.pt2` file."""

from __future__ import annotations

import importlib
import io
import warnings
from typing import TYPE_CHECKING, Any

from verify.errors import InputError, SettingsError
from verify.network import recognise
from verify.readers.pt2_file import parse

if TYPE_CHECKING:
    import torch

    from verify.network import Feedforward, Graph, TwoLayer


def graph_of_module(
    module: torch.nn.Module, sample: torch.Tensor
) -> Graph | Feedforward | TwoLayer:
    """Return the network that a module computes in evaluation form.

    The mode of every submodule is as before afterwards; parameters, buffers and the state of the
    random generators are not touched.

    Args:
        module: takes one tensor and returns one.
        sample: a batch, shape (n, ...).

    Raises:
        InputError: torch cannot export the module, or it does what is not covered.
        SettingsError: torch is not installed.
    """
    return recognise(parse(exported(module, sample), type(module).__name__))


def exported(module: torch.nn.Module, sample: torch.Tensor) -> bytes:
    """Return the bytes of the `.pt2` file of a module in evaluation form.

    Raises:
        InputError: torch cannot export the module.
        SettingsError: torch is not installed.
    """
    torch = torch_itself()
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    content = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(torch.export.export(module, (sample,)), content)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise InputError(
            f"{type(module).__name__}: expected a module that torch can export, but got "
            f"{type(error).__name__}: {reason[:200]!a}"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
    return content.getvalue()


def torch_itself() -> Any:
    """Return torch, an extra that only modules need; nothing else here computes with it.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise SettingsError(
            "torch: expected it to be installed, which modules need, but got none; "
            "install the extra 'torch'"
        ) from error
