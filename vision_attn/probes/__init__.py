"""Probes: the questions asked of a trained model."""

from vision_attn.probes.accuracy import Accuracy
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.size import Size

__all__ = ["Accuracy", "Probe", "Row", "Size"]
