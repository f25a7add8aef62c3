"""Figures: one class a question; each turns the records into a table and draws it."""

from vision_attn.figures.attention_distance import AttentionDistanceByHead, MinimumHeadDistance
from vision_attn.figures.base import Figure
from vision_attn.figures.budget import Budget
from vision_attn.figures.condition_curve import ConditionCurve
from vision_attn.figures.convergence_steps import ConvergenceSteps
from vision_attn.figures.cross_cka import CrossCKA
from vision_attn.figures.crossover import Crossover, DataEquivalence
from vision_attn.figures.deletion_curves import DeletionCurves
from vision_attn.figures.distance_curve import DistanceCurve
from vision_attn.figures.dot_plot import DotPlot
from vision_attn.figures.erf_map import ErfMap
from vision_attn.figures.error_consistency import ErrorConsistency
from vision_attn.figures.expected_best import ExpectedBest
from vision_attn.figures.fitted_curves import FittedCurves
from vision_attn.figures.gap import Gap
from vision_attn.figures.generalisation import Generalisation
from vision_attn.figures.images_needed import ImagesNeeded
from vision_attn.figures.influence_profile import InfluenceProfile
from vision_attn.figures.lag_curve import LagCurve
from vision_attn.figures.learning_curve import LearningCurve
from vision_attn.figures.map_gallery import MapGallery
from vision_attn.figures.matching import Matching
from vision_attn.figures.method_plot import MethodPlot
from vision_attn.figures.metric_agreement import MetricAgreement
from vision_attn.figures.metric_curve import MetricCurve
from vision_attn.figures.psychometric_midpoint import PsychometricMidpoint
from vision_attn.figures.quadrant_accuracy import QuadrantAccuracy
from vision_attn.figures.receptive_field import ReceptiveFieldByLayer
from vision_attn.figures.robustness import OcclusionCurve, ShiftSawtooth, ShuffleCurve, ZoomCurve
from vision_attn.figures.selection import Selection
from vision_attn.figures.summary import Summary
from vision_attn.figures.variation import Variation

__all__ = [
    "AttentionDistanceByHead",
    "Budget",
    "ConditionCurve",
    "ConvergenceSteps",
    "CrossCKA",
    "Crossover",
    "DataEquivalence",
    "DeletionCurves",
    "DistanceCurve",
    "DotPlot",
    "ErfMap",
    "ErrorConsistency",
    "ExpectedBest",
    "Figure",
    "FittedCurves",
    "Gap",
    "Generalisation",
    "ImagesNeeded",
    "InfluenceProfile",
    "LagCurve",
    "LearningCurve",
    "MapGallery",
    "Matching",
    "MethodPlot",
    "MetricAgreement",
    "MetricCurve",
    "MinimumHeadDistance",
    "OcclusionCurve",
    "PsychometricMidpoint",
    "QuadrantAccuracy",
    "ReceptiveFieldByLayer",
    "Selection",
    "ShiftSawtooth",
    "ShuffleCurve",
    "Summary",
    "Variation",
    "ZoomCurve",
]
