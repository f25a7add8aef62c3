"""Figures: one class a question; each turns the records into a table and draws it."""

from vision_attn.figures.base import Figure
from vision_attn.figures.gap import Gap
from vision_attn.figures.generalisation import Generalisation
from vision_attn.figures.learning_curve import LearningCurve
from vision_attn.figures.matching import Matching
from vision_attn.figures.robustness import OcclusionCurve, ShiftSawtooth, ShuffleCurve, ZoomCurve

__all__ = [
    "Figure",
    "Gap",
    "Generalisation",
    "LearningCurve",
    "Matching",
    "OcclusionCurve",
    "ShiftSawtooth",
    "ShuffleCurve",
    "ZoomCurve",
]
