"""Hypothesis profiles: the default run is short and the same each time.

`--hypothesis-profile=random` draws anew for some minutes (`--hypothesis-seed` repeats a run),
`--hypothesis-profile=thorough` digs (half an hour for test_ops.py on two cores; tools/long_run.py
gives each family of ops 10,000 examples), `--hypothesis-profile=quick` only looks.
"""

import os

from hypothesis import HealthCheck, settings

slow_is_fine = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile(
    "default", max_examples=15, deadline=None, derandomize=True, suppress_health_check=slow_is_fine
)
settings.register_profile(
    "quick", max_examples=5, deadline=None, derandomize=True, suppress_health_check=slow_is_fine
)
settings.register_profile(
    "random", max_examples=40, deadline=None, print_blob=True, suppress_health_check=slow_is_fine
)
settings.register_profile(
    "thorough",
    max_examples=int(os.environ.get("NANOCONV_EXAMPLES", "350")),
    deadline=None,
    suppress_health_check=slow_is_fine,
)
settings.load_profile("default")
