"""Statistics: from a tidy frame and the names of its columns to a frame of estimates with intervals."""

from vision_attn.statistics.intervals import mean_interval
from vision_attn.statistics.paired import paired_difference, pairs

__all__ = ["mean_interval", "paired_difference", "pairs"]
