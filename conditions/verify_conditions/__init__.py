"""The built-in conditions, one folder a theory."""
