"""Hypothesis profiles: the same examples in every run, and no more than a fast test may take."""

from hypothesis import HealthCheck, Phase, settings

_SAME_EVERY_TIME = settings(
    derandomize=True,
    database=None,
    deadline=None,
    # Shrinking a failing example takes minutes; to debug one, add Phase.shrink.
    phases=[Phase.explicit, Phase.generate],
    # Some examples are big on purpose, and a busy machine is slow.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

many = settings(_SAME_EVERY_TIME, max_examples=100)
some = settings(_SAME_EVERY_TIME, max_examples=40)
few = settings(_SAME_EVERY_TIME, max_examples=20)
runs = settings(_SAME_EVERY_TIME, max_examples=10)
"""For examples that each start a process."""
