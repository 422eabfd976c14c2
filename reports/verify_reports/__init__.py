"""Certificates rendered for people: a function of certificates alone."""
