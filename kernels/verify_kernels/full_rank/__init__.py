"""Full row rank of matrices, proved: one rung a module, cheapest first."""
