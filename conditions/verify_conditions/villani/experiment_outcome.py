"""What an experiment gives: a table, unmet expectations, certificates and their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from verify.certificate import Certificate
from verify.enclosure import Enclosure, endpoint_from_hex
from verify.engine import check
from verify.network import Data, TwoLayer
from verify_conditions.reproduction import rounded_down, rounded_up
from verify_conditions.villani.experiment_model import CONDITION

Rows = list[dict[str, str]]

EXCESS = "excess risk of the Gibbs law"


@dataclass(frozen=True)
class Outcome:
    """A table, and one sentence for each expectation that did not come true."""

    title: str
    rows: Rows
    unmet: list[str] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)


def numbers_of(certificate: Certificate) -> dict[str, Enclosure]:
    """Return the proved consequences of a certificate by name."""
    return {
        item["name"]: Enclosure(endpoint_from_hex(item["lo"]), endpoint_from_hex(item["hi"]))
        for item in certificate.claim["consequences"]
        if item["rigorous"]
    }


def recalled_of(certificate: Certificate) -> dict[str, float]:
    """Return the consequences that are recalled or measured, by name."""
    return {
        item["name"]: float.fromhex(item["measured"])
        for item in certificate.claim["consequences"]
        if not item["rigorous"]
    }


def sides_of(certificate: Certificate) -> dict[str, str]:
    """Return the truth of every side statement by name."""
    return {side["name"]: side["truth"] for side in certificate.claim["side_statements"]}


def certify(
    network: TwoLayer, data: Data, settings: Mapping[str, str], file: str, run: Any = None
) -> Certificate:
    """Return the certificate of the Villani property."""
    [certificate] = check(
        network, data, run, conditions=[CONDITION], settings=settings, provenance={"file": file}
    )
    return certificate


def declared(settings: Mapping[str, str]) -> dict[str, str]:
    """Return settings by full name."""
    return {f"{CONDITION}.{key}": text for key, text in settings.items()}


def short(value: Fraction) -> Fraction:
    """Return a nearby number with 24 significant bits, so that settings stay readable."""
    if value == 0:
        return value
    shift = 24 - (value.numerator.bit_length() - value.denominator.bit_length())
    scaled = value * Fraction(2) ** shift
    return Fraction(round(scaled)) / Fraction(2) ** shift


def interval_text(value: Enclosure, digits: int = 6) -> str:
    """Return what the enclosure says, its ends rounded outward."""
    if value.hi_float == float("inf"):
        return f"at least {rounded_down(value.lo_float, digits)}"
    return f"[{rounded_down(value.lo_float, digits)}, {rounded_up(value.hi_float, digits)}]"


def upper_text(value: Enclosure | None) -> str:
    """Return an upper end for a table."""
    return "-" if value is None else rounded_up(value.hi_float, 4)


def lower_text(value: Enclosure | None) -> str:
    """Return a lower end as a power of ten, which may be far below the range of binary64."""
    if value is None or not isinstance(value.lo, Fraction) or value.lo <= 0:
        return "-"
    if value.lo_float > 1e-300:
        return rounded_down(value.lo_float, 3)
    bits = value.lo.numerator.bit_length() - value.lo.denominator.bit_length()
    return f"1e{int((bits - 2) * 0.30103) - 1}"
