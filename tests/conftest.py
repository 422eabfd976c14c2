"""Shared by all tests: the plug-in for testing plug-ins, and the Hypothesis profiles."""

import os

from hypothesis import settings

pytest_plugins = ["pytester"]

settings.register_profile("dev", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=5000, deadline=None)
settings.load_profile(
    os.environ.get("VERIFY_HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev")
)
