"""Witnesses as tables: every encoding is read, and nothing that is stored can break a report."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.canonical import encode_value
from verify.enclosure import Enclosure
from verify_reports import _witness


def made(kind: str, **data: Any) -> _witness.Shown:
    arrays: dict[str, Any] = {}
    encoded = {name: encode_value(value, arrays, name) for name, value in data.items()}
    return _witness.shown({"kind": kind, "data": encoded})


def test_two_equilibria_are_columns() -> None:
    thirds = [Fraction(1, 3), Fraction(0)]
    shown = made("two-equilibria", b=[Fraction(1), Fraction(-2)], z1=thirds, z2=thirds[::-1])
    assert shown.by_hand
    assert shown.columns == ("i", "b", "z", "z′")
    assert shown.rows == (("0", "1", "1/3", "0"), ("1", "-2", "0", "1/3"))


def test_an_input_shorter_than_the_state_is_a_line() -> None:
    shown = made(
        "input-with-two-equilibria",
        x=[Fraction(1, 2)],
        b=[Fraction(1), Fraction(1)],
        equilibria=[[Fraction(1), Fraction(0)], [Fraction(0), Fraction(1)]],
    )
    assert shown.facts == (("x", "[1/2]"),)
    assert shown.columns == ("i", "b", "z", "z′")


def test_a_bad_minor_names_positions_and_the_determinant() -> None:
    shown = made("bad-minor", index_set=[0, 2], determinant=Fraction(-8))
    assert dict(shown.facts) == {"index_set": "[0, 2]", "determinant": "-8"}
    assert shown.rows == ()


def test_boxes_are_shown_with_both_ends() -> None:
    box = [Enclosure(Fraction(1, 4), Fraction(1, 2)), Enclosure.exact(1)]
    shown = made("two-enclosures", b=[Fraction(0), Fraction(1)], z1=box, z2=box)
    assert shown.rows[0] == ("0", "0", "[0.25, 0.5]", "[0.25, 0.5]")


def test_what_a_person_cannot_check_by_hand_is_told_in_a_line() -> None:
    shown = made("positive-vector", matrix="|W|", eta=list(range(1, 257)), bound=Fraction(1, 2))
    assert not shown.by_hand
    assert dict(shown.facts)["eta"] == "256 numbers, stored with the certificate"
    assert shown.rows == ()


def test_long_numbers_are_cut_with_an_ellipsis() -> None:
    shown = made("two-equilibria", b=[Fraction(10**40, 3)] * 2, z1=[Fraction(1)] * 2)
    assert shown.rows[0][1] == "3.3333333…e+39"
    assert "is cut here" in shown.check


@pytest.mark.parametrize("count", [0, 1])
def test_tiny_networks(count: int) -> None:
    shown = made("two-equilibria", b=[Fraction(1)] * count, z1=[Fraction(0)] * count)
    assert len(shown.rows) == count
    assert list(shown.lines(width=60))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "integer",
                    "rational",
                    "integers",
                    "rationals",
                    "enclosure",
                    "tensor",
                    "lo",
                    "hi",
                    "x",
                ]
            ),
            inner,
            max_size=2,
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(["two-equilibria", "bad-minor", "odd <kind>"]),
    st.dictionaries(st.sampled_from(["b", "z1", "z2", "equilibria", "x"]), json_values),
)
def test_no_stored_witness_breaks_a_report(kind: str, data: dict[str, Any]) -> None:
    shown = _witness.shown({"kind": kind, "data": data})
    assert all(len(row) == len(shown.columns) for row in shown.rows)
    assert all(isinstance(line, str) for line in shown.lines(width=60))
