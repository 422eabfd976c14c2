"""Layouts of published implicit-network code: fully connected layers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from verify.errors import InputError
from verify.network import (
    AffineInput,
    BoxMonotoneWeight,
    LowRankRowScaledWeight,
    MonotoneWeight,
    NonEuclideanWeight,
    OpaqueInput,
    PlainWeight,
    RowNormalisedWeight,
    RowScaledWeight,
    SoftplusMonotoneWeight,
    StateWeight,
    UpperTriangularWeight,
)
from verify.readers.layouts import Constants, Layout, Parts, View
from verify.readers.tensors import shown

_AFTER_NORMALISATION = "x is what enters U, after the code's own normalisation of its inputs"
_MARGIN = ("the margin m", "1")
# Radius of the l1 ball onto which that code projects the rows of A before each forward pass.
_IDL_RADIUS = 0.95


def _linear_input(view: View, m: int) -> AffineInput:
    """Return U x + b of a stored ``U`` linear layer; without a stored bias it is 0."""
    U = view.matrix("U.weight", rows=m)
    bias = view.vector("U.bias", m) if view.has("U.bias") else np.zeros(m)
    return AffineInput(U, bias)


def _build_mondeq(view: View, constants: Constants) -> Parts:
    B = view.square("B.weight")
    A = view.matrix("A.weight", columns=len(B))
    margin = constants.number("m", *_MARGIN)
    readout = view.under(_beside(view, "Wout."))
    return Parts(MonotoneWeight(A, B, margin), _linear_input(view, len(B)), readout,
                 (_AFTER_NORMALISATION,))  # fmt: skip


def _build_mondeq_quant(view: View, constants: Constants) -> Parts:
    S = view.square("S")
    A = view.matrix("A", columns=len(S))
    m_raw = view.vector("m_raw", 1)
    bias = view.vector("b", len(S)) if view.has("b") else np.zeros(len(S))
    source = AffineInput(view.matrix("U", rows=len(S)), bias)
    readout = view.under(_beside(view, "classifier."))
    return Parts(SoftplusMonotoneWeight(A, S, m_raw), source, readout, (_AFTER_NORMALISATION,))


def _build_nemon(view: View, constants: Constants) -> Parts:
    A = view.square("A.weight")
    d = view.vector("d", len(A))
    margin = constants.number("m", "the bound m of the matrix measure", "0.05")
    readout = view.under(_beside(view, "Wout."))
    return Parts(NonEuclideanWeight(A, d, margin), _linear_input(view, len(A)), readout,
                 (_AFTER_NORMALISATION,))  # fmt: skip


def _build_ibp_mondeq(view: View, constants: Constants) -> Parts:
    M = view.square("M.weight")
    margin = constants.number("m", *_MARGIN[:1], "0.5")
    notes = ["the bias of the layer M is stored by that code and never used"]
    view.used.add(f"{view.prefix}M.bias")
    if view.has("lben_p"):
        scale = view.vector("lben_p", len(M))
        condition = constants.number("c", "the condition number c of the scaling L", "3")
        if condition < 1:
            raise InputError(f"{view.layout}: expected c of at least 1, but got {condition}")
    else:
        scale, condition = np.zeros(len(M)), Fraction(1)
        notes.append("no lben_p is stored: L = I, written as c = 1")
    if margin >= 1:
        raise InputError(f"{view.layout}: expected m below 1, but got {margin}")
    weight = BoxMonotoneWeight(M, scale, margin, condition)
    U = view.matrix("U.M.weight", rows=len(M))
    bias = view.vector("U.M.bias", len(M)) if view.has("U.M.bias") else np.zeros(len(M))
    plain = AffineInput(U, bias)
    readout = view.under(_beside(view, "Wout.", levels=4))
    rest = view.under(view.prefix)
    if not rest:
        return Parts(weight, plain, readout, (*notes, _AFTER_NORMALISATION))
    stored = {"U.M.weight": U, "U.M.bias": bias} | {
        name.removeprefix(view.prefix): values for name, values in rest.items()
    }
    source = OpaqueInput("b(x) = relu(BN(U x)) + c0, not evaluated here", stored)
    return Parts(weight, source, readout, tuple(notes))


def _build_idl(view: View, constants: Constants) -> Parts:
    A = view.square("A")
    source, readout = _idl_input(view, constants, len(A))
    largest = float(np.abs(A).sum(axis=1).max(initial=0.0))
    note = (
        "A is taken as stored; that code's default projects the rows of A on the l1 ball of radius "
        f"{_IDL_RADIUS} before each forward pass, and the largest row sum of |A| is about "
        f"{largest:.6g}"
    )
    if largest > _IDL_RADIUS * (1 + 1e-5):
        note += ": this file was saved before a projection, and such a forward pass uses another A"
    return Parts(PlainWeight(A), source, readout, (note,))


def _build_torchidl(view: View, constants: Constants) -> Parts:
    kappa = constants.number("kappa", "the scaling bound kappa", "0.99")
    if kappa <= 0:
        raise InputError(f"{view.layout}: expected kappa above 0, but got {kappa}")
    weight: StateWeight
    if view.has("A"):
        if view.has("L") or view.has("R"):
            raise InputError(f"{view.layout}: expected either A or L and R, but got both")
        weight = RowScaledWeight(view.square("A"), kappa)
    else:
        L = view.matrix("L")
        weight = LowRankRowScaledWeight(L, view.matrix("R", *L.shape), kappa)
    source, readout = _idl_input(view, constants, weight.width)
    return Parts(weight, source, readout)


def _build_torchidl_triu(view: View, constants: Constants) -> Parts:
    A = view.square("A")
    source, readout = _idl_input(view, constants, len(A))
    note = "the diagonal and the lower triangle of A are stored and never used"
    return Parts(UpperTriangularWeight(A), source, readout, (note,))


def _idl_input(view: View, constants: Constants, m: int) -> tuple[AffineInput, dict[str, np.ndarray[
    tuple[int, ...], np.dtype[np.float64]]]]:  # fmt: skip
    """Return B u, or B (u, 1) if a column for a constant 1 is declared; and C, D."""
    B = view.matrix("B", rows=m)
    readout = {}
    if view.has("C"):
        readout["C"] = view.matrix("C", columns=m)
    if view.has("D"):
        readout["D"] = view.matrix("D", columns=B.shape[1])
    column = constants.switch(
        "bias_column", "whether the last column of B multiplies a constant 1 (bias=True)"
    )
    if not column:
        return AffineInput(B, np.zeros(m)), readout
    if B.shape[1] == 0:
        raise InputError(f"{view.layout}: expected B with a bias column, but got {B.shape}")
    return AffineInput(B[:, :-1].copy(), B[:, -1].copy()), readout


def _build_pcdeq(view: View, constants: Constants) -> Parts:
    v = view.square("f.W.weight_v")
    g = view.row_factors("f.W.weight_g", len(v))
    negative = bool((g[:, None] * v < 0).any())
    sign = "some entries of W are negative" if negative else "all entries of W are >= 0"
    notes = (
        f"{sign} as stored (that code clamps them after each step)",
        "b(x) > 0 or b(x) >= 0 in that code; the answer here is for every b in R^m",
    )
    rest = view.under("")
    source = OpaqueInput("b(x) is computed by the layers before the block, not evaluated here",
                         rest)  # fmt: skip
    return Parts(RowNormalisedWeight(v=v, g=g), source, notes=notes)


def _beside(view: View, name: str, levels: int = 2) -> str:
    """Return the name of a module that stands beside the layer, ``levels`` folders up."""
    parts = view.prefix.split(".")[:-1]
    return ".".join([*parts[: max(0, len(parts) - levels)], name])


MONDEQ = Layout(
    name="mondeq",
    tells="linear_module.U.weight (n, d), .A.weight (n, n), .B.weight (n, n)",
    variants=(("A.weight", "B.weight", "U.weight"),),
    without=("g", "h"),
    build=_build_mondeq,
    automatic="linear_module.",
    constants=("m=1",),
)
MONDEQ_QUANT = Layout(
    name="mondeq-quant",
    tells="core.A (r, n), .S (n, n), .m_raw, .U (n, d), .b (n,)",
    variants=(("m_raw", "A", "S", "U"),),
    build=_build_mondeq_quant,
    automatic="core.",
)
NEMON = Layout(
    name="nemon",
    tells="linear_module.U.weight (n, d), .A.weight (n, n), .d (n,)",
    variants=(("d", "A.weight", "U.weight"),),
    without=("B.weight", "g"),
    build=_build_nemon,
    automatic="linear_module.",
    constants=("m=0.05",),
)
IBP_MONDEQ = Layout(
    name="ibp-mondeq",
    tells="U.M.weight (n, d), M.weight (n, n), lben_p (n,)",
    variants=(("U.M.weight", "M.weight"),),
    build=_build_ibp_mondeq,
    automatic="linear_module.",
    constants=("m=0.5", "c=3"),
)
IDL = Layout(
    name="idl",
    tells="A (n, n), B (n, p), C (q, n), optional D (q, p), used as stored",
    variants=(("A", "B", "C"),),
    build=_build_idl,
    constants=("bias_column=no",),
)
TORCHIDL = Layout(
    name="torchidl",
    tells="A (n, n) or L and R (n, r), B (n, p), C (q, n), D (q, p), scaled by kappa",
    variants=(("A", "B", "C"), ("L", "R", "B")),
    build=_build_torchidl,
    constants=("kappa=0.99", "bias_column=no"),
)
TORCHIDL_TRIU = Layout(
    name="torchidl-triu",
    tells="A (n, n), of which the strictly upper triangle is used, B (n, p), C (q, n), D (q, p)",
    variants=(("A", "B", "C"),),
    build=_build_torchidl_triu,
    constants=("bias_column=no",),
)
PCDEQ = Layout(
    name="pcdeq",
    tells="deq.f.W.weight_g (n, 1), .weight_v (n, n)",
    variants=(("f.W.weight_v", "f.W.weight_g"),),
    build=_build_pcdeq,
    automatic="deq.",
)


def not_covered(names: list[str]) -> str | None:
    """Return what a file is that can be named but not certified yet, or None."""
    ends = {name.rpartition(".")[2] for name in names}
    starts = {part for name in names for part in name.split(".")}
    if {"latent_convs", "fc_y"} <= starts or {"latent_convs", "conv_y"} <= starts:
        return "a Jacobian-free-backpropagation network of convolutions (gamma and R undeclared)"
    if any(name.endswith(("A0.0", "A_n0.0", "A0.0.weight")) for name in names):
        return "a multi-scale convolutional monotone network"
    if "g" in ends and any(name.endswith("A.weight") for name in names):
        kind = "monotone network (SingleConvNet)" if "h" in ends else "non-Euclidean network"
        return f"a convolutional {kind}"
    if any(end.endswith("_orig") for end in ends):
        shown_name = shown(next(name for name in names if name.endswith("_orig")))
        return (
            f"a module with spectral normalisation ({shown_name}), whose stored norm is a "
            "power-iteration estimate and no bound"
        )
    return None


LAYOUTS = (MONDEQ, MONDEQ_QUANT, NEMON, IBP_MONDEQ, IDL, TORCHIDL, TORCHIDL_TRIU, PCDEQ)
