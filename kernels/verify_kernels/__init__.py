"""Rigorous arithmetic: one quantity a module; knows no theorem."""
