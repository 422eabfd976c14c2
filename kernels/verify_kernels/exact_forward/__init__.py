"""Features of a graph without rounding: as rationals, as residues modulo a prime, as balls."""
