"""Training: a recipe, the loop that follows it, and the state that continues it bit for bit."""

from vision_attn.training.loop import Diverged, train
from vision_attn.training.recipe import Recipe

__all__ = ["Diverged", "Recipe", "train"]
