"""The words: truth of a statement, verdict of a condition, exit codes of the command."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Truth(StrEnum):
    """What is known of a statement or a fact."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNDECIDED = "undecided"

    def negation(self) -> Truth:
        """Return the truth of the negated statement."""
        return _NEGATION[self]


_NEGATION = {
    Truth.PROVED: Truth.REFUTED,
    Truth.REFUTED: Truth.PROVED,
    Truth.UNDECIDED: Truth.UNDECIDED,
}


def conjunction(truths: Iterable[Truth]) -> Truth:
    """Return the three-valued And (Kleene); the empty conjunction is PROVED."""
    result = Truth.PROVED
    for truth in truths:
        if truth is Truth.REFUTED:
            return Truth.REFUTED
        if truth is Truth.UNDECIDED:
            result = Truth.UNDECIDED
    return result


def disjunction(truths: Iterable[Truth]) -> Truth:
    """Return the three-valued Or (Kleene); the empty disjunction is REFUTED."""
    return conjunction(truth.negation() for truth in truths).negation()


class Verdict(StrEnum):
    """The answer of a condition about one network."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not applicable"


EXIT_PASS = 0
EXIT_FAIL = 1
EXIT_USAGE = 2
EXIT_UNDECIDED = 3
EXIT_UNSAFE = 4
EXIT_INTERNAL = 5

# Several files: the first of these that occurs is the command's exit code.
_EXIT_ORDER = (EXIT_INTERNAL, EXIT_UNSAFE, EXIT_USAGE, EXIT_FAIL, EXIT_UNDECIDED, EXIT_PASS)


def exit_code(
    verdicts: Iterable[Verdict], *, requested: bool, allow_undecided: bool = False
) -> int:
    """Return the exit code for the verdicts of one file.

    Args:
        verdicts: one verdict for each condition that was tried.
        requested: whether the conditions were named with ``--condition``; if not, conditions
            that do not apply do not count, unless none applies.
        allow_undecided: ``--allow-undecided``: undecided and not applicable count as success.

    Returns:
        0 all pass, 1 some condition fails, 3 nothing fails but something is open.
    """
    counted = list(verdicts)
    if not requested:
        counted = [v for v in counted if v is not Verdict.NOT_APPLICABLE] or counted
    if Verdict.FAIL in counted:
        return EXIT_FAIL
    if counted and all(verdict is Verdict.PASS for verdict in counted):
        return EXIT_PASS
    return EXIT_PASS if allow_undecided and counted else EXIT_UNDECIDED


def combined_exit_code(codes: Iterable[int]) -> int:
    """Return the exit code for several files: the first that occurs of 5, 4, 2, 1, 3, 0."""
    present = set(codes)
    return next((code for code in _EXIT_ORDER if code in present), EXIT_USAGE)
