"""Convergence from given weights: proofs that training reaches zero loss from here."""
