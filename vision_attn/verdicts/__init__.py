"""Verdicts: rules that decide a claim, stated in the experiment before it runs and kept in its plan."""

from vision_attn.verdicts.base import AllOf, Finding, Verdict, findings, flat, table
from vision_attn.verdicts.means import BoundVerdict, DifferenceVerdict, EquivalenceVerdict, MeanVerdict, cell

__all__ = [
    "AllOf",
    "BoundVerdict",
    "DifferenceVerdict",
    "EquivalenceVerdict",
    "Finding",
    "MeanVerdict",
    "Verdict",
    "cell",
    "findings",
    "flat",
    "table",
]
