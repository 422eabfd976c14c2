"""Activations analysed from their formula alone: smoothness, limits, growth and suprema."""
