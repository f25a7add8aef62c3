"""Data sets: uint8 tensors in memory with their splits, classes and fingerprint."""

from vision_attn.data.arrays import Arrays, select
from vision_attn.data.base import Data, Dataset, Split, Stream
from vision_attn.data.cifar import Cifar10, Cifar100
from vision_attn.data.cued_recall import CuedRecall
from vision_attn.data.folder import ImageFolder
from vision_attn.data.idx import Idx
from vision_attn.data.mnist5k import Mnist5k
from vision_attn.data.parity import Parity
from vision_attn.data.permuted import Permuted
from vision_attn.data.permuted_labels import PermutedLabels
from vision_attn.data.planted_glyph import PlantedGlyph
from vision_attn.data.planted_patch import PlantedPatch
from vision_attn.data.quadrants import Quadrants

__all__ = [
    "Arrays",
    "Cifar10",
    "Cifar100",
    "CuedRecall",
    "Data",
    "Dataset",
    "Idx",
    "ImageFolder",
    "Mnist5k",
    "Parity",
    "Permuted",
    "PermutedLabels",
    "PlantedGlyph",
    "PlantedPatch",
    "Quadrants",
    "Split",
    "Stream",
    "select",
]
