"""Gradient inequalities: PL from the tangent kernel, Łojasiewicz from teacher and student."""
