"""Definiteness close to singular, against exact pivots."""

from fractions import Fraction

import numpy as np
import pytest

from verify.errors import InputError
from verify_kernels import small_spectrum
from verify_kernels.definiteness import proves_definite
from verify_kernels.full_rank import close_definiteness
from verify_kernels.full_rank.close_definiteness import proves_definite_closely
from verify_kernels.matrix import rational_matrix


def spectrum(n, smallest, seed):
    draw = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(draw.standard_normal((n, n)))
    K = (Q * smallest ** np.linspace(0.0, 1.0, n)) @ Q.T
    return (K + K.T) / 2


def test_reaches_further_than_a_plain_factorisation():
    K = spectrum(100, 4e-15, 1)
    assert proves_definite_closely(K)
    assert not proves_definite(K)
    assert not proves_definite_closely(K, at_least=1.0)


@pytest.mark.parametrize("seed", range(40))
def test_claims_are_true(seed):
    K = spectrum(18, 10.0 ** -(13 + seed % 5), seed)
    exact = rational_matrix(K)
    c = Fraction(float(np.linalg.eigvalsh(K)[0]))
    for claim in (Fraction(0), c / 2, c, c - Fraction(1, 10**16)):
        if proves_definite_closely(K, at_least=claim):
            assert small_spectrum.is_definite(exact, claim)


def _singular(seed):
    """An integer Gram matrix of rank 19."""
    M = np.random.default_rng(seed).integers(-99, 100, (20, 30)).astype(float)
    M[19] = M[:19].sum(axis=0)
    return M @ M.T


def test_singular_matrices_are_never_proved():
    assert not any(proves_definite_closely(_singular(seed)) for seed in range(30))


def test_mutation_without_the_residual(monkeypatch):
    true_residual = close_definiteness._residual
    # so that factors of singular matrices exist, by luck
    monkeypatch.setattr(close_definiteness, "FIRST_SHIFT", 1e-3)
    monkeypatch.setattr(close_definiteness, "down_array", np.asarray)
    assert not any(proves_definite_closely(_singular(seed)) for seed in range(30))

    def mutated(*given):
        return 0.0 if true_residual(*given) < np.inf else np.inf

    monkeypatch.setattr(close_definiteness, "_residual", mutated)
    assert any(proves_definite_closely(_singular(seed)) for seed in range(30))


def test_hostile_matrices():
    with pytest.raises(InputError, match="symmetric"):
        proves_definite_closely([[1.0, 0.0], [100.0, 1.0]])
    with pytest.raises(InputError, match="finite"):
        proves_definite_closely([[np.nan]])
    assert proves_definite_closely(np.zeros((0, 0)))
    assert not proves_definite_closely(np.zeros((3, 3)))
    assert not proves_definite_closely(np.eye(3), at_least=2.0)
    assert not proves_definite_closely(np.eye(3), at_least=np.nan)
    assert proves_definite_closely(np.eye(3), at_least=-np.inf)
    assert proves_definite_closely(np.eye(3) * 2.0**-800)
