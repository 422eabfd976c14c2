"""Branch-free elementary functions of binary64 numbers with machine-checked error bounds."""
