"""Metrics: what a metric's name says of its numbers."""

SHARES = ("accuracy", "consistency", "fraction", "share")
"""Ends of the names of metrics in [0, 1] that are written as percent."""


def is_share(metric: str) -> bool:
    """Whether a metric lies in [0, 1] and is written as percent."""
    return metric.endswith(SHARES)
