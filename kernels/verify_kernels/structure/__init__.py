"""What holds for every choice of the trained weights: equal rows, polynomials, symmetries."""

from verify_kernels.structure.analytic import is_analytic, is_polynomial, is_strictly_monotone
from verify_kernels.structure.equal_samples import find_merged_samples, proves_distinct_rows
from verify_kernels.structure.polynomial import polynomial_dimension

__all__ = [
    "find_merged_samples",
    "is_analytic",
    "is_polynomial",
    "is_strictly_monotone",
    "polynomial_dimension",
    "proves_distinct_rows",
]
