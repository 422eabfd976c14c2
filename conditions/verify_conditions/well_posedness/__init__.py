"""Well-posed equilibria of implicit networks."""
