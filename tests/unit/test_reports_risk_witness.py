"""Witnesses about the risk: each kind is told in sentences, with numbers rounded outward."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.canonical import encode_value
from verify_reports import _risk_witness, _witness

TIMES = [10**2, 10**4, 10**6]
PAIR = [Fraction(1, 3), Fraction(2, 3)]
V = [[Fraction(1), Fraction(3, 2)], [Fraction(4), Fraction(5)], [Fraction(7), Fraction(8)]]
SIDES = {
    "s_crit": PAIR, "s_below": Fraction(1, 8), "s_above": Fraction(5), "t_below": TIMES,
    "V_below": V, "t_above": [*TIMES, 10**9], "V_above": [[-b, -a] for a, b in [*V, V[-1]]],
}  # fmt: skip
UNIT = [Fraction(int(k == 3)) for k in range(9)]
ONE = [Fraction(1)]
WITNESSES: dict[str, dict[str, Any]] = {
    "outer-layer-ray": {
        "neurons": [0, 1], "signs": [1, -1], "w0": UNIT, "b0": None, "S": PAIR, "h_squared": PAIR,
        **SIDES,
    },
    "polynomial-ray": {
        "neurons": [0, 2], "degree": 3, "root": Fraction(1, 2), "direction": UNIT, **SIDES,
    },
    "flat-ray": {
        "argument": "cancelling", "roles": ["W", "W", "a"], "neurons": [0, 1, 2],
        "directions": [UNIT, [-x for x in UNIT], ONE], "outer": [*ONE, *ONE, *ONE],
        "bound": Fraction(1, 3), "t": TIMES, "f": V,
    },
    "bounded-gradient-ray": {
        "roles": ["c"], "neurons": [0], "directions": [ONE], "outer": ONE,
        "gradient_squared": Fraction(1, 3), "minus_laplacian": Fraction(2, 3),
    },
    "kink": {
        "j": 4, "row": UNIT, "other": 1, "other_row": UNIT, "direction": UNIT, "outer": ONE,
        "data": [0, 6], "order": 1, "right": PAIR, "left": [-x for x in PAIR[::-1]], "jump": PAIR,
    },
    "negative-curvature": {
        "W": [UNIT, UNIT], "a": [*ONE, *ONE], "b": None, "c": Fraction(1, 2),
        "direction W": [UNIT, [-x for x in UNIT]], "direction a": [Fraction(0), Fraction(0)],
        "direction b": None, "direction c": Fraction(-1), "D2": [-x for x in PAIR[::-1]],
    },
    "unbounded-hessian": {
        "j": 0, "k": 1, "direction": UNIT, "growth": [-x for x in PAIR[::-1]], "t": TIMES, "D2": V,
    },
    "oscillation-zeros": {
        "threshold": PAIR, "penalty": Fraction(1, 10), "x": ONE, "neuron": 0, "zeros": V[:2],
        "V": V[:2],
    },
    "bias-zeros": {"zeros": V},
    "oscillation-threshold": {"threshold": PAIR, "penalty": Fraction(1, 10)},
    "even-monomial": {"degree": 4, "case": "every penalty is positive"},
    "spanning-data": {"weights": PAIR},
    "constant-output": {"zero": "X", "free": "W"},
    "coupling-supersolution": {
        "G": Fraction(1), "lambda_cvx": "inf", "lambda": Fraction(1, 10), "s": Fraction(1, 2),
        "rate": Fraction(1, 2**400),
    },
    "mirror-data": {},
    "changed-tensor": {"checkpoint": "step <1>.npz", "tensor": "a"},
}  # fmt: skip


def stored(kind: str, **changes: Any) -> dict[str, Any]:
    data = WITNESSES[kind] | changes
    return {"kind": kind, "data": {name: encode_value(v, {}, name) for name, v in data.items()}}


def text_of(kind: str, **changes: Any) -> str:
    shown = _witness.shown(stored(kind, **changes))
    return "\n".join([shown.title, *shown.lines(width=72)])


def test_every_kind_has_an_example_here() -> None:
    assert set(WITNESSES) == set(_risk_witness.KINDS)


def test_every_kind_that_is_made_can_be_explained() -> None:
    root = Path(__file__).parents[2]
    folders = ["kernels/verify_kernels/two_layer", "conditions/verify_conditions/villani"]
    sources = [path.read_text("utf-8") for name in folders for path in (root / name).glob("*.py")]
    kinds = {kind for text in sources for kind in re.findall(r'Witness\(\s*"([a-z-]+)"', text)}
    assert len(kinds) > 10
    assert kinds <= set(_risk_witness.KINDS)


@pytest.mark.parametrize("kind", sorted(WITNESSES))
def test_every_kind_is_explained_in_sentences(kind: str) -> None:
    shown = _risk_witness.explained(kind, stored(kind)["data"])
    assert shown is not None
    assert shown.by_hand
    assert shown.check.endswith((".", "stored with the certificate."))
    assert "{" not in text_of(kind)
    assert "None" not in text_of(kind)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("outer-layer-ray", "a_1 = t, a_2 = -t and w_1 = w_2 = w0, with w0 = (1 at entry 4, 0 at "),
        ("outer-layer-ray", "s_crit = (λ_a² + c'² ‖h‖²)/(c' S) in [0.333333, 0.666667]"),
        ("outer-layer-ray", "Tried at s = 1/8, below s_crit, where V_s tends to +∞."),
        ("polynomial-ray", "w_1 = t v and w_3 = α t v"),
        ("polynomial-ray", "α has the sign of -a_1/a_3 and |α|^3 = 1/2."),
        ("flat-ray", "a_3 = t, w_1 = t v with v = (1 at entry 4, 0 at the other 8), w_2 = t v′"),
        ("flat-ray", "f is at most 0.333334 for every t ≥ 0."),
        ("bounded-gradient-ray", "c = t. "),
        ("bounded-gradient-ray", "‖∇f‖² ≤ 0.333334 and -Δf ≤ 0.666667"),
        ("kink", "a line in weight space along which the first derivative of f jumps"),
        ("kink", "Samples at the kink, counted from 1: 1, 7."),
        ("kink", "w_2 = (1 at entry 4"),
        ("kink", "from the right in [0.333333, 0.666667], from the left in [-0.666667, -0.333333]"),
        ("negative-curvature", "D²f(W)[E, E] in [-0.666667, -0.333333]."),
        ("negative-curvature", "W_1,4    1   1"),
        ("negative-curvature", "c_1  1/2  -1"),
        ("unbounded-hessian", "The factor of t is at most -0.333333."),
        ("unbounded-hessian", "with v in row 1 of E"),
        ("oscillation-zeros", "λ = 1/10, the threshold in [0.333333, 0.666667]."),
        ("spanning-data", "add up to 0: (1/3, 2/3)"),
        ("constant-output", "X = 0, so"),
        ("constant-output", "W has no penalty"),
        ("mirror-data", "data over which the kinks of σ cancel"),
        ("changed-tensor", "Compare a of step <1>.npz with"),
    ],
)
def test_numbers_and_weights_are_told(kind: str, told: str) -> None:
    assert told in text_of(kind)


def test_what_a_witness_lacks_is_not_spoken_about() -> None:
    assert "Samples" in text_of("kink", other=None, other_row=None)
    assert "w_2" not in text_of("kink", other=None, other_row=None)
    assert "below s_crit, where" not in text_of("outer-layer-ray", s_below=None)
    assert "Their inner bias is 1/3." in text_of("outer-layer-ray", b0=Fraction(1, 3))
    assert "grows to one side at both ends" in text_of("spanning-data", weights=None)
    assert "grows to one side" not in text_of("spanning-data")
    assert "f is at most" not in text_of("flat-ray", bound=None)


def test_both_sides_of_the_critical_temperature_are_one_table() -> None:
    shown = _witness.shown(stored("outer-layer-ray"))
    assert shown.columns == ("t", "V_s, s below s_crit", "V_s, s above s_crit")
    assert shown.rows[0] == ("100", "[1, 1.5]", "[-1.5, -1]")
    assert shown.rows[3] == ("1000000000", "—", "[-8, -7]")


def test_bounds_in_a_witness_are_rounded_outward() -> None:
    third = Fraction(1, 3)
    shown = _witness.shown(stored("unbounded-hessian", D2=[[third, third]], t=[100]))
    assert shown.rows == (("100", "[0.33333, 0.33334]"),)
    shown = _witness.shown(stored("unbounded-hessian", D2=[[-third, -third]], t=[100]))
    assert shown.rows == (("100", "[-0.33334, -0.33333]"),)


def test_many_weights_are_cut_and_counted() -> None:
    many = [Fraction(k, 7) for k in range(1, 41)]
    W = [many, many]
    shown = _witness.shown(stored("negative-curvature", W=W, **{"direction W": W}))
    assert len(shown.rows) == 8
    assert shown.rows[0][0] == "W_1,37"  # the entries in which the direction is largest
    assert shown.hidden == 81 - 8  # c moves as well
    assert "40 entries)" in text_of("kink", row=many)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["1e999999999", "1/0", "<b>"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["integer", "rational", "integers", "rationals", "record", "tensor"]),
            inner,
            max_size=2,
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(WITNESSES)), st.data())
def test_no_stored_part_breaks_a_report(kind: str, data: st.DataObject) -> None:
    witness = stored(kind)
    name = data.draw(st.sampled_from([*sorted(witness["data"]), "hidden", "moves"]))
    witness["data"][name] = data.draw(json_values)
    shown = _witness.shown(witness)
    assert all(len(row) == len(shown.columns) for row in shown.rows)
    assert all(isinstance(line, str) for line in shown.lines(width=60))
