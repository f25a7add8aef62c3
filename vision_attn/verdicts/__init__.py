"""Verdicts: rules that decide a claim, stated in the experiment before it runs and kept in its plan."""

from vision_attn.verdicts.algebra import Contrast, Correlation, Part, Quantity, Share, claim
from vision_attn.verdicts.base import AllOf, Finding, Verdict, is_uncorrected
from vision_attn.verdicts.correlation import CorrelationVerdict
from vision_attn.verdicts.findings import findings, flat, rule, table
from vision_attn.verdicts.means import (
    BoundVerdict,
    ContrastVerdict,
    DifferenceVerdict,
    EquivalenceVerdict,
    MeanVerdict,
)
from vision_attn.verdicts.rates import Rates, answers, rates, rates_text
from vision_attn.verdicts.seeds import SeedVerdict, cell, on_seeds
from vision_attn.verdicts.shares import ShareVerdict

__all__ = [
    "AllOf",
    "BoundVerdict",
    "Contrast",
    "ContrastVerdict",
    "Correlation",
    "CorrelationVerdict",
    "DifferenceVerdict",
    "EquivalenceVerdict",
    "Finding",
    "MeanVerdict",
    "Part",
    "Quantity",
    "Rates",
    "SeedVerdict",
    "Share",
    "ShareVerdict",
    "Verdict",
    "answers",
    "cell",
    "claim",
    "findings",
    "flat",
    "is_uncorrected",
    "on_seeds",
    "rates",
    "rates_text",
    "rule",
    "table",
]
