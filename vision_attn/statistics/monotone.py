"""Monotone: the nearest numbers that nowhere fall."""

import numpy as np
import scipy


def rising(values: np.ndarray) -> np.ndarray:
    """The numbers (N,) nearest to `values` (N,) by least squares that nowhere fall: isotonic regression."""
    return np.asarray(scipy.optimize.isotonic_regression(values).x)
