"""Hypothesis profiles: ``ci`` (the default) draws the same examples every time,
``deep`` draws many fresh ones: ``HYPOTHESIS_PROFILE=deep``."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("ci", max_examples=20, derandomize=True, deadline=None)
settings.register_profile(
    "deep", max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
