"""The regularised risk of a two-layer network: its formulas, its constants, its values."""
