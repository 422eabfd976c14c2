"""Reports about the risk of two-layer networks: witnesses, side statements, checkpoints."""

import json
import re
from copy import deepcopy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.canonical import encode_value
from verify.enclosure import hex_of
from verify_reports import _claims, _numbers, _risk_witness, _samples, _witness, html, terminal
from verify_reports._mathml import conjuncts

VECTORS = Path(__file__).parents[1] / "vectors" / "report_certificates.json"
TIMES = [10**2, 10**4, 10**6]
PAIR = [Fraction(1, 3), Fraction(2, 3)]


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    stored = json.loads(VECTORS.read_text(encoding="utf-8"))["villani"]
    return {kind.split()[1]: SimpleNamespace(**parts) for kind, parts in stored.items()}


def spoken(text: str) -> str:
    return " ".join(text.split())


# --- witnesses -----------------------------------------------------------------------------------

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
    "rank-count": {"n": 8, "parameters": 9},
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
        ("rank-count", "n = 8, D = 9."),
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


# --- whole reports -------------------------------------------------------------------------------


def test_terminal_shows_the_sign_of_v_on_both_sides(made: Any) -> None:
    lines = terminal.render([made["pair"]]).splitlines()
    row = next(line.split("  ") for line in lines if line.strip().startswith("1000000  "))
    below, above = [cell.strip() for cell in row if "[" in cell]
    assert not below.startswith("[-")
    assert above.startswith("[-")


@pytest.mark.parametrize("kind", ["pair", "kink", "rays"])
@pytest.mark.parametrize("render", [terminal.render, html.render])
def test_no_witness_is_just_a_name(made: Any, kind: str, render: Any) -> None:
    text = spoken(render([made[kind]]))
    for name in _risk_witness.KINDS:
        assert f"witness: {name.replace('-', ' ')} " not in text


def test_side_statements_are_told_apart_from_the_verdict(made: Any) -> None:
    text = terminal.render([made["rays"]])
    assert text.index("Side statements (none turns the verdict)") > text.index("✗ fail")
    assert "  Refuted: f is strongly convex" in text
    sides = text.split("Side statements")[1]
    assert "✗" not in sides
    assert "so the goal is false" not in sides


def test_side_statements_have_headings_of_their_own(made: Any) -> None:
    text = html.render([made["pass"]])
    part = text.split("<h3>Side statements</h3>")[1].split("<h3>")[0]
    heads = re.findall(r"<h4>(\w+): <span>", part)
    assert heads
    assert set(heads) <= {"Proved", "Refuted", "Undecided"}
    assert "<h5>" in part
    assert 'class="verdict' not in part
    assert "decides" not in part


@pytest.mark.parametrize("render", [terminal.render, html.render])
def test_what_is_recalled_is_not_called_measured(made: Any, render: Any) -> None:
    text = spoken(render([made["pass"]]))
    (recalled,) = [c for c in made["pass"].claim["consequences"] if "recalled" in c["name"]]
    words = _claims.consequence_words(recalled)
    assert words.endswith("(as recalled, not proved)")
    assert words in text


def test_exact_settings_are_shown_as_they_are(made: Any) -> None:
    text = spoken(terminal.render([made["pass"]]))
    assert "lambda = 1/10" in text
    assert "[0.0999999, 0.100001]" not in text
    assert '<td class="value">= 1/10</td>' in html.render([made["pass"]])


def test_an_exact_number_must_lie_in_its_enclosure() -> None:
    near = {"how": "exactly 1/10", "lo": hex_of(Fraction(1, 16)), "hi": hex_of(Fraction(1, 8))}
    assert _claims.value_words(near) == "= 1/10"
    assert _claims.value_words(near | {"how": "exactly 1/5"}) == "in [0.0625, 0.125]"
    assert _claims.value_words(near | {"how": "not exactly 1/10"}) == "in [0.0625, 0.125]"
    assert _claims.value_words(near | {"how": "exactly 1/10e9"}) == "in [0.0625, 0.125]"


def test_checkpoints_are_a_table_in_the_terminal(made: Any) -> None:
    text = terminal.render([made["pass"]])
    assert "\n4 of 4 checkpoints certified\n" in text
    assert "squared_gradient" not in text
    row = next(line.split() for line in text.splitlines() if "step-0.npz" in line)
    assert len(row) == 5
    assert all(cell.endswith("…") for cell in row[1:])


def test_checkpoints_are_a_table_on_the_page(made: Any) -> None:
    text = html.render([made["pass"]])
    part = text.split("<h3>Per checkpoint</h3>")[1]
    heads = re.findall(r'<th scope="col">([^<]*)</th>', part)[:5]
    assert heads == ["checkpoint", "f", "squared gradient norm", "V_s", "drift margin"]


@given(st.fractions(), st.fractions(min_value=0))
def test_leading_digits_belong_to_both_ends(lo: Fraction, width: Fraction) -> None:
    text = _numbers.leading(lo, lo + width / 10**6)
    if text.endswith("…") and "e" not in text:
        size = abs(Fraction(text.rstrip("…")))
        assert size <= abs(lo)
        assert size <= abs(lo + width / 10**6)


def test_relations_that_hold_do_not_speak_for_a_refuted_statement(made: Any) -> None:
    text = terminal.render([made["kink"]])
    part = spoken(text.split("Bounded activation, any penalty")[1].split("⇒")[0])
    assert ": refuted" in part
    assert "room" not in part


@pytest.mark.parametrize("kind", ["pair", "rays", "pass"])
def test_hostile_witnesses_and_sentences_stay_text(made: Any, kind: str) -> None:
    certificate = deepcopy(made[kind])
    bad = "<script>alert(1)</script>\x1b[31m\u202e"
    for item in certificate.claim["side_statements"]:
        item["sentence"] = bad
    for route in certificate.claim["routes"]:
        for found in route["facts"].values():
            found["how"] = bad
            found["witness"] = stored("changed-tensor", checkpoint=bad, tensor=bad)
    for text in (html.render([certificate]), terminal.render([certificate])):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "<script" not in html.render([certificate])


def test_keys_are_words() -> None:
    assert [_samples.heading(key) for key in ("V_s", "drift_margin", "f")] == [
        "V_s",
        "drift margin",
        "f",
    ]


def test_formulas_are_split_at_outermost_conjunctions_only() -> None:
    assert conjuncts(r"a \wedge (b \wedge c) \wedge \{d\}") == ["a", r"(b \wedge c)", r"\{d\}"]
    assert conjuncts(r"a \wedge (b") == [r"a \wedge (b"]
    assert conjuncts(r"a \wedgeb c") == [r"a \wedgeb c"]
