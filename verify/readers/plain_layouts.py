"""Plain arrays: W, U, b, and the implicit ReLU network with its scaled weight."""

from __future__ import annotations

import numpy as np

from verify.network import (
    AffineInput,
    PlainWeight,
    ReluFeatureInput,
    RowNormalisedWeight,
    ScaledGaussianWeight,
    StateWeight,
)
from verify.readers.layouts import Constants, Layout, Parts, View

_STATE = ("W", "A", "W.weight", "A.weight")
_NORMALISED = (("W_v", "W_g"), ("W.weight_v", "W.weight_g"), ("A_v", "A_g"),
               ("A.weight_v", "A.weight_g"))  # fmt: skip
_INPUT = ("U", "B", "U.weight", "B.weight")
_BIAS = ("b", "bias", "U.bias", "B.bias", "W.bias", "A.bias")


def _build_plain(view: View, constants: Constants) -> Parts:
    weight, notes = _state(view)
    m = weight.width
    bias_name = view.one_of(_BIAS, required=False)
    bias = view.vector(bias_name, m) if bias_name else None
    input_name = view.one_of(_INPUT, required=False)
    if input_name is None:
        if bias is None:
            return Parts(weight, notes=notes)
        told = "the file has a bias and no input map, so b ranges over all of R^m; it is kept"
        return Parts(weight, readout={"bias": bias}, notes=(*notes, told))
    U = view.matrix(input_name, rows=m)
    if bias is None:
        bias, notes = np.zeros(m), (*notes, "no bias is stored: b(x) = U x")
    return Parts(weight, AffineInput(U, bias), notes=notes)


def _state(view: View) -> tuple[StateWeight, tuple[str, ...]]:
    name = view.one_of([*_STATE, *(v for v, g in _NORMALISED if view.has(g))])
    for v_name, g_name in _NORMALISED:
        if name == v_name:
            v = view.square(v_name)
            g = view.row_factors(g_name, len(v))
            note = f"{v_name[:-2]} is stored with weight normalisation, one factor a row"
            return RowNormalisedWeight(v=v, g=g), (note,)
    return PlainWeight(view.square(str(name))), ()


def _build_implicit_relu(view: View, constants: Constants) -> Parts:
    A = view.square("A")
    gamma = constants.number("gamma", "the scale gamma", "1/2")
    V = view.matrix("W", rows=len(A))
    readout = {name: view.array(name) for name in ("u", "v") if view.has(name)}
    return Parts(ScaledGaussianWeight(A, gamma), ReluFeatureInput(V), readout)


PLAIN = Layout(
    name="equilibrium",
    tells="W or A (m, m), optional U or B (m, d), optional b or bias (m,)",
    variants=(*((name,) for name in _STATE), *_NORMALISED),
    build=_build_plain,
)
IMPLICIT_RELU = Layout(
    name="implicit-relu",
    tells="A (m, m), W (m, d), optional u and v",
    variants=(("A", "W"),),
    build=_build_implicit_relu,
    activation="relu",
    constants=("gamma=1/2",),
)
