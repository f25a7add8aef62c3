"""Statistics: from a tidy frame and the names of its columns to a frame of estimates with intervals."""

from vision_attn.statistics.agreement import error_consistency, sketched_cka
from vision_attn.statistics.comparisons import holm, outperformance, paired_p
from vision_attn.statistics.convergence import updates_to_threshold
from vision_attn.statistics.crossover import Estimate, crossover, equivalent_size
from vision_attn.statistics.curves import CURVES, Fit, fit, left_out_error
from vision_attn.statistics.fits import fitted_curves, fitted_error
from vision_attn.statistics.hierarchical import hierarchical_interval, variance_components
from vision_attn.statistics.intervals import mean_interval, share_interval
from vision_attn.statistics.limits import limits
from vision_attn.statistics.monotone import rising
from vision_attn.statistics.needed import sizes_needed
from vision_attn.statistics.paired import paired_difference, pairs
from vision_attn.statistics.psychometric import psychometric_midpoint
from vision_attn.statistics.search import expected_best, search_leads
from vision_attn.statistics.tails import share_tails, t_tails

__all__ = [
    "CURVES",
    "Estimate",
    "Fit",
    "crossover",
    "equivalent_size",
    "error_consistency",
    "expected_best",
    "fit",
    "fitted_curves",
    "fitted_error",
    "hierarchical_interval",
    "holm",
    "left_out_error",
    "limits",
    "mean_interval",
    "outperformance",
    "paired_difference",
    "paired_p",
    "pairs",
    "psychometric_midpoint",
    "rising",
    "search_leads",
    "share_interval",
    "share_tails",
    "sizes_needed",
    "sketched_cka",
    "t_tails",
    "updates_to_threshold",
    "variance_components",
]
