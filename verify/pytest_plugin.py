"""The pytest plug-in: a network that has lost a proof fails a test.

The fixture ``verify`` checks in the body of a test; the marker ``@pytest.mark.verify(model=...)``
checks before the body. Any verdict but pass fails the test. Nothing heavy is imported until used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from verify.certificate import Certificate
    from verify.network import Data

_MARKER = (
    "verify(model, condition=None, data=None, **flags): check the model before the test runs; any "
    "verdict but pass fails it. Flags: family, activation, key, settings, backend, budget, "
    "all_routes, trust"
)
_FLAGS = ("family", "activation", "key", "settings", "backend", "budget", "all_routes", "trust")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def verify(request: pytest.FixtureRequest) -> Checker:
    """Decide conditions about networks: ``verify.check(...)``, ``verify.passes(...)``."""
    return Checker(request.config.rootpath)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Run the checks of the markers before the body of the test."""
    for marker in item.iter_markers("verify"):
        flags = dict(marker.kwargs)
        positional = dict(zip(("model", "condition", "data"), marker.args, strict=False))
        given = {**positional, **flags}
        twice = set(positional) & set(flags)
        if "model" not in given or len(marker.args) > 3 or twice:
            pytest.fail(
                f"pytest.mark.verify: expected model=... once, but got {marker.args!r} and "
                f"{sorted(flags)}",
                pytrace=False,
            )
        model, data = given.pop("model"), given.pop("data", None)
        named = given.pop("condition", None)
        names = [] if named is None else [named] if isinstance(named, str) else list(named)
        Checker(item.config.rootpath).passes(model, data, *names, **given)


class Checker:
    """What the fixture ``verify`` is. Relative paths start at pytest's root directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(
        self, model: Any, data: Any = None, *conditions: str, **flags: Any
    ) -> list[Certificate]:
        """Return one certificate for each condition.

        Args:
            model: a path, a network of `verify.network`, a torch module (which is exported in
                evaluation form, with data as an example of its input), or a mapping of names to
                arrays or tensors (a state dict), which needs ``family`` and ``activation``.
            data: a path, a `verify.network.Data`, an array X, a mapping with X, y and Z, or None.
            conditions: names; none means every installed condition.
            flags: family, activation, key, settings (``"condition.key"`` to exact text), backend,
                budget, all_routes, trust.

        Raises:
            VerifyError: the model or data cannot be read, or a flag is missing or unknown.
        """
        from verify.condition import Effort
        from verify.engine import check
        from verify.errors import SettingsError

        unknown = sorted(set(flags) - set(_FLAGS))
        if unknown:
            raise SettingsError(f"verify: expected flags {', '.join(_FLAGS)}, but got {unknown}")
        given = _data(data, self._root) if data is not None else None
        network, own_data, settings, provenance = self._model(_exported(model, given), flags)
        given = own_data if given is None else given
        effort = Effort(
            backend=flags.get("backend") or os.environ.get("VERIFY_BACKEND", "auto"),
            budget=flags.get("budget", 10.0),
            all_routes=flags.get("all_routes", False),
        )
        return check(
            network,
            given,
            conditions=conditions or None,
            settings=settings,
            effort=effort,
            provenance=provenance,
        )

    def passes(
        self, model: Any, data: Any = None, *conditions: str, **flags: Any
    ) -> list[Certificate]:
        """Return the certificates, or fail the test unless every condition passes.

        Conditions that do not apply do not count unless they were named or none applies.
        """
        __tracebackhide__ = True
        from verify.errors import VerifyError
        from verify.verdict import EXIT_PASS, exit_code

        again = self._again(model, data, conditions, flags)
        problem, certificates = "", []
        try:
            certificates = self.check(model, data, *conditions, **flags)
        except VerifyError as error:
            problem = str(error).removeprefix("verify: ")
        if problem:
            pytest.fail(f"verify: {problem}\nreproduce: {again}", pytrace=False)
        verdicts = [certificate.verdict for certificate in certificates]
        if exit_code(verdicts, requested=bool(conditions)) != EXIT_PASS:
            pytest.fail(_failure(certificates, again), pytrace=False)
        return certificates

    def _model(
        self, model: Any, flags: Mapping[str, Any]
    ) -> tuple[Any, Data | None, Mapping[str, str], dict[str, str]]:
        """Return the network, data stored with it, the settings and where it comes from."""
        from verify.errors import InputError
        from verify.network import Network

        settings = flags.get("settings") or {}
        if isinstance(model, Network):
            ignored = sorted({"family", "activation", "key"} & set(flags))
            if ignored:
                raise InputError(
                    "verify: expected a network without flags that describe a file, "
                    f"but got {', '.join(ignored)}"
                )
            return model, None, settings, {"file": "", "format": "network"}
        if isinstance(model, str | os.PathLike):
            from verify.readers import read_network

            loaded = read_network(
                self._root / model, settings=settings, family=flags.get("family"),
                activation=flags.get("activation"), key=flags.get("key"),
                trust=flags.get("trust", False),
            )  # fmt: skip
            provenance = {"file": str(model), "sha256": loaded.sha256, "format": loaded.format}
            return loaded.network, loaded.data, loaded.settings, provenance
        if isinstance(model, Mapping):
            return _from_arrays(model, flags)
        raise InputError(
            f"verify: expected a path, a network, a torch module or a mapping of arrays, "
            f"but got {type(model).__name__}"
        )

    def _again(
        self, model: Any, data: Any, conditions: tuple[str, ...], flags: Mapping[str, Any]
    ) -> str:
        """Return the command that repeats the check, if the model is a file."""
        from verify.command_line import command_line

        if not isinstance(model, str | os.PathLike):
            return "run this test again; its model is not a file"
        texts = {key: flags.get(key) for key in ("family", "activation", "key")}
        if isinstance(data, str | os.PathLike):
            texts["data"] = str(self._root / data)
        return command_line(
            str(self._root / model),
            texts=texts,
            conditions=conditions,
            settings=flags.get("settings"),
            backend=flags.get("backend") or "auto",
            budget=flags.get("budget", 10.0),
            all_routes=flags.get("all_routes", False),
            trust=flags.get("trust", False),
        )


def _from_arrays(
    model: Mapping[str, Any], flags: Mapping[str, Any]
) -> tuple[Any, Data | None, Mapping[str, str], dict[str, str]]:
    from verify.errors import InputError
    from verify.readers.assembly import assemble
    from verify.readers.declaration import from_flags
    from verify.readers.tensors import TensorBag, stored

    arrays = {str(name): stored(_array(value)) for name, value in model.items()}
    if len(arrays) != len(model):
        raise InputError("verify: expected each name once, but got two keys with one text")
    bag = TensorBag({"": arrays})
    declared = from_flags(
        flags.get("family"), flags.get("activation"), flags.get("settings") or {}, flags.get("key")
    )
    built = assemble(bag, declared, "the given arrays")
    return built.network, built.data, built.settings, {"file": "", "format": "arrays"}


def _array(value: Any) -> Any:
    """Return an array or a torch tensor as a NumPy array; bfloat16 becomes float32, exactly."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        value = value.numpy()
    return np.asarray(value)


def _exported(model: Any, data: Data | None) -> Any:
    """Return the network of a live torch module; anything else as it is."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return model
    from verify.errors import InputError
    from verify.readers.live import graph_of_module

    if data is None:
        raise InputError(
            f"verify: expected data with the torch module {type(model).__name__}, an example of "
            "its input, but got none"
        )
    kind = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    return graph_of_module(model, torch.as_tensor(data.X[:2]).to(kind))


def _data(data: Any, root: Path) -> Data:
    from verify.errors import InputError
    from verify.network import Data as DataValue
    from verify.readers import read_data
    from verify.readers.data_file import data_from
    from verify.readers.tensors import stored

    if isinstance(data, DataValue):
        return data
    if isinstance(data, str | os.PathLike):
        return read_data(root / data)
    if not isinstance(data, Mapping):
        data = {"X": data}
    unknown = sorted(str(name) for name in set(data) - {"X", "y", "Z"})
    if "X" not in data or unknown:
        raise InputError(
            f"verify: expected data with X and optionally y and Z, but got {sorted(map(str, data))}"
        )
    y, Z = (None if data.get(name) is None else stored(_array(data[name])) for name in ("y", "Z"))
    return data_from(stored(_array(data["X"])), y, "the given data", Z=Z)


def _failure(certificates: list[Certificate], again: str) -> str:
    """Return the verdicts with margin and next step, as the terminal shows them."""
    from verify import registry

    shown = registry.load("reports", "terminal")(certificates, details=False)
    return f"verify: not every condition passes\n\n{shown}\nreproduce: {again}"
