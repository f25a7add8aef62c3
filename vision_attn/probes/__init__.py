"""Probes: the questions asked of a trained model."""

from vision_attn.probes.accuracy import Accuracy
from vision_attn.probes.accuracy_at_size import AccuracyAtSize
from vision_attn.probes.accuracy_by_distance import AccuracyByDistance, AccuracyByLag
from vision_attn.probes.attention_distance import AttentionDistance
from vision_attn.probes.attention_formula import AttentionFormula
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.bias_effect import BiasEffect
from vision_attn.probes.branch_scale import BranchScale
from vision_attn.probes.calibration import Calibration
from vision_attn.probes.cka_sketch import CKASketch
from vision_attn.probes.correct_by_image import CorrectByImage
from vision_attn.probes.corruption import Corruption
from vision_attn.probes.deletion import Deletion, DeletionCurve, SingleDeletion
from vision_attn.probes.frequency_bands import FrequencyBands
from vision_attn.probes.influence import Influence
from vision_attn.probes.intervention import Intervention
from vision_attn.probes.layer_cka import LayerCKA
from vision_attn.probes.map_ranks import MapRanks
from vision_attn.probes.maps import AttentionMap, attention_maps
from vision_attn.probes.occlusion import Occlusion
from vision_attn.probes.patch_shuffle import PatchShuffle
from vision_attn.probes.pointing import Pointing
from vision_attn.probes.receptive_field import ReceptiveField
from vision_attn.probes.saliency_gallery import SaliencyGallery
from vision_attn.probes.saliency_maps import saliency
from vision_attn.probes.saliency_sanity import SaliencySanity
from vision_attn.probes.saturation import Saturation
from vision_attn.probes.shift import ShiftConsistency
from vision_attn.probes.size import Size
from vision_attn.probes.subgroup_accuracy import SubgroupAccuracy
from vision_attn.probes.token_cost import TokenCost
from vision_attn.probes.worked_example import WorkedExample
from vision_attn.probes.zoom import Zoom

__all__ = [
    "Accuracy",
    "AccuracyAtSize",
    "AccuracyByDistance",
    "AccuracyByLag",
    "AttentionDistance",
    "AttentionFormula",
    "AttentionMap",
    "BiasEffect",
    "BranchScale",
    "CKASketch",
    "Calibration",
    "CorrectByImage",
    "Corruption",
    "Deletion",
    "DeletionCurve",
    "FrequencyBands",
    "Influence",
    "Intervention",
    "LayerCKA",
    "MapRanks",
    "Occlusion",
    "PatchShuffle",
    "Pointing",
    "Probe",
    "ReceptiveField",
    "Row",
    "SaliencyGallery",
    "SaliencySanity",
    "Saturation",
    "ShiftConsistency",
    "SingleDeletion",
    "Size",
    "SubgroupAccuracy",
    "TokenCost",
    "WorkedExample",
    "Zoom",
    "attention_maps",
    "saliency",
]
