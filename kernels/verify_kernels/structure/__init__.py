"""What holds for every choice of the trained weights: equal rows, polynomials, symmetries."""

from verify_kernels.structure.analytic import is_analytic, is_polynomial, is_strictly_monotone
from verify_kernels.structure.equal_samples import find_merged_samples, proves_distinct_rows
from verify_kernels.structure.polynomial import polynomial_dimension
from verify_kernels.structure.symmetry import rank_bound_by_symmetry
from verify_kernels.structure.widths import rank_bound_by_width

__all__ = [
    "find_merged_samples",
    "is_analytic",
    "is_polynomial",
    "is_strictly_monotone",
    "polynomial_dimension",
    "proves_distinct_rows",
    "rank_bound_by_symmetry",
    "rank_bound_by_width",
]
