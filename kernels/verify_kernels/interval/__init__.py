"""From SymPy to compiled interval code: operations, programs, derivatives and kernels."""
