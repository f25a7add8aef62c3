"""Agreement of two series of hits and misses beyond what chance gives, and of layers by what is kept of them."""

import base64
import math
from collections.abc import Sequence

import numpy as np

from vision_attn.spec import InputError


def error_consistency(one: np.ndarray, other: np.ndarray) -> float:
    """Cohen's kappa of two series (n,) of 1 (right) and 0 (wrong), as Geirhos et al. 2020 use it (arXiv:2006.16736).

        kappa = (observed - expected) / (1 - expected),   expected = a b + (1 - a) (1 - b)

    with a, b the accuracies. NaN where both are always right, or always wrong: nothing can be said.
    """
    one, other = np.asarray(one, float), np.asarray(other, float)
    a, b = one.mean(), other.mean()
    expected = a * b + (1 - a) * (1 - b)
    return float(((one == other).mean() - expected) / (1 - expected)) if expected < 1 else float("nan")


def sketched_cka(one: Sequence[str], other: Sequence[str]) -> np.ndarray:
    """The CKA (A, B) that A texts of signs of one network, and B of another, tell, as the probe `CKASketch` has them.

    The mean product of the signs of two vectors at an angle t is 1 - 2 t / pi (Charikar 2002). Raises `InputError`
    where the texts are not all of one number of signs.
    """
    found = [np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8)) for text in (*one, *other)]
    if len(sizes := {len(own) for own in found}) > 1:
        given = " and ".join(map(str, sorted(sizes)))
        raise InputError(f"signs of layers that are compared must be of one number of bits. Got {given} instead.")
    a, b = (2.0 * np.stack(part) - 1 for part in (found[: len(one)], found[len(one) :]))
    return np.sin(math.pi / 2 * (a @ b.T) / a.shape[1])
