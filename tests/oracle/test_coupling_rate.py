"""The enclosure of the coupling rate against shooting and quadrature in balls."""

import math
import os
import random
import time
from fractions import Fraction

import pytest
from flint import acb, arb, ctx, fmpq

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels.two_layer import coupling_rate
from verify_kernels.two_layer.coupling_rate import enclose_coupling_rate, is_coupling_rate

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"


def exact(value):
    number = Fraction(value)
    return Enclosure.outward(number, number)


def enclosed(G, k, lam, s):
    return enclose_coupling_rate(exact(G), exact(k), Fraction(lam), Fraction(s)).enclosure()


def ball(number):
    return arb(fmpq(number.numerator, number.denominator))


def slope_at_the_end(rate, G, k, lam, s):
    """F'(R) for 2 s F'' + gamma F' = -rate F, F(0) = 0, F'(0) = 1, by Taylor steps in balls.

    R is so large that a component along the growing solution of relative size 1e-20 decides the
    sign. The terms left out are below 2^-(bits) of the largest kept.
    """
    exponent = float(G * G / s * abs(1 / lam - 1 / k))
    with ctx.workprec(200 + int(4 * exponent)):
        r0 = 2 * G / k
        last = max(r0, 2 * G / lam) + Fraction(math.ceil(2 * math.sqrt(s / lam * (exponent + 60))))
        value, slope, at = arb(0), arb(1), Fraction(0)
        longest = Fraction(math.sqrt(s / max(lam, abs(k - lam)))) / 4
        while at < last:
            step = min(longest, r0 - at if at < r0 else last - at)
            shift, rise = (Fraction(0), k - lam) if at < r0 else (2 * G, -lam)
            value, slope = taylor_step(value, slope, ball(shift + rise * at), ball(rise),
                                       ball(rate), ball(s), ball(step))  # fmt: skip
            at += step
        return slope


def taylor_step(value, slope, drift, rise, rate, s, step):
    """Coefficients of F at a point where gamma = drift + rise h, summed at h = step."""
    coefficients = [value, slope]
    terms = 40 + ctx.prec // 6
    for n in range(terms):
        sums = drift * (n + 1) * coefficients[n + 1] + (rise * n + rate) * coefficients[n]
        coefficients.append(-sums / (2 * s * (n + 1) * (n + 2)))
    new_value, new_slope = arb(0), arb(0)
    for n in range(len(coefficients) - 1, -1, -1):
        new_value = new_value * step + coefficients[n]
    for n in range(len(coefficients) - 1, 0, -1):
        new_slope = new_slope * step + n * coefficients[n]
    tail = abs(coefficients[-1]) * step ** (len(coefficients) - 1)
    assert tail < (abs(new_value) + abs(new_slope)) * arb(2) ** (-ctx.prec // 2)
    return new_value, new_slope


CASES = [
    ("1", "2", "0.5", "1"), ("4", "20", "0.1", "1"), ("6.9083", "7.9142", "0.5", "0.3"),
    ("1", "0.2", "0.5", "1"), ("1", "0.5", "0.5", "1"), ("1", "0.51", "0.5", "1"),
    ("0.01", "0.5", "0.5", "1"), ("5", "0.4", "0.5", "1"), ("2", "3", "2.9", "0.1"),
    ("0.5", "3", "0.01", "1"), ("10", "1.01", "1", "4"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_shooting_finds_the_eigenvalue_between_the_ends(case):
    """F' stays positive up to the lower end and turns negative above the upper one."""
    found = enclosed(*case)
    numbers = [Fraction(text) for text in case]
    assert 0 < found.lo < found.hi <= numbers[2]
    assert found.hi - found.lo < found.lo * Fraction(1, 10**12)
    assert slope_at_the_end(found.lo, *numbers) > 0
    assert slope_at_the_end(found.hi, *numbers) < 0


@pytest.mark.parametrize(
    ("case", "low", "high"),
    [
        (("1", "2", "0.5", "1"), "0.05375", "0.05385"),
        (("4", "20", "0.1", "1"), "2.95e-70", "3.05e-70"),
        (("6.9083", "7.9142", "0.5", "0.3"), "2.15e-130", "2.25e-130"),
    ],
)
def test_the_values_that_a_floating_eigensolver_misses(case, low, high):
    found = enclosed(*case)
    assert Fraction(low) < found.lo <= found.hi < Fraction(high)


@pytest.mark.parametrize(
    "case",
    [("6.9083", "7.9142", "0.5", "0.3"), ("10", "5", "0.01", "0.1"), ("3", "40", "0.5", "0.01"),
     ("2", "1", "0.001", "0.01")],
)  # fmt: skip
def test_the_leading_order_where_the_rate_is_tiny(case):
    """c* = sqrt(a lambda)/pi exp(-E) (1 + o(1)), E = (G^2/s)(1/lambda - 1/lambda_cvx), Laplace.

    E is up to 4e5, where nothing can be shot; what is left out is of order exp(-z), z = a r0^2/4s
    and (2 G / lambda - r0)^2 lambda/4s, both above 18 here.
    """
    G, k, lam, s = (Fraction(text) for text in case)
    found = enclosed(*case)
    with ctx.workprec(128):
        exponent = ball(G * G / s * (1 / lam - 1 / k))
        leading = (ball((k - lam) * lam)).sqrt() / arb.pi() * (-exponent).exp()
        assert ball(found.lo) < leading * (1 + arb(1e-8))
        assert ball(found.hi) > leading * (1 - arb(1e-8))


def test_the_identity_as_test_function_gives_less_than_half():
    """F = r: F/TF -> 1 / int_0^inf p F / 2s as r -> 0, by quadrature; so inf F/TF is no larger.

    At (G, lambda_cvx, lambda, s) = (1, 2, 1/2, 1): r0 = 1, p = exp(3 r^2/8) below it and
    exp(3/8 + (r - 1) - (r^2 - 1)/8) above; beyond r = 60 the integrand is below exp(-400).
    """
    with ctx.workprec(128):
        below = acb.integral(lambda r, _: r * (3 * r * r / 8).exp() / 2, 0, 1).real
        above = acb.integral(
            lambda r, _: r * (acb(3) / 8 + (r - 1) - (r * r - 1) / 8).exp() / 2, 1, 60
        ).real
        quotient = 1 / (below + above)
        assert arb("0.0219") < quotient < arb("0.0222")
        assert 2 * quotient < ball(enclosed("1", "2", "0.5", "1").lo)


def test_the_convex_case_has_at_least_the_difference():
    for k in ("0.1", "0.25", "0.4"):
        assert enclosed("1", k, "0.5", "1").hi >= Fraction("0.5") - Fraction(k)
    found = enclose_coupling_rate(Enclosure(1, math.inf), exact("0.25"), Fraction(1, 2), 1)
    assert found.enclosure().lo == Fraction(1, 4)


def test_edges():
    assert enclosed("0", "3", "0.5", "1") == Enclosure.exact(Fraction(1, 2))
    assert enclosed("3", "0", "0.5", "1") == Enclosure.exact(Fraction(1, 2))
    both = enclose_coupling_rate(Enclosure(1, math.inf), Enclosure(1, math.inf), Fraction(1, 2), 1)
    assert both.enclosure().lo == 0
    assert both.witness is None
    assert both.why_open
    no_curvature = enclose_coupling_rate(exact(1), Enclosure(10**40, math.inf), Fraction(1, 2), 1)
    bent = enclosed("1", str(10**40), "0.5", "1")
    assert 0 < no_curvature.enclosure().lo <= bent.hi
    tiny = enclosed("100", "20", "0.001", "0.1")  # about exp(-1e8): not looked for, not wrong
    assert tiny.lo == 0


def test_close_to_the_same_curvature():
    """lambda_cvx within 1e-40 of lambda, on both sides, agrees with equality."""
    at = enclosed("1", "0.5", "0.5", "1")
    for sign in (-1, 1):
        near = enclosed("1", Fraction(1, 2) + sign * Fraction(1, 10**40), "0.5", "1")
        assert near.lo <= at.hi
        assert at.lo <= near.hi
        assert near.hi - near.lo < Fraction(1, 10**12)


@pytest.mark.parametrize(
    ("G", "k", "lam", "s", "name"),
    [
        (1, 1, 0, 1, "lam"), (1, 1, Fraction(-1), 1, "lam"), (1, 1, 1, 0, "s"),
        (1, 1, 1, 0.5, "s"), (1, 1, True, 1, "lam"), (-1, 1, 1, 1, "G"),
        (1, -1, 1, 1, "lambda_cvx"),
    ],
)  # fmt: skip
def test_refusals(G, k, lam, s, name):
    with pytest.raises(InputError, match=rf"^enclose_coupling_rate: expected {name} to be .* got"):
        enclose_coupling_rate(Enclosure.exact(G), Enclosure.exact(k), lam, s)


def test_the_witness_is_accepted_and_a_larger_rate_is_not():
    evidence = enclose_coupling_rate(exact("1.5"), exact("2.5"), Fraction(1, 2), Fraction(1, 3))
    data = evidence.witness.data
    known = (data["G"], data["lambda_cvx"], data["lambda"], data["s"])
    assert is_coupling_rate(data["rate"], *known)
    assert is_coupling_rate(data["rate"] / 7, *known)
    assert not is_coupling_rate(data["rate"] * Fraction(1000001, 1000000), *known)
    assert not is_coupling_rate(Fraction(0), *known)
    assert not is_coupling_rate(Fraction(2), *known)
    assert is_coupling_rate(Fraction(1, 4), math.inf, Fraction(1, 4), Fraction(1, 2), Fraction(1))
    assert not is_coupling_rate(
        Fraction(1, 3), math.inf, Fraction(1, 4), Fraction(1, 2), Fraction(1)
    )


def random_case(rng):
    """Log-uniform parameters with 1/c* below about exp(150)."""
    while True:
        G, k, lam, s = (Fraction(math.exp(rng.uniform(a, b))) for a, b in
                        ((-4, 3), (-4, 4), (-4, 2), (-4, 3)))  # fmt: skip
        if G * G / s * abs(1 / lam - 1 / k) < 150:
            return G, k, lam, s


@pytest.mark.soundness
def test_campaign_boxes_contain_every_member():
    """The bounds for a box hold for a member: its own enclosure overlaps, ends stay outside."""
    count, seed = (2000 if FULL else 200), 20240611
    rng, started, shot = random.Random(seed), time.perf_counter(), 0
    for number in range(count):
        G, k, lam, s = random_case(rng)
        wide = [Enclosure.outward(v * (1 - Fraction(rng.random()) / 8), v) for v in (G, k)]
        found = enclose_coupling_rate(*wide, lam, s).enclosure()
        inside = [box.lo + Fraction(rng.random()) * (box.hi - box.lo) for box in wide]
        member = enclose_coupling_rate(*map(exact, inside), lam, s).enclosure()
        assert found.lo <= member.hi, (G, k, lam, s)
        assert member.lo <= found.hi, (G, k, lam, s)
        if number % 40 == 0 and member.lo > 0:
            shot += 1
            assert slope_at_the_end(found.lo, *inside, lam, s) > 0, (inside, lam, s)
    spent = time.perf_counter() - started
    print(f"campaign coupling-rate: {count} cases ({shot} by shooting), seed {seed}, "
          f"{spent:.1f} s, 0 wrong")  # fmt: skip


def test_mutation_the_wrong_ends_of_the_boxes(monkeypatch):
    """With the boxes' lower ends, the lower bound is above c* of the upper ends."""
    honest = coupling_rate._bracket
    box = Enclosure(1, 2)
    worst = enclosed(2, 3, "0.5", "1")
    assert enclose_coupling_rate(box, exact(3), Fraction(1, 2), 1).enclosure().lo <= worst.hi

    def careless(G, k, lam, s, *, above):
        return honest(Fraction(1), k, lam, s, above=above)

    monkeypatch.setattr(coupling_rate, "_bracket", careless)
    wrong = enclose_coupling_rate(box, exact(3), Fraction(1, 2), 1).enclosure()
    assert wrong.lo > worst.hi


def test_mutation_a_truncated_half_line(monkeypatch):
    """F' = 0 at r0 in place of the tail, as a truncated eigenproblem has it, over-estimates c*."""
    honest = coupling_rate._outer
    true = enclosed("1", "2", "0.5", "1")
    monkeypatch.setattr(
        coupling_rate, "_outer", lambda rate, drift: (arb(0), honest(rate, drift)[1])
    )
    wrong = enclosed("1", "2", "0.5", "1")
    assert wrong.lo > true.hi
    assert slope_at_the_end(wrong.lo, Fraction(1), Fraction(2), Fraction(1, 2), Fraction(1)) < 0


def test_mutation_without_the_count_of_zeros(monkeypatch):
    """The conditions (a) to (c) are what refuses solutions that have oscillated."""
    drift = coupling_rate._Drift(Fraction(10), Fraction(1), Fraction(1), Fraction(1, 100))
    rates = [Fraction(n, 1000) for n in range(1, 1000)]
    small = enclosed(10, 1, 1, "0.01")
    assert all(rate <= small.hi for rate in rates if coupling_rate._side(rate, drift) == (1, True))
    monkeypatch.setattr(coupling_rate, "_has_no_zero", lambda *known: True)
    accepted = [rate for rate in rates if coupling_rate._side(rate, drift) == (1, True)]
    assert any(rate > small.hi for rate in accepted)
