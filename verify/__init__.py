"""verify: do the hypotheses of a deep-learning theorem hold for this trained network?

The facade is lazy: importing it loads no SymPy, NumPy, Numba or torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from verify.certificate import Certificate as Certificate
    from verify.condition import Condition as Condition
    from verify.condition import Route as Route
    from verify.condition import bind as bind
    from verify.enclosure import Enclosure as Enclosure
    from verify.enclosure import Measurement as Measurement
    from verify.engine import check as check
    from verify.errors import VerifyError as VerifyError
    from verify.evidence import Evidence as Evidence
    from verify.evidence import Witness as Witness
    from verify.statement import Fact as Fact
    from verify.statement import Quantity as Quantity
    from verify.statement import Source as Source
    from verify.statement import Statement as Statement
    from verify.verdict import Truth as Truth
    from verify.verdict import Verdict as Verdict

_HOME = {
    "Certificate": "certificate",
    "Condition": "condition",
    "Enclosure": "enclosure",
    "Evidence": "evidence",
    "Fact": "statement",
    "Measurement": "enclosure",
    "Quantity": "statement",
    "Route": "condition",
    "Source": "statement",
    "Statement": "statement",
    "Truth": "verdict",
    "Verdict": "verdict",
    "VerifyError": "errors",
    "Witness": "evidence",
    "bind": "condition",
    "check": "engine",
}

__all__ = [
    "Certificate",
    "Condition",
    "Enclosure",
    "Evidence",
    "Fact",
    "Measurement",
    "Quantity",
    "Route",
    "Source",
    "Statement",
    "Truth",
    "Verdict",
    "VerifyError",
    "Witness",
    "bind",
    "check",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'verify' has no attribute {name!r}")
    return getattr(import_module(f"verify.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
