import itertools

import pytest

from verify.errors import BackendError, ContradictionError, InputError, UnsafeFileError, VerifyError
from verify.verdict import Truth, Verdict, combined_exit_code, conjunction, disjunction, exit_code

PASS, FAIL = Verdict.PASS, Verdict.FAIL
OPEN, ELSEWHERE = Verdict.UNDECIDED, Verdict.NOT_APPLICABLE
ORDER = [Truth.REFUTED, Truth.UNDECIDED, Truth.PROVED]


@pytest.mark.parametrize("truths", list(itertools.product(Truth, repeat=3)))
def test_and_is_the_least_and_or_the_greatest(truths):
    assert conjunction(truths) is min(truths, key=ORDER.index)
    assert disjunction(truths) is max(truths, key=ORDER.index)
    assert conjunction(t.negation() for t in truths) is disjunction(truths).negation()


def test_empty_conjunction_and_disjunction():
    assert conjunction([]) is Truth.PROVED
    assert disjunction([]) is Truth.REFUTED


@pytest.mark.parametrize(
    ("verdicts", "requested", "allow_undecided", "code"),
    [
        ([PASS], True, False, 0),
        ([PASS, PASS], True, False, 0),
        ([PASS, FAIL, OPEN], True, False, 1),
        ([FAIL], True, True, 1),
        ([OPEN], True, False, 3),
        ([PASS, OPEN], True, False, 3),
        ([PASS, OPEN], True, True, 0),
        ([PASS, ELSEWHERE], True, False, 3),
        ([PASS, ELSEWHERE], True, True, 0),
        ([PASS, ELSEWHERE], False, False, 0),  # not asked for, so it does not count
        ([FAIL, ELSEWHERE], False, False, 1),
        ([OPEN, ELSEWHERE], False, False, 3),
        ([ELSEWHERE, ELSEWHERE], False, False, 3),  # unless none applies
        ([ELSEWHERE], False, True, 0),
        ([], False, False, 3),
        ([], False, True, 3),
    ],
)
def test_exit_code_of_one_file(verdicts, requested, allow_undecided, code):
    assert exit_code(verdicts, requested=requested, allow_undecided=allow_undecided) == code


@pytest.mark.parametrize(
    ("codes", "code"),
    [([0], 0), ([0, 3], 3), ([3, 1], 1), ([1, 2], 2), ([2, 4], 4), ([4, 5], 5),
     ([0, 1, 2, 3, 4, 5], 5), ([], 2)],
)  # fmt: skip
def test_several_files_give_the_first_of_5_4_2_1_3_0(codes, code):
    assert combined_exit_code(codes) == code


def test_errors_carry_the_exit_codes():
    assert VerifyError.exit_code == InputError.exit_code == 2
    assert UnsafeFileError.exit_code == 4
    assert BackendError.exit_code == ContradictionError.exit_code == 5
    assert issubclass(InputError, ValueError)
    assert issubclass(BackendError, RuntimeError)


def test_the_words():
    assert [str(verdict) for verdict in Verdict] == ["pass", "fail", "undecided", "not applicable"]
    assert [str(truth) for truth in Truth] == ["proved", "refuted", "undecided"]
