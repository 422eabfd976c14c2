"""Integer witnesses: what the kernels hand out replays exactly; what is false never does."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify.evidence import Witness
from verify_kernels import spectral_norm
from verify_kernels._rounding import ETA
from verify_kernels.definiteness import enclose_smallest_eigenvalue
from verify_kernels.integer_witness import (
    KIND,
    NORM,
    SMALLEST,
    factor_witness,
    integer_matrix,
    replay_definite,
    replay_norm_at_most,
    vector_witness,
)
from verify_kernels.matrix import MatrixEnclosure, enclose_rational, rational_matrix
from verify_kernels.spectral_norm import enclose_spectral_norm


def gaussian(m, n, seed=0):
    return np.random.default_rng(seed).standard_normal((m, n)) / math.sqrt(m)


def altered(witness, **changes):
    return Witness(witness.kind, {**witness.data, **changes})


@pytest.mark.parametrize("shape", [(24, 24), (40, 30), (30, 40), (90, 90)])
@pytest.mark.parametrize("scale", [1.0, 2.0**40, 1e-300, 1e300])
@pytest.mark.parametrize("slack", [None, 1.5, 1 + 1e-6])
def test_witness_of_a_norm_replays(shape, scale, slack):
    matrix = gaussian(*shape) * scale
    norm = scale * float(np.linalg.norm(matrix / scale, 2))
    aim = None if slack is None else Enclosure.exact(norm * slack)
    evidence = enclose_spectral_norm(matrix, aim=aim)
    assert evidence.witness.kind == KIND
    assert evidence.witness.data["bound"] == evidence.value.hi
    assert evidence.witness.data["factor"].dtype == np.int64
    assert np.array_equal(evidence.witness.data["factor"], np.tril(evidence.witness.data["factor"]))
    assert replay_norm_at_most(matrix, evidence.witness)


@pytest.mark.parametrize("shape", [(24, 24), (40, 30), (30, 40)])
def test_cheap_bound_has_a_positive_vector(shape):
    matrix = gaussian(*shape) * 0.01
    evidence = enclose_spectral_norm(matrix, aim=Enclosure.exact(1))
    assert evidence.witness.kind == "positive-vector"
    assert replay_norm_at_most(matrix, evidence.witness)
    vector = evidence.witness.data["vector"]
    assert not replay_norm_at_most(matrix, altered(evidence.witness, vector=-vector))
    assert not replay_norm_at_most(matrix, altered(evidence.witness, vector=vector[:-1]))
    assert not replay_norm_at_most(matrix, altered(evidence.witness, bound=Fraction(1, 10**6)))


@pytest.mark.parametrize("n", [17, 40, 80])
@pytest.mark.parametrize("aim", [None, Enclosure.exact(0), Enclosure.exact(-3)])
def test_witness_of_a_smallest_eigenvalue_replays(n, aim):
    factor = gaussian(n, 3 * n, seed=n)
    matrix = factor @ factor.T
    matrix = (matrix + matrix.T) / 2
    evidence = enclose_smallest_eigenvalue(matrix, aim=aim)
    assert evidence.witness.data["claim"] == SMALLEST
    assert evidence.witness.data["bound"] == evidence.value.lo
    assert replay_definite(matrix, evidence.witness)
    assert not replay_definite(matrix - 20 * np.eye(n), evidence.witness)
    assert not replay_definite(matrix[:-1, :-1], evidence.witness)


@pytest.mark.parametrize("divisor", [3, 1 << 60, 3 << 20])
def test_rounded_copies_of_rational_matrices_replay_against_the_exact_ones(divisor):
    exact = rational_matrix(np.rint(2**20 * gaussian(24, 24))) / divisor
    enclosed = enclose_rational(exact)
    evidence = enclose_spectral_norm(enclosed)
    assert replay_norm_at_most(exact, evidence.witness)
    assert not replay_norm_at_most(exact * 2, evidence.witness)
    assert enclose_spectral_norm(MatrixEnclosure(enclosed.mid, enclosed.rad)).witness is None or (
        enclosed.rad is None
    )
    product = exact.transpose() * exact
    copy = enclose_rational(product)
    middle = (copy.mid + copy.mid.T) / 2
    norm = 0.0 if copy.rad is None else float(np.abs(copy.rad).sum())
    found = enclose_smallest_eigenvalue(middle, error=norm)
    assert replay_definite(product, found.witness)


def test_no_witness_is_made_when_none_is_asked_for():
    matrix = gaussian(30, 30)
    assert enclose_spectral_norm(matrix, with_witness=False).witness is None
    symmetric = matrix @ matrix.T
    symmetric = (symmetric + symmetric.T) / 2
    assert enclose_smallest_eigenvalue(symmetric, with_witness=False).witness is None


def test_replay_is_about_this_matrix_and_this_bound():
    matrix = gaussian(30, 30)
    witness = enclose_spectral_norm(matrix).witness
    bound = witness.data["bound"]
    moved = matrix.copy()
    moved[3, 4] += 0.1
    assert not replay_norm_at_most(moved, witness)
    assert not replay_norm_at_most(matrix, altered(witness, bound=bound * Fraction(99, 100)))
    assert not replay_norm_at_most(matrix[:, :-1], witness)
    assert not replay_norm_at_most(matrix, altered(witness, factor=witness.data["factor"][:-1]))
    assert not replay_norm_at_most(matrix, altered(witness, bits=witness.data["bits"] - 1))
    assert not replay_norm_at_most(matrix, altered(witness, claim=SMALLEST))
    assert not replay_norm_at_most(matrix, replace(witness, kind="another"))
    assert not replay_norm_at_most(matrix, altered(witness, bound=Fraction(7, 3)))  # not dyadic
    assert not replay_definite(matrix @ matrix.T, witness)


def test_trap_negative_bound_passes_only_squared():
    """c = -1 passed for ||I/2||: only c^2 enters."""
    matrix = np.eye(20) / 2
    factor = np.asfortranarray(np.sqrt(0.7) * np.eye(20))
    good = factor_witness(NORM, Fraction(1), factor)
    assert replay_norm_at_most(matrix, good)
    assert not replay_norm_at_most(matrix, altered(good, bound=Fraction(-1)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_trap_data_that_is_not_finite_is_not_replayed(bad):
    matrix = np.eye(20) / 2
    matrix[3, 3] = bad
    factor = np.asfortranarray(np.sqrt(0.7) * np.eye(20))
    assert not replay_norm_at_most(matrix, factor_witness(NORM, Fraction(1), factor))
    assert not replay_definite(matrix, factor_witness(SMALLEST, Fraction(-9), factor))


def test_trap_conversion_of_data_with_a_wide_range():
    """A conversion through ldexp overflows for [1, 2^-1074]."""
    integers, power = integer_matrix(np.array([[1.0, ETA]]))
    assert power == 1074
    assert [int(x) for x in integers.entries()] == [2**1074, 1]
    assert replay_norm_at_most(
        np.array([[1.0, ETA]]), vector_witness(NORM, Fraction(2), np.ones(2))
    )


def test_trap_asymmetric_matrix_is_not_replayed():
    good = factor_witness(SMALLEST, Fraction(0), np.asfortranarray(np.eye(2) / 2))
    assert replay_definite(np.eye(2), good)
    assert not replay_definite(np.array([[1.0, 0.0], [100.0, 1.0]]), good)


@pytest.mark.parametrize("bits", [30, 52])
def test_fewer_bits_suffice_where_the_bound_has_room(bits):
    matrix = gaussian(24, 24)
    square = np.eye(24) * 9 - matrix.T @ matrix - np.eye(24)
    factor = np.asfortranarray(np.linalg.cholesky(square).T)
    witness = factor_witness(NORM, Fraction(3), factor, bits=bits)
    assert np.abs(witness.data["factor"]).max() <= 2**bits
    assert replay_norm_at_most(matrix, witness)


def test_factor_that_is_not_finite_gives_no_witness():
    bad = np.full((4, 4), math.nan, order="F")
    assert factor_witness(NORM, Fraction(1), bad) is None
    assert factor_witness(NORM, Fraction(1), np.full((4, 4), math.inf)) is None
    assert factor_witness(NORM, Fraction(1), np.zeros((4, 4))) is None


def test_mutation_a_shift_that_pays_for_nothing_does_not_replay(monkeypatch):
    """Without the room that the proof leaves, the rounded factor is not dominated."""
    matrix = gaussian(60, 60)
    module = spectral_norm.get_backend("numpy")
    scaled = spectral_norm._scale(matrix, None)
    gram = spectral_norm._gram(scaled, module)
    bound = float(np.linalg.norm(matrix, 2)) * (1 + 1e-3)
    B = gram.negative.copy(order="F")
    np.fill_diagonal(B, bound * bound + np.diagonal(B))
    assert module.factorise(B)
    assert not replay_norm_at_most(matrix, factor_witness(NORM, Fraction(bound), B))
    monkeypatch.undo()
    honest = spectral_norm._factor_below(gram, bound * bound * (1 - 2.0**-50), module)
    assert replay_norm_at_most(matrix, factor_witness(NORM, Fraction(bound), honest))
