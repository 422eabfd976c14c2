"""The population loss, the separation and the loss-only bounds against 40-digit vectors."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from verify.enclosure import Enclosure
from verify.network import Activation, TeacherStudent
from verify.verdict import Truth
from verify_kernels.teacher_student import (
    enclose_population,
    loss_only,
    norm_range,
    separation,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "teacher_student.json"
CASES = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
DIGITS = Fraction(1, 10**39)


def exact(values):
    if isinstance(values, list):
        return [exact(v) for v in values]
    return None if values is None else float.fromhex(values)


def network_of(case):
    a, a_star = exact(case["student_outputs"]), exact(case["teacher_outputs"])
    return TeacherStudent(
        exact(case["students"]), exact(case["teachers"]), Activation.parse(case["activation"]),
        a, a_star,
    )  # fmt: skip


def holds(found, text, slack=Fraction(0)):
    """Whether the enclosure contains a number whose decimals are known up to the last digit."""
    value = Fraction(text)
    slack += abs(value) * DIGITS
    return found.lo <= value + slack and found.hi >= value - slack


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_the_population_loss_of_the_vectors(case):
    found = enclose_population(network_of(case))
    assert (found.exactly_zero is Truth.PROVED) == case["loss_is_exactly_zero"]
    assert found.exactly_zero is not Truth.UNDECIDED
    for name, evidence in (
        ("loss", found.loss), ("grad_norm", found.gradient_norm),
        ("grad_over_L", found.grad_over_loss), ("grad_over_L_3_4", found.grad_over_loss_34),
    ):  # fmt: skip
        value = evidence.enclosure()
        if case[name] is None:
            assert value == Enclosure.unbounded()
            assert evidence.why_open
        else:
            assert holds(value, case[name]), name
            assert value.width * 10**20 <= value.lo, name
    slack = Fraction(case["grad_norm"] or 0) / 10**100
    for mine, row in zip(found.gradient.W.tolist(), case["grad_w"], strict=True):
        for x, text in zip(mine, row or [None] * case["d"], strict=True):
            assert x is None if text is None else holds(Enclosure.from_arb(x), text, slack)
    a = found.gradient.a
    assert (a is None) == (case["grad_a"] is None)
    for x, text in zip(() if a is None else a, case["grad_a"] or (), strict=True):
        assert holds(Enclosure.from_arb(x), text, slack)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_the_separation_of_the_vectors(case):
    network = network_of(case)
    for name, signed in (("separation_pm", False), ("separation", True)):
        found = separation(network, signed=signed)
        if case[name] is None:
            assert found.value == Enclosure.unbounded()
            assert found.why_open
        else:
            assert holds(found.value, case[name])
            assert found.value.width * 10**30 <= found.value.lo
    norms = sorted(sum(Fraction(x) ** 2 for x in row) for row in network.teachers.tolist())
    for square, found in zip((norms[0], norms[-1]), norm_range(network), strict=True):
        assert found.value.lo**2 <= square <= found.value.hi**2


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_what_the_loss_alone_proves_in_the_vectors(case):
    network, told = network_of(case), case["loss_only"]
    found = loss_only(network, enclose_population(network).loss.enclosure())
    assert bool(found.reason) == (told is None)
    if told is None:
        assert (found.students, found.masses) == ((), ())
        return
    assert holds(found.B1, told["B1"])
    assert holds(found.E, told["E"])
    assert holds(found.sum_sin2, told["sum_sin2"])
    for k, student in enumerate(found.students):
        assigned = told["assigned_teacher"][k]
        listed = assigned if isinstance(assigned, list) else [assigned]
        assert list(student.teachers) == ([] if assigned is None else listed)
        for value, text in (
            (student.angle, told["angle"][k]), (student.bound, told["angle_bound"][k])
        ):  # fmt: skip
            assert value is None if text is None else holds(value, text)
    for k, mass in enumerate(found.masses):
        assert (mass.difference is None) == ("mass" not in told)
        if "mass" in told:
            assert holds(mass.difference, told["mass"][k]["difference"])
            assert holds(mass.upper, told["mass"][k]["upper"])
            assert holds(mass.fourth_moment_difference, told["fourth_moment_difference"][k])
            if len(found.masses) > 1:
                assert holds(mass.lower, told["mass"][k]["lower"])
            else:
                assert mass.lower == Enclosure(-found.E.hi, -found.E.lo)
