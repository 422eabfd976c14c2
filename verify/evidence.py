"""What a kernel hands to the engine: an enclosure or a truth, its witness, what it assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from verify.enclosure import Enclosure
from verify.errors import EnclosureError
from verify.verdict import Truth


@dataclass(frozen=True)
class Witness:
    """Data that makes an evidence cheap to check again in exact arithmetic.

    Args:
        kind: what it is, for a checker to choose its rule: ``"positive-vector"``,
            ``"integer-cholesky"``, ``"two-equilibria"``, ...
        data: names to values. Values are ints of any size, ``Fraction``s, strings, booleans,
            None, (nested) lists of those, or NumPy arrays (stored beside the certificate).
    """

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """One bound quantity or fact of a statement.

    Args:
        value: an `Enclosure` for a quantity, a `Truth` for a fact. A kernel that cannot bound
            returns ``Enclosure.unbounded()`` or ``Truth.UNDECIDED``.
        witness: how to check it again, or None if there is nothing to store.
        assumes: what the proof relied on and did not check ("matrix products are conventional").
        how: the method in one phrase, for the report.
        why_open: if the value is undecided or unbounded, the reason in one phrase.
    """

    value: Enclosure | Truth
    witness: Witness | None = None
    assumes: tuple[str, ...] = ()
    how: str = ""
    why_open: str = ""

    def enclosure(self) -> Enclosure:
        """Return the value of a quantity.

        Raises:
            EnclosureError: this is the evidence of a fact.
        """
        if not isinstance(self.value, Enclosure):
            raise EnclosureError(f"Evidence: expected an enclosure, but got {self.value!r}")
        return self.value
