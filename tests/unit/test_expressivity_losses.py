"""Names of losses and targets that fit them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from verify.errors import InputError, SettingsError
from verify_conditions.expressivity import formulas
from verify_conditions.expressivity.losses import (
    LOSSES,
    check_targets,
    is_infimum_attained,
    loss_named,
)


@pytest.mark.parametrize("name", ["l1", "L1Loss", "mae", "hinge", "hinge_loss", "HingeLoss"])
def test_losses_with_kinks_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(SettingsError, match="not smooth and not covered"):
        loss_named(name)


def test_unknown_losses_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"loss: expected one of half-squares, .* got 'mse'"):
        loss_named("mse")
    with pytest.raises(SettingsError):
        check_targets("mse", [0], 1, 1)


@pytest.mark.parametrize(
    ("name", "y", "n", "m"),
    [
        ("half-squares", np.zeros((3, 2)), 3, 2),
        ("half-squares", np.zeros(3, dtype=np.float32), 3, 1),
        ("mean-squares", [["1/3", 2]], 1, 2),
        ("cross-entropy", np.array([0, 4]), 2, 5),
        ("cross-entropy", np.array([[0.0], [4.0]]), 2, 5),
        ("logistic", np.array([-1.0, 1.0]), 2, 1),
        ("logistic", [[-1], [1]], 2, 1),
        ("soft-cross-entropy", [["1/10", "9/10"], [1, 0]], 2, 2),
        ("soft-cross-entropy", np.array([[0.25, 0.75]]), 1, 2),
        ("soft-cross-entropy", [[Fraction(1, 3)] * 3], 1, 3),
    ],
)
def test_targets_that_fit(name: str, y: object, n: int, m: int) -> None:
    check_targets(name, y, n, m)


@pytest.mark.parametrize(
    ("name", "y", "n", "m", "message"),
    [
        ("half-squares", np.zeros((3, 2)), 3, 3, r"3 number\(s\) for each sample.* got 2 for"),
        ("half-squares", np.zeros(4), 3, 1, "targets of 3 samples.* got 4"),
        ("half-squares", 1.0, 1, 1, "targets of 1 samples.* got 1.0"),
        ("half-squares", [[np.nan]], 1, 1, "finite numbers.* got nan"),
        ("mean-squares", [[np.inf]], 1, 1, "finite numbers.* got inf"),
        ("mean-squares", [["a"]], 1, 1, "finite numbers.* got 'a'"),
        ("cross-entropy", [0, 3], 2, 3, r"from 0 to 2 .* got \[3\] for sample 1"),
        ("cross-entropy", [-1], 1, 3, r"got \[-1\] for sample 0"),
        ("cross-entropy", [0.5], 1, 3, r"got \[1/2\] for sample 0"),
        ("cross-entropy", np.eye(3), 3, 3, r"got \[1, 0, 0\] for sample 0"),
        ("cross-entropy", [0], 1, 1, "at least 2 outputs.* got 1, where the loss is 0"),
        ("logistic", [0, 1], 2, 1, r"-1 or 1 .* got \[0\] for sample 0"),
        ("logistic", [1], 1, 2, "one output.* got 2"),
        ("soft-cross-entropy", [[0.5, 0.25]], 1, 2, r"whose sum differs from 1 by -0.25"),
        ("soft-cross-entropy", [[0.1, 0.2, 0.7]], 1, 3, r"exactly.* differs from 1 by -2.78e-17"),
        ("soft-cross-entropy", [[1.5, -0.5]], 1, 2, r"got \[3/2, -1/2\] for sample 0$"),
        ("soft-cross-entropy", [[1.0]], 1, 2, r"2 numbers >= 0 .* got \[1\] for sample 0$"),
        ("soft-cross-entropy", [[1]], 1, 1, "at least 2 outputs"),
        ("soft-cross-entropy", [["1e400", 0]], 1, 2, "by a number beyond 1.8e308"),
        ("cross-entropy", [1e300], 1, 2, r"got \[1e\+300\] for sample 0"),
        ("half-squares", ["1e999999999"], 1, 1, "finite numbers.* got '1e999999999'"),
    ],
)
def test_targets_that_do_not_fit(name: str, y: object, n: int, m: int, message: str) -> None:
    with pytest.raises(InputError, match=f"^targets of {name}: expected .*{message}"):
        check_targets(name, y, n, m)


def test_whether_the_infimum_is_attained() -> None:
    assert is_infimum_attained("half-squares", [1.0])
    assert not is_infimum_attained("cross-entropy", [0])
    assert not is_infimum_attained("logistic", [1])
    assert is_infimum_attained("soft-cross-entropy", [["1/10", "9/10"]])
    assert not is_infimum_attained("soft-cross-entropy", [["1/10", "9/10"], [0, 1]])


def test_constants_are_exact_numbers() -> None:
    for name, entry in LOSSES.items():
        assert entry.name == name
        for part in (entry.smoothness, entry.strong_convexity):
            assert part is None or not part.atoms(sp.Float)
        assert entry.smoothness.free_symbols <= {formulas.M_Y.symbol}
