"""The state of the EE wrapper as tensors, numbers and text: what `torch.save` stores safely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.certificate import Certificate, digest_array
from verify.enclosure import Enclosure, endpoint_from_hex, hex_of
from verify.errors import InputError
from verify_conditions.expressivity.ee_certificate import RankProof, Recorded
from verify_conditions.expressivity.ee_curve import Comparison, Curve
from verify_conditions.expressivity.ee_descent import LastLayer
from verify_conditions.expressivity.ee_phases import Draw, Phase

if TYPE_CHECKING:
    from verify_conditions.expressivity.training import EEWrapper

_ABOUT = ("proved", "rung", "why", "structural", "seconds")
_PLAIN = ("steps", "exploited", "voids", "_distance", "_digest", "_flags")


def packed(wrapper: EEWrapper) -> dict[str, Any]:
    """Return the wrapper's own state."""
    return {
        **{name: getattr(wrapper, name) for name in _PLAIN},
        "voids": list(wrapper.voids),
        "phase": str(wrapper.phase),
        **_identity(wrapper),
        "draws": [asdict(draw) for draw in wrapper.draws],
        "records": [asdict(record) for record in wrapper.records],
        "before": {name: value.clone() for name, value in wrapper._before.items()},
        "V": _tensor(wrapper._V),
        "proof": None if wrapper.proof is None else _proof(wrapper.proof),
        "problem": None if wrapper._problem is None else _problem(wrapper._problem),
        "curve": None if wrapper._curve is None else asdict(wrapper._curve),
    }


def unpacked(wrapper: EEWrapper, state: Mapping[str, Any]) -> None:
    """Put a stored state into a wrapper with the same settings.

    Raises:
        InputError: it was stored with other samples, another loss or another mode.
    """
    for name, own in _identity(wrapper).items():
        if state[name] != own:
            raise InputError(
                f"EEWrapper: expected a state with the same {name}, but got {state[name]!r} "
                f"for {own!r}"
            )
    for name in _PLAIN:
        setattr(wrapper, name, state[name])
    wrapper.voids = list(state["voids"])
    wrapper.phase = Phase(state["phase"])
    wrapper.draws = [Draw(**each) for each in state["draws"]]
    wrapper.records = [Recorded(**each) for each in state["records"]]
    wrapper._before = {name: value.clone() for name, value in state["before"].items()}
    wrapper._V = _array(state["V"])
    wrapper.proof = None if state["proof"] is None else _read_proof(state["proof"])
    wrapper._problem = None if state["problem"] is None else _read_problem(state["problem"])
    wrapper._curve = None if state["curve"] is None else _read_curve(state["curve"])


def _identity(wrapper: EEWrapper) -> dict[str, str]:
    X = np.ascontiguousarray(wrapper.X.detach().cpu().double().numpy())
    samples = f"{digest_array(X)} {digest_array(np.ascontiguousarray(wrapper.y))}"
    return {"loss": wrapper.loss, "mode": wrapper.mode, "samples": samples}


def _tensor(array: Any) -> Any:
    import torch

    return torch.from_numpy(np.array(array))


def _array(tensor: Any) -> Any:
    return np.array(tensor.numpy())


def _proof(proof: RankProof) -> dict[str, Any]:
    given = proof.certificate
    return {
        "certificate": given.to_json(),
        "arrays": {name: _tensor(array) for name, array in given.arrays.items()},
        "network": {name: _tensor(array) for name, array in given.network.items()},
        "sigma_n": [hex_of(proof.sigma_n.lo), hex_of(proof.sigma_n.hi)],
        "sigma_max": [hex_of(proof.sigma_max.lo), hex_of(proof.sigma_max.hi)],
        **{name: getattr(proof, name) for name in _ABOUT},
    }


def _read_proof(state: Mapping[str, Any]) -> RankProof:
    arrays, network = (
        {name: _array(tensor) for name, tensor in state[part].items()}
        for part in ("arrays", "network")
    )
    sigma_n, sigma_max = (
        Enclosure(*(endpoint_from_hex(end) for end in state[name]))
        for name in ("sigma_n", "sigma_max")
    )
    return RankProof(
        Certificate.from_json(state["certificate"], arrays=arrays, network=network),
        sigma_n=sigma_n,
        sigma_max=sigma_max,
        **{name: state[name] for name in _ABOUT},
    )


def _problem(problem: LastLayer) -> dict[str, Any]:
    return {
        "features": _tensor(problem.features),
        "row_radius": _tensor(problem.row_radius),
        "y": _tensor(problem.y),
        **{name: getattr(problem, name) for name in ("ones", "outputs", "loss", "sigma_max")},
    }


def _read_problem(state: Mapping[str, Any]) -> LastLayer:
    arrays = {name: _array(state[name]) for name in ("features", "row_radius", "y")}
    plain = {name: state[name] for name in ("ones", "outputs", "loss", "sigma_max")}
    return LastLayer(**arrays, **plain)


def _read_curve(state: Mapping[str, Any]) -> Curve:
    points = tuple(Comparison(**each) for each in state["comparisons"])
    return Curve(state["start"], state["step"], state["rate"], points)
