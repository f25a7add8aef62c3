"""Statistics: from a tidy frame and the names of its columns to a frame of estimates with intervals."""

from vision_attn.statistics.intervals import mean_interval
from vision_attn.statistics.paired import paired_difference, pairs
from vision_attn.statistics.steps import share_interval, step_position, steps_to

__all__ = ["mean_interval", "paired_difference", "pairs", "share_interval", "step_position", "steps_to"]
