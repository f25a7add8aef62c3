"""Shown: the words in which readers see a verdict, where the stored answer alone would mislead them."""

CONSTRUCTED = "holds by construction"
"""In the place of "supports" where it follows from how the layers are built: nothing was measured."""
UNCORRECTED = "uncorrected"
"""Of a part that contradicts by itself, but not with its p-value corrected for the number of parts (Holm 1979)."""


def shown(verdict: str, *, is_exact: bool, is_uncorrected: bool = False) -> str:
    """A verdict as readers see it."""
    if is_exact and verdict == "supports":
        return CONSTRUCTED
    return f"{verdict}, {UNCORRECTED}" if is_uncorrected else verdict
