"""Witnesses about the risk of a two-layer network: what each is, its check, its numbers.

Each kind is a row of a table. Its texts name parts of the witness with the form in which they are
shown, ``{s_crit:range}``; a sentence whose part is absent is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from verify.errors import VerifyError
from verify_reports import _witness_words as words
from verify_reports._encoded import decoded
from verify_reports._shown import CUT, Shown

Data = Mapping[str, Any]
_NETWORK = "u(x) = a · σ(W x + b) + c"
_ENTRIES = "A decimal entry stands for the binary64 number that it reads as."
_REST = "Every other trained inner weight is 0."


@dataclass(frozen=True)
class Kind:
    """How a kind of witness is shown.

    ``table`` holds (heading, key of the entries, key of the row labels), ``corner`` the heading
    of the labels; ``derived`` computes further parts from the stored ones.
    """

    title: str
    check: str
    says: tuple[str, ...] = ()
    table: tuple[tuple[str, str, str], ...] = ()
    corner: str = "t"
    derived: Callable[[Data], Data] = lambda data: {}


_SIDES = (
    ("V_s, s below s_crit", "V_below", "t_below"),
    ("V_s, s above s_crit", "V_above", "t_above"),
)
_TRIED = (
    "Tried at s = {s_below:number}, below s_crit, where V_s tends to +∞.",
    "Tried at s = {s_above:number}, above s_crit, where V_s tends to -∞.",
)

KINDS = {
    "outer-layer-ray": Kind(
        "a ray of weights along which V_s tends to -∞ for every s > s_crit",
        f"Put the weights into V_s = ‖∇f‖²/s - Δf with {_NETWORK}: the output does not depend on "
        "t, and V_s = {count} t² ((λ_a² + c'² ‖h‖²)/s - c' S) + O(t), negative in the end for s > "
        "s_crit. h is the mean of l'_i σ'(w0 · x_i) x_i and S that of l''_i σ'(w0 · x_i)² ‖x_i‖²; "
        "l' and l'' are the derivatives of the loss (u_i - y_i and 1 for squares), and trained "
        "inner biases extend x_i by 1.",
        (
            "{moves}, with w0 = {w0:vector}.",
            "Their inner bias is {b0:number}.",
            "Every other outer weight and trained inner weight is 0.",
            "S {S:range}, ‖h‖² {h_squared:range}, "
            "s_crit = (λ_a² + c'² ‖h‖²)/(c' S) {s_crit:range}.",
            *_TRIED,
        ),
        _SIDES,
        derived=words.outer_layer,
    ),
    "polynomial-ray": Kind(
        "a ray of weights along which V_s tends to -∞ for every s > s_crit",
        f"Put the weights into V_s = ‖∇f‖²/s - Δf with {_NETWORK}: the two neurons cancel, the "
        "output does not depend on t, and V_s is a polynomial in t with the leading term "
        "(G/s - L) t^{top}, negative for s > s_crit = G/L.",
        (
            "{moves}, with v = {direction:vector}. " + _REST,
            "α has the sign of -a_{j}/a_{k} and |α|^{degree:number} = {root:number}.",
            "s_crit {s_crit:range}.",
            *_TRIED,
        ),
        _SIDES,
        derived=words.polynomial,
    ),
    "flat-ray": Kind(
        "a ray of weights without penalty along which f stays bounded",
        "Put the weights into f: {argument_words}. " + _ENTRIES,
        (
            "{moves}. " + _REST + " The outer weights are a = {outer:vector}.",
            "f is at most {bound:most} for every t ≥ 0.",
        ),
        (("f", "f", "t"),),
        derived=words.ray,
    ),
    "bounded-gradient-ray": Kind(
        "a ray of weights without penalty along which V_s stays bounded from above, for every s",
        "For the logistic loss |l'| ≤ 1 and 0 ≤ l'' ≤ 1/4. Put the weights into ∇f and Δf: both "
        "bounds hold for every t ≥ 0, so V_s = ‖∇f‖²/s - Δf does not tend to +∞.",
        (
            "{moves}. " + _REST + " The outer weights are a = {outer:vector}.",
            "‖∇f‖² ≤ {gradient_squared:most} and -Δf ≤ {minus_laplacian:most} on the ray.",
        ),
        derived=words.ray,
    ),
    "kink": Kind(
        "a line in weight space along which the {order_words} of f jumps",
        "Take φ(h) = f with w_{j:nr} replaced by w_{j:nr} + h v (a row ends with the bias where it "
        "is trained): the pre-activation of neuron {j:nr} meets a kink of σ for the samples named "
        "(at h = 0, or close to it where the place of the kink is only enclosed), and the share of "
        "all others in φ is smooth there. " + _ENTRIES,
        (
            "w_{j:nr} = {row:vector}.",
            "w_{other:nr} = {other_row:vector}.",
            "v = {direction:vector}; the outer weights are a = {outer:vector}, the other inner "
            "weights as stored.",
            "Samples at the kink, counted from 1: {data:nrs}.",
            "The {order_words} of their share: from the right {right:range}, from the left "
            "{left:range}, so it jumps by an amount {jump:range}.",
        ),
        derived=words.kink,
    ),
    "negative-curvature": Kind(
        "weights at which f curves downwards, so that f is not convex",
        "Put W and E into the second derivative of f(W + h E) at h = 0. " + _ENTRIES,
        ("D²f(W)[E, E] {D2:range}.",),
        (("W", "at", "entries"), ("E", "along", "entries")),
        corner="entry",
        derived=words.curvature,
    ),
    "unbounded-hessian": Kind(
        "a line on which the second derivative of f is unbounded",
        "Put the weights into D²f[E, E] with v in row {j:nr} of E and 0 elsewhere: it is a factor "
        "times t plus a bounded term, so no Lipschitz constant of ∇f exists. " + _ENTRIES,
        (
            "{moves}, with v = {direction:vector}; " + _REST.lower(),
            "The factor of t is {growth:bound}.",
        ),
        (("D²f[E, E]", "D2", "t"),),
        derived=words.hessian,
    ),
    "oscillation-zeros": Kind(
        "zeros of ∇f that go on to infinity along a ray, where V_s = -Δf is bounded, for every s",
        "On the ray w_{neuron:nr} = τ x the gradient is g(τ) x. g has opposite signs at the two "
        "ends of each bracket, and since λ is below the threshold it changes sign infinitely "
        "often.",
        (
            "x = {x:vector}; λ = {penalty:number}, the threshold {threshold:range}.",
        ),
        (("zero τ", "zeros", "index"), ("V_s at the zero", "V", "index")),
        corner="k",
        derived=words.zeros,
    ),
    "bias-zeros": Kind(
        "zeros b_k → ∞ of σ: f does not grow along an inner bias without penalty",
        "σ has opposite signs at the ends of each bracket. With W = 0 and b_1 = b_k, all other "
        "inner biases 0, f has the same value for all k.",
        (),
        (("zero b_k", "zeros", "index"),),
        corner="k",
        derived=words.zeros,
    ),
    "oscillation-threshold": Kind(
        "λ is above the threshold of the log-oscillating activation",
        "The threshold is c' (m/n) (a ‖x‖)² (A²/2) (√(1 + ω²) - 1) for σ(z) = A z cos((ω/2) "
        "log(1 + z²)), where m of the n inputs are x and the others 0; compare the squares.",
        ("λ = {penalty:number}, the threshold {threshold:range}.",),
    ),
    "even-monomial": Kind(
        "σ is an even monomial, and the outer weights have one sign",
        "Look at σ and at the signs of a: <∇f, W> and Δf are then bounded by powers of the "
        "residuals.",
        ("The degree is {degree:number}; {case:text}.",),
    ),
    "spanning-data": Kind(
        "data that see every direction of the inner weights",
        "The outer weights have one sign, so the outputs of the neurons cannot cancel.",
        (
            "The inputs have full rank, and σ {rank_alone}.",
            "Positive factors with which the inputs add up to 0: {weights:vector}; the inputs have "
            "full rank.",
        ),
        derived=words.spanning,
    ),
    "constant-output": Kind(
        "{zero:text} = 0, so the output on the data does not depend on the trained inner weights",
        "Look at {zero:text}: f is its penalty plus a constant.",
        ("{free:text} has no penalty, so f does not change along it.",),
    ),
    "coupling-supersolution": Kind(
        "a lower bound of the rate of the reflection coupling",
        "A positive F with 2 s F'' + γ F' ≤ -rate F, γ(r) = -λ r + min(2 G, λ_cvx r), exists: "
        "it is written with the functions of Kummer and Hermite, and its sign is checked in balls.",
        ("G = {G:number}, λ_cvx = {lambda_cvx:number}, λ = {lambda:number}, s = {s:number}, "
         "rate = {rate:number}.",),
    ),
    "mirror-data": Kind(
        "data over which the kinks of σ cancel",
        "Sort the inputs by lines through 0: on each line the two sides of the kink add up to the "
        "same polynomial, so f is a quadratic polynomial, positive definite by its penalties.",
    ),
    "changed-tensor": Kind(
        "a checkpoint in which a tensor declared frozen is another one",
        "Compare {tensor:text} of {checkpoint:text} with that of the checked network.",
    ),
}  # fmt: skip


def explained(kind: str, stored: Any, kinds: Mapping[str, Kind] = KINDS) -> Shown | None:
    """Return a witness for display, or None if its kind or its form is not known."""
    found = kinds.get(kind)
    if found is None:
        return None
    try:
        data = {name: decoded(value) for name, value in stored.items()}
        return _shown(found, data | dict(found.derived(data)))
    except (VerifyError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None  # a stored witness must not cost the reader the report


def _shown(kind: Kind, data: Data) -> Shown:
    parts = {name: words.Part(value) for name, value in data.items()}
    says = tuple(_sentences(kind.says, parts))
    columns, rows = _table(kind, data)
    cut = any("…" in text for text in (*says, *(cell for row in rows for cell in row)))
    return Shown(
        title=kind.title.format_map(parts),
        check=kind.check.format_map(parts) + (f" {CUT}" if cut else ""),
        columns=columns,
        rows=rows,
        says=says,
        hidden=data["hidden"] if type(data.get("hidden")) is int else 0,
        by_hand=True,
    )


def _sentences(templates: tuple[str, ...], parts: Mapping[str, words.Part]) -> Iterator[str]:
    for template in templates:
        try:
            yield template.format_map(parts)
        except words.AbsentPartError:
            continue


def _table(kind: Kind, data: Data) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return headings and rows; a column may have entries for some of the row labels only."""
    cells: dict[Any, list[str]] = {}
    shown = [column for column in kind.table if data.get(column[1])]
    for at, (_, values, labels) in enumerate(shown):
        for label, value in zip(data[labels], data[values], strict=True):
            cells.setdefault(label, ["—"] * len(shown))[at] = words.cell(value)
    rows = tuple((words.label(label), *row) for label, row in cells.items())
    return (kind.corner, *(column[0] for column in shown)) if rows else (), rows
