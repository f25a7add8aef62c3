"""Agreement of two series of hits and misses beyond what chance gives."""

import numpy as np


def error_consistency(one: np.ndarray, other: np.ndarray) -> float:
    """Cohen's kappa of two series (n,) of 1 (right) and 0 (wrong), as Geirhos et al. 2020 use it (arXiv:2006.16736).

        kappa = (observed - expected) / (1 - expected),   expected = a b + (1 - a) (1 - b)

    with a, b the accuracies. NaN where both are always right, or always wrong: nothing can be said.
    """
    one, other = np.asarray(one, float), np.asarray(other, float)
    a, b = one.mean(), other.mean()
    expected = a * b + (1 - a) * (1 - b)
    return float(((one == other).mean() - expected) / (1 - expected)) if expected < 1 else float("nan")
